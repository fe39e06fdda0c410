"""Capital-country: recall one fact (Geva et al. 2023, arXiv 2304.14767).

    The president of Austria lives in the capital,  ->  Vienna
                     COUNTRY                    END

The corrupt prompt names another country, and the distractor is its capital. No country is in two splits,
neither as the question nor as the corruption.
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from tokenizers import Tokenizer

from hap_engine.tasks.pair import PromptPair
from hap_engine.tasks.templates.making import Draw, read_data

DATA = read_data("capital")
TEMPLATES, CAPITALS = DATA.texts["templates"], DATA.pairs["capitals"]
MIN_COUNTRIES = 10  # 4 / 2 / 4

Fact = tuple[str, str]  # country, capital


def make_pair(template: str, fact: Fact, other: Fact) -> PromptPair:
    """The question about `fact`, and its twin about another country."""
    return DATA.pair(template, {"COUNTRY": fact[0]}, {"COUNTRY": other[0]}, [f" {fact[1]}"], [f" {other[1]}"])


def prepare(tokenizer: Tokenizer, seed: int, corruption: str) -> tuple[Sequence[Fact], Draw[Fact]]:
    """Facts, and how a prompt is drawn of them. Raises TaskError if the tokenizer leaves too few countries."""

    def draw(rng: Random, mine: Sequence[Fact], index: int) -> PromptPair:
        return make_pair(rng.choice(TEMPLATES), *rng.sample(mine, 2))

    return DATA.one_token(tokenizer, CAPITALS, "countries with their capitals", MIN_COUNTRIES), draw


COUNTRIES, CITIES = zip(*CAPITALS, strict=True)
CAPITAL = DATA.task("capital", prepare, {"countries": COUNTRIES, "capitals": CITIES})
