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
from hap_engine.tasks.templates.making import Draw, read_data

DATA = read_data("sentiment")
TEMPLATES, ADJECTIVES = DATA.texts["templates"], DATA.pairs["adjectives"]
THINGS, GOOD, BAD = (DATA.words[kind] for kind in ("things", "good", "bad"))
MIN_PAIRS, MIN_ENDINGS, MIN_THINGS = 10, 2, 4

Contrast = tuple[str, str]  # good, bad


def make_pair(text: str, first: Contrast, second: Contrast, bad: bool, endings: Sequence[Sequence[str]]) -> PromptPair:
    """One prompt in a tone, and its twin in the other; `endings` are the good and the bad words."""
    words, changed = ({"FIRST": first[tone], "SECOND": second[tone]} for tone in (bad, not bad))
    right, wrong = ([f" {word}" for word in endings[tone]] for tone in (bad, not bad))
    return DATA.pair(text, words, changed, right, wrong)


def prepare(tokenizer: Tokenizer, seed: int, corruption: str) -> tuple[Sequence[Contrast], Draw[Contrast]]:
    """Pairs of adjectives, and how a prompt is drawn of them. Raises TaskError if there are too few words."""
    pairs = DATA.one_token(tokenizer, ADJECTIVES, "pairs of adjectives", MIN_PAIRS)
    endings = [
        DATA.one_token(tokenizer, pool, f"{kind} endings", MIN_ENDINGS) for kind, pool in (("good", GOOD), ("bad", BAD))
    ]
    things = DATA.one_token(tokenizer, THINGS, "things", MIN_THINGS)

    def draw(rng: Random, mine: Sequence[Contrast], index: int) -> PromptPair:
        first, second = rng.sample(mine, 2)
        one, other = rng.sample(things, 2)
        text = rng.choice(TEMPLATES).replace("[A]", one).replace("[B]", other)
        return make_pair(text, first, second, index % 2 == 1, endings)

    return pairs, draw


GOOD_ONES, BAD_ONES = zip(*ADJECTIVES, strict=True)
SENTIMENT = DATA.task(
    "sentiment", prepare, {"things": THINGS, "good adjectives": GOOD_ONES, "bad adjectives": BAD_ONES}
)
