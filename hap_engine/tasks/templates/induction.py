"""Induction: random words come a second time, and the model must go on (Olsson et al. 2022, 2209.11895).

    tall chair green seven apple … chair green  ->  seven
               S1    S1+1                S2 = END

The words are drawn at random from the model's own vocabulary, so that no knowledge helps: the answer
can only be copied from the place where the last word (S2) stood before (S1). No word is in two splits,
and in the first part every word occurs once. The opening word is never repeated: at the start of a text
it would be another token.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from random import Random

from tokenizers import Tokenizer

from hap_engine.tasks.pair import PromptPair
from hap_engine.tasks.task import PromptSets, SplitSizes, Task
from hap_engine.tasks.templates.making import check_corruption, is_one_token, make_sets, need

LENGTH = 8  # words of the first part, besides the opening one
REPEATED = (2, 5)  # how many of them are said again
POOL = 600  # words drawn from the vocabulary; 240 / 120 / 240 for the splits
MIN_WORDS = 85  # validation then has 17: a prompt and its corrupt twin
CORRUPTIONS = {
    "fresh": "The first part becomes other random words: nothing is repeated, no answer is in the text.",
    "next_word": "Only the word after S1 changes, to the distractor: now that one would be repeated.",
}


def word_pool(tokenizer: Tokenizer, seed: int) -> list[str]:
    """Random lower-case words that are one token each after a space."""
    texts = {tokenizer.decode([token]).strip() for token in tokenizer.get_vocab().values()}
    candidates = sorted(text for text in texts if re.fullmatch("[a-z]{3,9}", text))
    Random(f"induction words {seed}").shuffle(candidates)
    found: list[str] = []
    for word in candidates:
        if len(found) == POOL:
            break
        if is_one_token(tokenizer, word):
            found.append(word)
    return found


def make_pair(
    opening: str, part: Sequence[str], repeated: int, wrong: int, fresh: Sequence[str], corruption: str
) -> PromptPair:
    """`part`, then its first `repeated` words again; ``part[wrong]`` is the distractor."""
    answer, distractor = part[repeated], part[wrong]
    other = {"fresh": fresh, "next_word": [distractor if word == answer else word for word in part]}
    again = part[:repeated]
    clean = " ".join((opening, *part, *again))
    s1, end = len(" ".join((opening, *part[: repeated - 1]))) + 1, len(clean) - 1
    marks = {"S1": (s1, 0), "S1+1": (s1, 1), "S2": (end, 0), "END": (end, 0)}
    corrupt = " ".join((opening, *other[corruption], *again))
    return PromptPair(clean, corrupt, f" {answer}", f" {distractor}", marks)


def generate(tokenizer: Tokenizer, sizes: SplitSizes, seed: int, corruption: str) -> PromptSets:
    """Disjoint splits. Raises TaskError if the vocabulary has too few words."""
    check_corruption(corruption, CORRUPTIONS)
    pool = word_pool(tokenizer, seed)
    need("Induction", "lower-case words", len(pool), MIN_WORDS)

    def draw(rng: Random, mine: Sequence[str], index: int) -> PromptPair:
        opening, *chosen = rng.sample(mine, 2 * LENGTH + 1)
        repeated = rng.randint(*REPEATED)
        wrong = rng.randrange(repeated + 1, LENGTH)
        return make_pair(opening, chosen[:LENGTH], repeated, wrong, chosen[LENGTH:], corruption)

    return make_sets("induction", tokenizer, sizes, seed, pool, draw)


INDUCTION = Task(
    name="induction",
    title="Induction",
    summary=(
        "A row of random words begins a second time: “… chair green seven apple … chair green …” — “seven”. "
        "There is nothing to know; the model has to see that “green” has come before and to repeat what stood "
        "behind it. Olsson et al. (2022, arXiv 2209.11895) found that transformers do this with two heads in "
        "different layers. A previous-token head writes into every position which word stood before it (S1+1 learns of "
        "S1). An induction head at the end (S2) then looks for the position that was preceded by the same word, "
        "attends to it (S1+1) and copies it. Such heads appear suddenly in training, at the moment when "
        "models become able to learn from their context. The score is the logit difference between the right word "
        "and another of the row."
    ),
    role_names=("S1", "S1+1", "S2", "END"),
    corruptions=CORRUPTIONS,
    generate=generate,
)
