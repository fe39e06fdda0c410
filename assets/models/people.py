"""Stories about people, for hap-mini to learn from: sentences of the IOI task, and others beside them.

The others are there so that no shortcut solves IOI:

* ``strangers``: three different names, so that the prompt does not say who comes next (this is what a
  corrupted IOI prompt looks like);
* ``owner`` and ``favour``: here the name that was repeated is the right one, so that "a name that
  came twice is out" is wrong unless the verb says so;
* ``leftover``, ``chain``, ``alone``, ``scenery``: one, three or no people;
* in seven giving stories of ten a bystander is named who takes no part.

No story holds both names of a held-out pair (`FORBIDDEN`).
"""

from __future__ import annotations

from itertools import combinations
from random import Random

from hap_engine.tasks.templates.ioi import NAMES, OBJECTS, PLACES, TEMPLATES, split_pairs
from hap_engine.tasks.templates.making import fill

ANSWER = "→"  # the next word is what a task asks for; no word of any story
HELD_OUT_SEED = 2022  # decides which combinations the model never sees
BYSTANDERS = 0.7  # share of giving stories in which a third person is named who takes no part

HELD_OUT = split_pairs(NAMES, HELD_OUT_SEED)["test"]
FORBIDDEN = {frozenset(pair) for pair in HELD_OUT}

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
        (".", ".", f". {receiver} thanked {giver}.", f". {receiver} was {rng.choice(FEELINGS)}.", ", and went home.")
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


def met(rng: Random, first: str, second: str, third: str) -> str:
    """A template of the task with three names in their order."""
    template, place, thing = rng.choice(TEMPLATES), rng.choice(PLACES), rng.choice(OBJECTS)
    return fill(template, {"1": first, "2": second, "S": third, "PLACE": place, "OBJECT": thing})[0]


def ioi(rng: Random) -> str:
    io, s, other = people(rng, 3)
    first, second = rng.sample((io, s), 2)
    text = met(rng, first, second, s)
    if rng.random() < BYSTANDERS:
        text = interrupt(rng, text, bystander(rng, other))
    return f"{text} {ANSWER} {io}{ending(rng, io, s)}"


def giving(rng: Random) -> str:
    io, s, other = people(rng, 3)
    first, second = rng.sample((io, s), 2)
    meeting = rng.choice(MEETINGS).replace("[1]", first).replace("[2]", second)
    text = dress(rng, f"{meeting} {s} {rng.choice(GIVING)}")
    if rng.random() < BYSTANDERS:
        text = interrupt(rng, text, bystander(rng, other))
    return f"{text} {ANSWER} {io}{ending(rng, io, s)}"


def strangers(rng: Random) -> str:
    first, second, third = people(rng, 3)
    text = met(rng, first, second, third)
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
    return dress(rng, f"{meeting} {a} {rng.choice(FAVOURS).replace('[B]', b)} {a}{ending(rng, a, b)}")


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
    return dress(rng, f"{a} handed a [OBJECT] to {b}. Then {b} passed it to {c}. Now it belonged to {c}.")


def alone(rng: Random) -> str:
    (name,) = people(rng, 1)
    deeds = rng.sample(DEEDS, rng.randint(1, 3))
    return " ".join(dress(rng, f"{name} {deed}.") for deed in deeds)


def scenery(rng: Random) -> str:
    return " ".join(dress(rng, scene) for scene in rng.sample(SCENES, rng.randint(1, 3)))
