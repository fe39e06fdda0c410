"""Subject-verb agreement: the verb has the number of its subject (Linzen et al. 2016, arXiv 1611.01368).

    The dogs near the car  ->  are, were, have
        SUBJECT       OTHER = END

Nothing but the subject tells its number, and the other noun, which stands closer to the verb, agrees
with it in one half of the prompts only. The corrupt prompt has the subject in its other number. No subject
noun is in two splits.
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from tokenizers import Tokenizer

from hap_engine.tasks.pair import PromptPair
from hap_engine.tasks.templates.making import Draw, read_data

DATA = read_data("agreement")
TEMPLATES = DATA.texts["templates"]
SUBJECTS, OTHERS = DATA.pairs["subjects"], DATA.pairs["others"]
SINGULAR, PLURAL = (" is", " was", " has"), (" are", " were", " have")
MIN_SUBJECTS, MIN_OTHERS = 5, 2

Noun = tuple[str, str]  # singular, plural


def make_pair(template: str, subject: Noun, other: str, plural: bool) -> PromptPair:
    """One prompt with a subject of the given number, and its twin in the other number."""
    right, wrong = (PLURAL, SINGULAR) if plural else (SINGULAR, PLURAL)
    words = {"SUBJECT": subject[plural], "OTHER": other}
    return DATA.pair(template, words, {"SUBJECT": subject[not plural]}, right, wrong)


def prepare(tokenizer: Tokenizer, seed: int, corruption: str) -> tuple[Sequence[Noun], Draw[Noun]]:
    """Subjects, and how a prompt is drawn of them. Raises TaskError if the tokenizer leaves too few nouns."""
    subjects = DATA.one_token(tokenizer, SUBJECTS, "subjects (both numbers)", MIN_SUBJECTS)
    others = DATA.one_token(tokenizer, OTHERS, "other nouns (both numbers)", MIN_OTHERS)

    def draw(rng: Random, mine: Sequence[Noun], index: int) -> PromptPair:
        plural, other = index % 2 == 0, rng.choice(others)[index // 2 % 2]
        return make_pair(rng.choice(TEMPLATES), rng.choice(mine), other, plural)

    return subjects, draw


SINGULARS, PLURALS = zip(*SUBJECTS, *OTHERS, strict=True)
AGREEMENT = DATA.task("agreement", prepare, {"singular nouns": SINGULARS, "plural nouns": PLURALS})
