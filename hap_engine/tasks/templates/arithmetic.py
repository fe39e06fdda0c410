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
from hap_engine.tasks.task import PromptSets, SplitSizes, Task
from hap_engine.tasks.templates.making import check_corruption, is_one_token, make_sets, need

LARGEST = 99  # of a sum
CORRUPTIONS = {"operand": "One number of the last sum changes: now another result is right."}
MIN_SUMS = 25  # 10 / 5 / 10 unordered pairs of numbers

Sum = tuple[int, int]


def numbers_of(tokenizer: Tokenizer) -> list[int]:
    """The numbers from 0 that are one token after ``=`` and after ``+``."""
    fits = (
        all(is_one_token(tokenizer, str(number), before, "") for before in ("1+1=", "1+"))
        for number in range(LARGEST + 1)
    )
    return [number for number, _ in enumerate(takewhile(bool, fits))]


def make_pair(shown: Sequence[Sum], asked: Sum, other: int, first: bool) -> PromptPair:
    """Solved sums and a question; in the twin `other` replaces the first or the second number."""
    solved = "".join(f"{a}+{b}={a + b}, " for a, b in shown)
    a, b = asked
    x, y = (other, b) if first else (a, other)
    clean, corrupt = f"{solved}{a}+{b}=", f"{solved}{x}+{y}="
    marks = {"A": (len(solved), 0), "B": (len(solved) + len(f"{a}+"), 0), "END": (len(clean) - 1, 0)}
    return PromptPair(clean, corrupt, str(a + b), str(x + y), marks)


def generate(tokenizer: Tokenizer, sizes: SplitSizes, seed: int, corruption: str) -> PromptSets:
    """Disjoint splits. Raises TaskError if the tokenizer leaves too few sums."""
    check_corruption(corruption, CORRUPTIONS)
    numbers = numbers_of(tokenizer)
    top = max(numbers, default=0)
    pairs = combinations_with_replacement(numbers, 2)
    sums = [(a, b) for a, b in pairs if a + b <= top and b < top]  # another number fits too
    need("Arithmetic", "sums of numbers", len(sums), MIN_SUMS)

    def draw(rng: Random, mine: Sequence[Sum], index: int) -> PromptPair:
        *shown, asked = ((b, a) if rng.random() < 0.5 else (a, b) for a, b in rng.sample(mine, 3))
        first = index % 2 == 0
        replaced, kept = asked if first else asked[::-1]
        others = [n for n in range(top - kept + 1) if n != replaced]
        return make_pair(shown, asked, rng.choice(others), first)

    return make_sets("arithmetic", tokenizer, sizes, seed, sums, draw)


ARITHMETIC = Task(
    name="arithmetic",
    title="Small sums",
    summary=(
        "“1+4=5, 6+2=8, 3+4=” — “7”. Two solved sums show the form, then the model must add. Do models add by an "
        "algorithm, or do they remember? Nikankin et al. (2024, arXiv 2410.21272) looked into Llama-3 8B, Pythia and "
        "GPT-J and found neither: a few attention heads bring both numbers to the last position, and there "
        "many MLP neurons each apply one rule of thumb (“the result is even”, “the first number is between 4 and 7”), "
        "which together leave one result, a “bag of heuristics”. Very small models often fail at this task; look at "
        "`python -m hap_engine tasks` before you spend a run on it. The score is the logit difference between the "
        "right sum and the one that would be right after the change of a number."
    ),
    role_names=("A", "B", "END"),
    corruptions=CORRUPTIONS,
    generate=generate,
)
