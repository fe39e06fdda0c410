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
from itertools import islice
from random import Random

from tokenizers import Tokenizer

from hap_engine.tasks.pair import PromptPair
from hap_engine.tasks.templates.making import Draw, is_one_token, read_data

DATA = read_data("induction")
LENGTH = 8  # words of the first part, besides the opening one
REPEATED = (2, 5)  # how many of them are said again
POOL = 600  # words drawn from the vocabulary; 240 / 120 / 240 for the splits
MIN_WORDS = 85  # validation then has 17: a prompt and its corrupt twin


def word_pool(tokenizer: Tokenizer, seed: int) -> list[str]:
    """Random lower-case words that are one token each after a space."""
    texts = {tokenizer.decode([token]).strip() for token in tokenizer.get_vocab().values()}
    candidates = sorted(text for text in texts if re.fullmatch("[a-z]{3,9}", text))
    Random(f"induction words {seed}").shuffle(candidates)
    return list(islice((word for word in candidates if is_one_token(tokenizer, word)), POOL))


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


def prepare(tokenizer: Tokenizer, seed: int, corruption: str) -> tuple[Sequence[str], Draw[str]]:
    """Words, and how a prompt is drawn of them. Raises TaskError if the vocabulary has too few."""
    pool = word_pool(tokenizer, seed)
    DATA.need("lower-case words", len(pool), MIN_WORDS)

    def draw(rng: Random, mine: Sequence[str], index: int) -> PromptPair:
        opening, *chosen = rng.sample(mine, 2 * LENGTH + 1)
        repeated = rng.randint(*REPEATED)
        wrong = rng.randrange(repeated + 1, LENGTH)
        return make_pair(opening, chosen[:LENGTH], repeated, wrong, chosen[LENGTH:], corruption)

    return pool, draw


INDUCTION = DATA.task("induction", prepare, {})
