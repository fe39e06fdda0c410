"""The texts that hap-mini learns from: short generated stories, nothing from the web.

Five kinds of story pose the tasks of `hap_engine.tasks`: IOI (`assets.models.people`, with its
neighbours), greater-than, pronoun, agreement and induction. Three stories of ten begin with another
sentence, so that no position is the answer.

A mark (`ANSWER`) stands before every word that a task asks for; it is taken out of the text, and the
word counts more in the loss (most other words of a story cannot be foreseen).

Of every task 40 % of the combinations that matter are held out: pairs of names (IOI), start years
(greater-than), a name in a sentence (pronoun), a subject with another noun (agreement), a word after
another (induction). No story holds one of them; `assets.models.exam` asks for nothing else.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from random import Random
from zlib import crc32

from assets.models.people import (
    ANSWER,
    FEELINGS,
    HELD_OUT_SEED,
    MOODS,
    SCENES,
    alone,
    chain,
    dress,
    favour,
    giving,
    ioi,
    leftover,
    owner,
    scenery,
    strangers,
)
from hap_engine.tasks.templates import agreement, pronoun
from hap_engine.tasks.templates import greater_than as greater
from hap_engine.tasks.templates.ioi import NAMES, OBJECTS, PLACES, TEMPLATES


def held_out(*parts: str) -> bool:
    """Whether no story may hold this combination (two of five are kept out, by a fixed hash)."""
    return crc32(" ".join((str(HELD_OUT_SEED), *parts)).encode()) % 5 < 2


# --- The other tasks -------------------------------------------------------------------------------

YEARS = tuple(f"{year:02d}" for year in range(1, greater.LAST + 1))
# A part of the tasks' words: the fewer words there are, the sooner a row of them is repeated well.
EVENTS = greater.NOUNS[:12]
SUBJECTS = agreement.SUBJECTS[:16]
OTHERS = agreement.OTHERS[:6]


def start_year(rng: Random, kept_out: bool) -> tuple[str, str]:
    """A century and a year, from those that are held out or from the others."""
    while True:
        century, year = rng.choice(greater.CENTURIES), rng.choice(YEARS)
        if (year != "01" and held_out(century, year)) == kept_out:
            return century, year


def named(rng: Random, kept_out: bool, female: bool) -> tuple[str, str]:
    """A sentence with a name's place, and a name of the given gender."""
    while True:
        template = rng.choice(pronoun.TEMPLATES)
        name = rng.choice(pronoun.FEMALE if female else pronoun.MALE)
        if held_out(template, name) == kept_out:
            return template, name


def subject_and_other(rng: Random, kept_out: bool) -> tuple[agreement.Noun, agreement.Noun]:
    while True:
        subject, other = rng.choice(SUBJECTS), rng.choice(OTHERS)
        if held_out(subject[0], other[0]) == kept_out:
            return subject, other


def row_of_words(rng: Random, length: int) -> list[str]:
    """Different random words, none of them right after a word that it is held out with."""
    row = [rng.choice(ROW_WORDS)]
    while len(row) < length:
        word = rng.choice(ROW_WORDS)
        if word not in row and not held_out(row[-1], word):
            row.append(word)
    return row


def span(rng: Random) -> str:
    century, year = start_year(rng, False)
    text = greater.TEMPLATE.replace("[NOUN]", rng.choice(EVENTS))
    later = rng.randint(int(year) + 1, 99)
    return f"{text.replace('[XX]', century).replace('[YY]', year)}{ANSWER}{later:02d}."


def tag(rng: Random) -> str:
    female = rng.random() < 0.5
    template, name = named(rng, False, female)
    return f"{template.replace('[NAME]', name)} {ANSWER} {'she' if female else 'he'}?"


def verb(rng: Random) -> str:
    subject, other = subject_and_other(rng, False)
    plural, others = rng.random() < 0.5, rng.random() < 0.5
    text = rng.choice(agreement.TEMPLATES)
    text = text.replace("[SUBJECT]", subject[plural]).replace("[OTHER]", other[others])
    form = rng.choice(agreement.PLURAL if plural else agreement.SINGULAR)
    after = "a [OBJECT]" if form in (" has", " have") else "[FEELING]"
    return dress(rng, f"{text} {ANSWER}{form} {after}.")


def row(rng: Random) -> str:
    opening, first, *others = row_of_words(rng, rng.randint(5, 14))
    again = [f"{ANSWER} {word}" for word in others]
    return " ".join((opening, first, *others, first, *again))


# --- Mixtures --------------------------------------------------------------------------------------

Kinds = dict[Callable[[Random], str], float]

STORIES: Kinds = {
    ioi: 0.25,
    giving: 0.15,
    strangers: 0.07,
    owner: 0.03,
    favour: 0.03,
    leftover: 0.03,
    chain: 0.02,
    alone: 0.04,
    scenery: 0.01,
    span: 0.06,
    tag: 0.06,
    verb: 0.05,
    row: 0.20,
}

# The second stage: the tasks, who-knows and little else, so that the few weights left are theirs.
PLAIN_STORIES: Kinds = {
    ioi: 0.38,
    giving: 0.13,
    strangers: 0.10,
    alone: 0.04,
    scenery: 0.02,
    span: 0.08,
    tag: 0.05,
    verb: 0.05,
    row: 0.15,
}


def story(rng: Random, kinds: Kinds = STORIES) -> str:
    """One short text; some begin with another sentence."""
    (kind,) = rng.choices(list(kinds), list(kinds.values()))
    text = kind(rng)
    if kind is not row and rng.random() < 0.3:
        text = f"{dress(rng, rng.choice(SCENES))} {text}"
    return text


def all_words() -> set[str]:
    """Every word and punctuation mark of the stories, numbers aside."""
    rng = Random(0)
    spoken = {kind: share for kind, share in STORIES.items() if kind is not row}
    texts = [story(rng, spoken) for _ in range(5000)]
    pools = (
        NAMES,
        PLACES,
        OBJECTS,
        MOODS,
        FEELINGS,
        TEMPLATES,
        EVENTS,
        pronoun.TEMPLATES,
        agreement.TEMPLATES,
        *SUBJECTS,
        *OTHERS,
        agreement.SINGULAR,
        agreement.PLURAL,
    )
    texts += [re.sub(r"\[\w+\]", " ", text) for pool in pools for text in pool]
    words = {word for text in texts for word in re.findall(r"[^\W\d]+|[^\w\s]+", text)}
    return words - {ANSWER}


ALL_WORDS = sorted(all_words())
ROW_WORDS = [word for word in ALL_WORDS if re.fullmatch("[a-z]{3,9}", word)]
