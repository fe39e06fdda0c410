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
from dataclasses import dataclass, field
from random import Random

from tokenizers import Tokenizer

from hap_engine.errors import TaskError
from hap_engine.tasks.pair import PromptPair, encode, single_token, spelling_token
from hap_engine.tasks.task import PromptSets, SplitSizes, Task
from hap_engine.tasks.templates.making import check_corruption, make_sets, one_token_words, word_list

TEMPLATE = "The [NOUN] lasted from the year [XX][YY] to the year [XX]"
NOUNS = word_list("""
    war siege strike festival project journey voyage drought trial reign campaign contract dispute
    famine conflict expedition study mission plan crisis program operation rebellion flood marriage
    friendship peace treaty empire dynasty search tour season course race work
""")
CENTURIES = tuple(str(century) for century in range(11, 18))  # as published
FIRST, LAST = 2, 98  # start years: one valid and one invalid year remain at least
CORRUPTIONS = {"year_01": "The start year becomes 01: every later year is right, so none is favoured."}
MIN_NOUNS = 4
MIN_YEARS = 100  # of 679 start years


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


def usable_years(tokenizer: Tokenizer) -> tuple[Form, list[tuple[str, str]]]:
    """The form that suits the tokenizer, and the start years (century, year) that keep to it.

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
    raise TaskError(
        "Greater-than needs a tokenizer that writes years with one or two digits a token, and this "
        "model's does neither. Choose another model or another task."
    )


def make_pair(form: Form, noun: str, century: str, year: str, answer: str) -> PromptPair:
    """One prompt and its twin that starts in the year 01; `answer` is the valid end that is shown."""
    clean = TEMPLATE.replace("[NOUN]", noun).replace("[XX]", century).replace("[YY]", year)
    corrupt = TEMPLATE.replace("[NOUN]", noun).replace("[XX]", century).replace("[YY]", "01")
    later, earlier = form.split(year)
    others = tuple(end for end in later if end != answer)
    start = clean.index(century + year)
    return PromptPair(
        clean,
        corrupt,
        answer,
        earlier[-1],
        {
            "NOUN": (clean.index(noun), 0),
            "XX": (start + len(century) - 1, 0),
            "YY": (start + len(century), 0),
            "END": (len(clean) - 1, 0),
        },
        others,
        earlier[:-1],
        tuple(form.ids[end] for end in (answer, *others) if form.ids),
        tuple(form.ids[end] for end in (earlier[-1], *earlier[:-1]) if form.ids),
    )


def generate(tokenizer: Tokenizer, sizes: SplitSizes, seed: int, corruption: str) -> PromptSets:
    """Disjoint splits. Raises TaskError if the tokenizer leaves too few nouns or years."""
    check_corruption(corruption, CORRUPTIONS)
    nouns = one_token_words(tokenizer, NOUNS, "Greater-than", "nouns", MIN_NOUNS)
    form, years = usable_years(tokenizer)

    def draw(rng: Random, mine: Sequence[tuple[str, str]], index: int) -> PromptPair:
        century, year = rng.choice(mine)
        later, _ = form.split(year)
        return make_pair(form, rng.choice(nouns), century, year, later[0])

    return make_sets("greater-than", tokenizer, sizes, seed, years, draw)


GREATER_THAN = Task(
    name="greater-than",
    title="Greater-than",
    summary=(
        "“The siege lasted from the year 1732 to the year 17…” The next two digits must be later than "
        "32, because nothing ends before it begins. The model has to find the first year, and then prefer "
        "every later one over every earlier one. In GPT-2 small, Hanna et al. (2023, arXiv 2305.00586) "
        "found a circuit for it: attention heads in the middle layers (a5.h5, a6.h1, a6.h9, a7.h10, a8.h11 and "
        "a9.h1 among them) look from the last token back at YY, the first year's digits, and the MLPs 8 to 11 turn "
        "“YY is 32” into “33 and above”. The score is how much more probability goes to the later "
        "years than to the others (`prob_diff`); the logit difference is its log-odds. Models that write years digit "
        "by digit are asked for the tens digit alone."
    ),
    role_names=("NOUN", "XX", "YY", "END"),
    corruptions=CORRUPTIONS,
    generate=generate,
    metric="prob_diff",
    pools={"events": NOUNS},
)
