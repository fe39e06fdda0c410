"""Sentiment: go on in the tone of what was said (Tigges et al. 2023, arXiv 2310.15154).

    The food was delicious and the service was lovely. Overall it was very  ->  good, enjoyable, …
                 FIRST                         SECOND                 END

Adjectives come in pairs, one of each tone, and the corrupt prompt has the other one of each. Answers and
distractors are the sets of good and bad words, so any word of the right tone counts. No pair is in two splits.
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from tokenizers import Tokenizer

from hap_engine.tasks.pair import PromptPair
from hap_engine.tasks.task import PromptSets, SplitSizes, Task
from hap_engine.tasks.templates.making import (
    check_corruption,
    is_one_token,
    make_sets,
    need,
    one_token_words,
    word_list,
)

# [1] and [2]: two adjectives of the same tone, said of the things [A] and [B].
TEMPLATES = (
    "The [A] was [1] and the [B] was [2]. Overall it was very",
    "The [A] was [1] and the [B] was [2]. All in all, it was really",
    "First the [A] was [1], then the [B] was [2]. To me it was very",
    "I found that the [A] was [1]. The [B] was [2] too. My visit was very",
    "The [A] was [1], and so was the rest. The [B] was [2]. The evening was really",
)
THINGS = word_list("food service room view story music place party weather garden song host coffee team")
ADJECTIVES = word_list("""
    wonderful/terrible great/awful excellent/horrible lovely/nasty pleasant/unpleasant
    delightful/dreadful superb/poor fantastic/disgusting brilliant/stupid beautiful/ugly
    perfect/worthless amazing/annoying charming/boring delicious/disappointing nice/bad
    fine/weak fresh/stale clever/silly warm/cold
""")
GOOD = word_list("good positive enjoyable pleasant impressive satisfying nice comfortable great interesting")
BAD = word_list("bad negative disappointing unpleasant poor frustrating boring uncomfortable sad disturbing")
CORRUPTIONS = {"tone": "Both adjectives become their opposites: now words of the other tone fit."}
MIN_PAIRS, MIN_ENDINGS, MIN_THINGS = 10, 2, 4

Contrast = tuple[str, str]  # good, bad


def contrasts(tokenizer: Tokenizer) -> list[Contrast]:
    """The pairs of adjectives that are one token each."""
    pairs = [(good, bad) for good, bad in (entry.split("/") for entry in ADJECTIVES)]
    return [pair for pair in pairs if all(is_one_token(tokenizer, word) for word in pair)]


def make_pair(text: str, first: Contrast, second: Contrast, bad: bool, endings: Sequence[Sequence[str]]) -> PromptPair:
    """One prompt in a tone, and its twin in the other; `endings` are the good and the bad words."""
    before, rest = text.split("[1]")
    between, after = rest.split("[2]")
    clean = before + first[bad] + between + second[bad] + after
    corrupt = before + first[not bad] + between + second[not bad] + after
    right, wrong = ([f" {word}" for word in endings[tone]] for tone in (bad, not bad))
    marks = {"FIRST": (len(before), 0), "SECOND": (len(before + first[bad] + between), 0), "END": (len(clean) - 1, 0)}
    return PromptPair(clean, corrupt, right[0], wrong[0], marks, tuple(right[1:]), tuple(wrong[1:]))


def generate(tokenizer: Tokenizer, sizes: SplitSizes, seed: int, corruption: str) -> PromptSets:
    """Disjoint splits. Raises TaskError if the tokenizer leaves too few adjectives."""
    check_corruption(corruption, CORRUPTIONS)
    pairs = contrasts(tokenizer)
    need("Sentiment", "pairs of adjectives", len(pairs), MIN_PAIRS)
    endings = [
        one_token_words(tokenizer, pool, "Sentiment", f"{kind} endings", MIN_ENDINGS)
        for kind, pool in (("good", GOOD), ("bad", BAD))
    ]

    things = one_token_words(tokenizer, THINGS, "Sentiment", "things", MIN_THINGS)

    def draw(rng: Random, mine: Sequence[Contrast], index: int) -> PromptPair:
        first, second = rng.sample(mine, 2)
        one, other = rng.sample(things, 2)
        text = rng.choice(TEMPLATES).replace("[A]", one).replace("[B]", other)
        return make_pair(text, first, second, index % 2 == 1, endings)

    return make_sets("sentiment", tokenizer, sizes, seed, pairs, draw)


SENTIMENT = Task(
    name="sentiment",
    title="Sentiment",
    summary=(
        "“The food was delicious and the service was lovely. Overall it was very …” — “good”, “enjoyable”, anything"
        " kind. The model has to gather the tone of two adjectives and go on in it. Tigges et al. (2023, arXiv"
        " 2310.15154) found that many models keep sentiment in one direction of the residual stream, and that part of"
        " it is not read from the adjectives themselves but from a summary that earlier heads leave at commas and full"
        " stops (the “summarization motif”). The score is how much more probability goes to ten good words than to ten"
        " bad ones, or the other way round (`prob_diff`); the logit difference is its log-odds."
    ),
    role_names=("FIRST", "SECOND", "END"),
    corruptions=CORRUPTIONS,
    generate=generate,
    metric="prob_diff",
    pools={
        "things": THINGS,
        "good adjectives": tuple(entry.split("/")[0] for entry in ADJECTIVES),
        "bad adjectives": tuple(entry.split("/")[1] for entry in ADJECTIVES),
    },
)
