"""Gendered pronoun: the pronoun that fits a first name (Mathwin et al. 2023; Edge Pruning 2024).

    So Mary is a very good friend, isn't  ->  she
       NAME                        END

The corrupt prompt has a name of the other gender in the same place. No name is in two splits.
First names are a crude guide to gender; the task asks what a model has learned about them, not what
is true of a person.
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from tokenizers import Tokenizer

from hap_engine.tasks.pair import PromptPair
from hap_engine.tasks.templates.making import Draw, read_data

DATA = read_data("pronoun")
TEMPLATES = DATA.texts["templates"]
FEMALE, MORE_FEMALE, MALE = (DATA.words[kind] for kind in ("female", "more_female", "male"))
POOLS = {"female names": (*FEMALE, *MORE_FEMALE), "male names": MALE}
MIN_NAMES = 5  # of each gender: 2 / 1 / 2

Couple = tuple[str, str]  # a woman's name, a man's


def make_pair(template: str, name: str, other: str, female: bool) -> PromptPair:
    """One prompt about `name`, and its twin about `other`, who is of the other gender."""
    answer, distractor = (" she", " he") if female else (" he", " she")
    return DATA.pair(template, {"NAME": name}, {"NAME": other}, [answer], [distractor])


def prepare(tokenizer: Tokenizer, seed: int, corruption: str) -> tuple[Sequence[Couple], Draw[Couple]]:
    """Couples, which only deal both genders to every split. Raises TaskError if the tokenizer leaves too few names."""
    names = [DATA.one_token(tokenizer, pool, kind, MIN_NAMES) for kind, pool in POOLS.items()]
    rng, fewest = Random(f"pronoun couples {seed}"), min(map(len, names))
    women, men = (rng.sample(pool, fewest) for pool in names)

    def draw(rng: Random, mine: Sequence[Couple], index: int) -> PromptPair:
        female = index % 2 == 0
        name, other = rng.choice(mine)[not female], rng.choice(mine)[female]
        return make_pair(rng.choice(TEMPLATES), name, other, female)

    return list(zip(women, men, strict=True)), draw


PRONOUN = DATA.task("pronoun", prepare, POOLS)
