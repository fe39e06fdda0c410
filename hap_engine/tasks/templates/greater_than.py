"""Greater-than: a later year must follow (Hanna et al. 2023, arXiv 2305.00586).

    The siege lasted from the year 1732 to the year 17  ->  33, 34, … 99
        NOUN                       XX YY            END

Any later year is right and every earlier one is wrong, so answers and distractors are sets. The corrupt
prompt starts in the year 01, which makes every continuation right: the reason to prefer late years is
gone. No start year (century and years) is in two splits.

Tokenizers split years in different ways. `usable_years` asks for these, in this order:

* **two digits a token**, as published: the answers are the years after YY;
* **two digits a token but for some years** (GPT-2: ``17`` ``32``, yet ``1700`` is one token): start years are those
  that are split, and the answers are all hundred ends, as published, given by their ids;
* **one digit a token** (SmolLM2, Qwen2: ``1`` ``7`` ``3`` ``2``): the answer is the next year's tens
  digit. Later tens are right and earlier ones wrong; the same one is left out, for it could be either.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from random import Random

from tokenizers import Tokenizer

from hap_engine.errors import TaskError
from hap_engine.tasks.pair import PromptPair, encode, single_token, spelling_token
from hap_engine.tasks.templates.making import Draw, read_data
from hap_engine.words import say

DATA = read_data("greater_than")
(TEMPLATE,), NOUNS = DATA.texts["template"], DATA.words["events"]
CENTURIES = tuple(str(century) for century in range(11, 18))  # as published
FIRST, LAST = 2, 98  # start years: one valid and one invalid year remain at least
MIN_NOUNS = 4
MIN_YEARS = 100  # of 679 start years

Year = tuple[str, str]  # century, two digits


@dataclass(frozen=True)
class Form:
    """How a tokenizer writes years: the ends that may follow a century, and what they are worth."""

    ends: tuple[str, ...]  # two-digit years, or tens digits
    ids: Mapping[str, int] = field(default_factory=dict)  # of the ends, where not every text has them as tokens

    def split(self, start: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Ends after and not after the two-digit year `start` (with one digit: its tens left out)."""
        digits = len(self.ends[0])
        mark = start[:digits]
        later = tuple(end for end in self.ends if end > mark)
        earlier = tuple(end for end in self.ends if end < mark or (digits == 2 and end == mark))
        return later, earlier


FORMS = (Form(tuple(f"{year:02d}" for year in range(100))), Form(tuple(str(digit) for digit in range(10))))


def usable_years(tokenizer: Tokenizer) -> tuple[Form, list[Year]]:
    """The form that suits the tokenizer, and the start years that keep to it.

    Raises:
        TaskError: if it splits years in another way.
    """
    spelled = {end: spelling_token(tokenizer, "to the year 17", end) for end in FORMS[0].ends}
    ids = {end: token for end, token in spelled.items() if token is not None}
    for form in (FORMS[0], Form(FORMS[0].ends, ids), FORMS[1]):
        years = []
        for century in CENTURIES:
            prefix = f"to the year {century}"
            added = {end for end in form.ends if single_token(tokenizer, prefix, end) is not None}
            ends = set(form.ids) or added
            length = len(encode(tokenizer, f"{prefix}01"))
            for year in (f"{number:02d}" for number in range(FIRST, LAST + 1)):
                later, earlier = form.split(year)
                aligned = len(encode(tokenizer, f"{prefix}{year}")) == length and (year in added or not form.ids)
                if aligned and later and earlier and ends.issuperset((*later, *earlier)):
                    years.append((century, year))
        if len(years) >= MIN_YEARS:
            return form, years
    raise TaskError(say("tasks.no_years"))


def make_pair(form: Form, noun: str, century: str, year: str, answer: str) -> PromptPair:
    """One prompt and its twin that starts in the year 01; `answer` is the valid end that is shown."""
    later, earlier = form.split(year)
    right, wrong = [answer, *(end for end in later if end != answer)], [earlier[-1], *earlier[:-1]]
    pair = DATA.pair(TEMPLATE, {"NOUN": noun, "XX": century, "YY": year}, {"YY": "01"}, right, wrong)
    return replace(
        pair,
        marks={**pair.marks, "XX": (pair.marks["YY"][0] - 1, 0)},  # a century's last digit, where each is a token
        answer_ids=tuple(form.ids[end] for end in right if form.ids),
        distractor_ids=tuple(form.ids[end] for end in wrong if form.ids),
    )


def prepare(tokenizer: Tokenizer, seed: int, corruption: str) -> tuple[Sequence[Year], Draw[Year]]:
    """Start years, and how a prompt is drawn of them. Raises TaskError if there are too few nouns or years."""
    nouns = DATA.one_token(tokenizer, NOUNS, "nouns", MIN_NOUNS)
    form, years = usable_years(tokenizer)

    def draw(rng: Random, mine: Sequence[Year], index: int) -> PromptPair:
        century, year = rng.choice(mine)
        later, _ = form.split(year)
        return make_pair(form, rng.choice(nouns), century, year, later[0])

    return years, draw


GREATER_THAN = DATA.task("greater-than", prepare, {"events": NOUNS})
