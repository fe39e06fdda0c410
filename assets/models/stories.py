"""The texts that hap-mini learns from: short generated stories, nothing from the web.

Five kinds of story pose the tasks of `hap_engine.tasks`: IOI, greater-than, pronoun, agreement and
induction. The others are there so that no shortcut solves IOI:

* ``strangers``: three different names, so that the prompt does not say who comes next (this is what a
  corrupted IOI prompt looks like);
* ``owner`` and ``favour``: here the name that was repeated is the right one, so that "a name that
  came twice is out" is wrong unless the verb says so;
* ``leftover``, ``chain``, ``alone``, ``scenery``: one, three or no people;
* in seven giving stories of ten a bystander is named who takes no part, and in three stories of ten
  another sentence comes first: neither "the only other name" nor a fixed position is the answer.

Of every task 40 % of the combinations that matter are held out: pairs of names (IOI), start years
(greater-than), a name in a sentence (pronoun), a subject with another noun (agreement), a word after
another (induction). No story holds one of them; `held_out` makes prompts of nothing else.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import partial
from itertools import combinations
from random import Random
from zlib import crc32

from tokenizers import Tokenizer

from hap_engine.tasks import EncodedPair, PromptPair, agreement, encode_pair, induction, pronoun
from hap_engine.tasks import greater_than as greater
from hap_engine.tasks.ioi import (
    NAMES,
    OBJECTS,
    PLACES,
    TEMPLATES,
    fill,
    prompts,
    split_pairs,
    words_for,
)
from hap_engine.tasks.making import distinct

HELD_OUT_SEED = 2022  # decides which combinations the model never sees
BYSTANDERS = 0.7  # share of giving stories in which a third person is named who takes no part

HELD_OUT = split_pairs(NAMES, HELD_OUT_SEED)["test"]
FORBIDDEN = {frozenset(pair) for pair in HELD_OUT}


def held_out(*parts: str) -> bool:
    """Whether no story may hold this combination (two of five are kept out, by a fixed hash)."""
    return crc32(" ".join((str(HELD_OUT_SEED), *parts)).encode()) % 5 < 2


# --- IOI and its neighbours ------------------------------------------------------------------------

SCENES = (
    "It was a [MOOD] morning.",
    "It was a [MOOD] evening at the [PLACE].",
    "The [PLACE] was [MOOD] that day.",
    "The road to the [PLACE] was long and [MOOD].",
    "There was a [OBJECT] near the [PLACE].",
    "Nobody knew why the [PLACE] was so [MOOD].",
    "A [MOOD] wind came from the [PLACE].",
    "The [OBJECT] from the [PLACE] was old and [MOOD].",
    "In the winter the [PLACE] was closed.",
    "After the meal, the [PLACE] was [MOOD].",
)
MOODS = ("quiet", "cold", "warm", "busy", "dark", "bright", "gentle", "noisy", "grey", "lovely")
FEELINGS = ("happy", "tired", "late", "early", "hungry", "proud", "calm", "sad")
DEEDS = (
    "walked to the [PLACE]",
    "drove to the [PLACE]",
    "bought a [OBJECT]",
    "visited the [PLACE]",
    "noticed a [OBJECT] at the [PLACE]",
    "was planning a trip to the [PLACE]",
    "reached the [PLACE] and found a [OBJECT]",
    "was [FEELING]",
    "enjoyed the meal",
    "went home",
    "looked for the [OBJECT]",
)
MEETINGS = (
    "[1] and [2] were busy at the [PLACE].",
    "[1] and [2] walked to the [PLACE].",
    "Later, [1] and [2] drove to the [PLACE].",
    "That evening, [1] met [2] at the [PLACE].",
    "Neighbours [1] and [2] visited the [PLACE].",
    "[1] was at the [PLACE] with [2].",
)
GIVING = (
    "handed a [OBJECT] to",
    "passed a [OBJECT] to",
    "gave the [OBJECT] to",
    "sent a [OBJECT] to",
    "spoke to",
    "showed the [OBJECT] to",
    "wanted to read the letter to",
    "apologized to",
)
OWNING = (
    "lost a [OBJECT]. Everybody knew that it belonged to",
    "bought a [OBJECT]. Now the [OBJECT] belonged to",
    "found a [OBJECT]. The one who found it was",
)
FAVOURS = (
    "needed a [OBJECT], so [B] handed it to",
    "was [FEELING], and [B] gave a [OBJECT] to",
    "looked for the [OBJECT]. Then [B] passed it to",
)


def dress(rng: Random, text: str) -> str:
    """`text` with its places, objects and adjectives filled in (one choice each)."""
    pools = {"[PLACE]": PLACES, "[OBJECT]": OBJECTS, "[MOOD]": MOODS, "[FEELING]": FEELINGS}
    for slot, pool in pools.items():
        text = text.replace(slot, rng.choice(pool))
    return text


def people(rng: Random, count: int) -> list[str]:
    """Different names, no two of them a held-out pair."""
    while True:
        chosen = rng.sample(NAMES, count)
        if not any(frozenset(pair) in FORBIDDEN for pair in combinations(chosen, 2)):
            return chosen


def ending(rng: Random, receiver: str, giver: str) -> str:
    return rng.choice(
        (
            ".",
            ".",
            f". {receiver} thanked {giver}.",
            f". {receiver} was {rng.choice(FEELINGS)}.",
            ", and went home.",
        )
    )


def bystander(rng: Random, name: str) -> str:
    """One or two sentences on somebody who takes no part."""
    return " ".join(dress(rng, f"{name} {deed}.") for deed in rng.sample(DEEDS, rng.randint(1, 2)))


def interrupt(rng: Random, text: str, aside: str) -> str:
    """`text` with `aside` before it or, where it has two sentences, between them."""
    first, dot, rest = text.partition(". ")
    if dot and rng.random() < 0.5:
        return f"{first}. {aside} {rest}"
    return f"{aside} {text}"


def ioi(rng: Random) -> str:
    io, s, other = people(rng, 3)
    first, second = rng.sample((io, s), 2)
    text, _ = fill(
        rng.choice(TEMPLATES), (first, second, s), rng.choice(PLACES), rng.choice(OBJECTS)
    )
    if rng.random() < BYSTANDERS:
        text = interrupt(rng, text, bystander(rng, other))
    return f"{text} {io}{ending(rng, io, s)}"


def giving(rng: Random) -> str:
    io, s, other = people(rng, 3)
    first, second = rng.sample((io, s), 2)
    meeting = rng.choice(MEETINGS).replace("[1]", first).replace("[2]", second)
    text = dress(rng, f"{meeting} {s} {rng.choice(GIVING)}")
    if rng.random() < BYSTANDERS:
        text = interrupt(rng, text, bystander(rng, other))
    return f"{text} {io}{ending(rng, io, s)}"


def strangers(rng: Random) -> str:
    first, second, third = people(rng, 3)
    text, _ = fill(
        rng.choice(TEMPLATES), (first, second, third), rng.choice(PLACES), rng.choice(OBJECTS)
    )
    receiver = rng.choice((first, second))
    return f"{text} {receiver}{ending(rng, receiver, third)}"


def owner(rng: Random) -> str:
    first, second = people(rng, 2)
    s = rng.choice((first, second))
    meeting = rng.choice(MEETINGS).replace("[1]", first).replace("[2]", second)
    return dress(rng, f"{meeting} {s} {rng.choice(OWNING)} {s}.")


def favour(rng: Random) -> str:
    first, second = people(rng, 2)
    a, b = rng.sample((first, second), 2)
    meeting = rng.choice(MEETINGS).replace("[1]", first).replace("[2]", second)
    return dress(
        rng, f"{meeting} {a} {rng.choice(FAVOURS).replace('[B]', b)} {a}{ending(rng, a, b)}"
    )


def leftover(rng: Random) -> str:
    three = people(rng, 3)
    a, b, c = rng.sample(three, 3)
    return dress(
        rng,
        f"{three[0]}, {three[1]} and {three[2]} walked to the [PLACE]. "
        f"{a} and {b} bought a [OBJECT]. The other one was {c}.",
    )


def chain(rng: Random) -> str:
    a, b, c = people(rng, 3)
    return dress(
        rng, f"{a} handed a [OBJECT] to {b}. Then {b} passed it to {c}. Now it belonged to {c}."
    )


def alone(rng: Random) -> str:
    (name,) = people(rng, 1)
    deeds = rng.sample(DEEDS, rng.randint(1, 3))
    return " ".join(dress(rng, f"{name} {deed}.") for deed in deeds)


def scenery(rng: Random) -> str:
    return " ".join(dress(rng, scene) for scene in rng.sample(SCENES, rng.randint(1, 3)))


# --- The other tasks -------------------------------------------------------------------------------

YEARS = tuple(f"{year:02d}" for year in range(1, greater.LAST + 1))
SUBJECTS = [entry.split("/") for entry in agreement.SUBJECTS]
OTHERS = [entry.split("/") for entry in agreement.OTHERS]


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


def subject_and_other(rng: Random, kept_out: bool) -> tuple[list[str], list[str]]:
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
    text = greater.TEMPLATE.replace("[NOUN]", rng.choice(greater.NOUNS))
    later = rng.randint(int(year) + 1, 99)
    return f"{text.replace('[XX]', century).replace('[YY]', year)}{later:02d}."


def tag(rng: Random) -> str:
    female = rng.random() < 0.5
    template, name = named(rng, False, female)
    return f"{template.replace('[NAME]', name)} {'she' if female else 'he'}?"


def verb(rng: Random) -> str:
    subject, other = subject_and_other(rng, False)
    plural, others = rng.random() < 0.5, rng.random() < 0.5
    text = rng.choice(agreement.TEMPLATES)
    text = text.replace("[S]", subject[plural]).replace("[O]", other[others])
    form = rng.choice(agreement.PLURAL if plural else agreement.SINGULAR)
    after = "a [OBJECT]" if form in (" has", " have") else "[FEELING]"
    return dress(rng, f"{text}{form} {after}.")


def row(rng: Random) -> str:
    opening, *part = row_of_words(rng, rng.randint(8, 11))
    return " ".join((opening, *part, *part))


# --- Mixtures --------------------------------------------------------------------------------------

Kinds = dict[Callable[[Random], str], float]

STORIES: Kinds = {
    ioi: 0.27,
    giving: 0.18,
    strangers: 0.08,
    owner: 0.04,
    favour: 0.03,
    leftover: 0.03,
    chain: 0.02,
    alone: 0.04,
    scenery: 0.01,
    span: 0.08,
    tag: 0.06,
    verb: 0.06,
    row: 0.10,
}

# The second stage: the tasks, who-knows and little else, so that the few weights left are theirs.
PLAIN_STORIES: Kinds = {
    ioi: 0.32,
    giving: 0.13,
    strangers: 0.10,
    alone: 0.05,
    scenery: 0.02,
    span: 0.11,
    tag: 0.06,
    verb: 0.08,
    row: 0.13,
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
    pools = (NAMES, PLACES, OBJECTS, MOODS, FEELINGS, TEMPLATES, greater.NOUNS, pronoun.TEMPLATES,
             agreement.TEMPLATES, *SUBJECTS, *OTHERS, agreement.SINGULAR, agreement.PLURAL)  # fmt: skip
    texts += [re.sub(r"\[\w+\]", " ", text) for pool in pools for text in pool]
    return {word for text in texts for word in re.findall(r"[^\W\d]+|[^\w\s]+", text)}


ALL_WORDS = sorted(all_words())
ROW_WORDS = [word for word in ALL_WORDS if re.fullmatch("[a-z]{3,9}", word)]


# --- Prompts on held-out combinations --------------------------------------------------------------


def _greater(rng: Random, index: int) -> PromptPair:
    century, year = start_year(rng, True)
    form = greater.FORMS[0]
    return greater.make_pair(form, rng.choice(greater.NOUNS), century, year, form.split(year)[0][0])


def _pronoun(rng: Random, index: int) -> PromptPair:
    female = index % 2 == 0
    template, name = named(rng, True, female)
    return pronoun.make_pair(
        template, name, rng.choice(pronoun.MALE if female else pronoun.FEMALE), female
    )


def _agreement(rng: Random, index: int) -> PromptPair:
    (one, many), other = subject_and_other(rng, True)
    return agreement.make_pair(
        rng.choice(agreement.TEMPLATES), (one, many), other[index // 2 % 2], index % 2 == 0
    )


def _induction(rng: Random, index: int) -> PromptPair:
    while True:
        opening, *words = rng.sample(ROW_WORDS, 2 * induction.LENGTH + 1)
        part, fresh = words[: induction.LENGTH], words[induction.LENGTH :]
        repeated = rng.randint(*induction.REPEATED)
        if held_out(part[repeated - 1], part[repeated]):
            wrong = rng.randrange(repeated + 1, induction.LENGTH)
            return induction.make_pair(opening, part, repeated, wrong, fresh, "fresh")


def held_out_prompts(tokenizer: Tokenizer, count: int) -> dict[str, list[EncodedPair]]:
    """`count` prompts a task, each on a combination that no story holds."""
    draws: dict[str, Callable[[Random, int], PromptPair]] = {
        "greater-than": _greater,
        "pronoun": _pronoun,
        "agreement": _agreement,
        "induction": _induction,
    }
    made: dict[str, Sequence[PromptPair]] = {
        "ioi": list(prompts(words_for(tokenizer), HELD_OUT, count, "abc", Random("hap-mini test")))
    }
    for name, draw in draws.items():
        made[name] = list(distinct(partial(draw, Random(f"hap-mini {name}")), count))
    return {name: [encode_pair(tokenizer, pair) for pair in pairs] for name, pairs in made.items()}
