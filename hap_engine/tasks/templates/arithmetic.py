"""Arithmetic: small sums whose result is one token (Nikankin et al. 2024, arXiv 2410.21272).

    1+4=5, 6+2=8, 3+4=  ->  7
                  A B END

Two solved sums show what is asked; the corrupt prompt changes one number of the third, and the distractor
is the sum that is then right. No unordered pair of numbers is in two splits, and the solved sums come from
the same split. How large the numbers may be is decided by the tokenizer (`numbers_of`): where every digit is
a token of its own (SmolLM2, Qwen2), sums stay below ten.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations_with_replacement, takewhile
from random import Random

from tokenizers import Tokenizer

from hap_engine.tasks.pair import PromptPair
from hap_engine.tasks.templates.making import Draw, is_one_token, read_data

DATA = read_data("arithmetic")
LARGEST = 99  # of a sum
MIN_SUMS = 25  # 10 / 5 / 10 unordered pairs of numbers

Sum = tuple[int, int]


def numbers_of(tokenizer: Tokenizer) -> list[int]:
    """The numbers from 0 that are one token after ``=`` and after ``+``."""

    def fits(number: int) -> bool:
        return all(is_one_token(tokenizer, str(number), before, "") for before in ("1+1=", "1+"))

    return list(takewhile(fits, range(LARGEST + 1)))


def make_pair(shown: Sequence[Sum], asked: Sum, other: int, first: bool) -> PromptPair:
    """Solved sums and a question; in the twin `other` replaces the first or the second number."""
    solved = "".join(f"{a}+{b}={a + b}, " for a, b in shown)
    words = {"A": str(asked[0]), "B": str(asked[1])}
    changed, kept = ("A", asked[1]) if first else ("B", asked[0])
    return DATA.pair(f"{solved}[A]+[B]=", words, {changed: str(other)}, [str(sum(asked))], [str(other + kept)])


def prepare(tokenizer: Tokenizer, seed: int, corruption: str) -> tuple[Sequence[Sum], Draw[Sum]]:
    """Sums, and how a prompt is drawn of them. Raises TaskError if the tokenizer leaves too few."""
    numbers = numbers_of(tokenizer)
    top = max(numbers, default=0)
    pairs = combinations_with_replacement(numbers, 2)
    sums = [(a, b) for a, b in pairs if a + b <= top and b < top]  # another number fits too
    DATA.need("sums of numbers", len(sums), MIN_SUMS)

    def draw(rng: Random, mine: Sequence[Sum], index: int) -> PromptPair:
        *shown, asked = ((b, a) if rng.random() < 0.5 else (a, b) for a, b in rng.sample(mine, 3))
        first = index % 2 == 0
        replaced, kept = asked if first else asked[::-1]
        others = [n for n in range(top - kept + 1) if n != replaced]
        return make_pair(shown, asked, rng.choice(others), first)

    return sums, draw


ARITHMETIC = DATA.task("arithmetic", prepare, {})
