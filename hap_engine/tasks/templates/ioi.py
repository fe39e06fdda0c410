"""Indirect Object Identification (IOI), after Wang et al. 2022 (arXiv 2211.00593).

Two people are introduced, one of them (the subject S) is named again, and the sentence stops where
the other one (the indirect object IO) must follow::

    Later, Mary and John walked to the market. John handed a ring to   ->  Mary
           IO       S1  S1+1                   S2                END

Each of the 15 templates is used in both orders, ABBA (IO is named first, as above) and BABA
(S is named first). The sentences are our own; their structures follow the published ones.

Clean and corrupt prompts differ in names only, so any name that is one token keeps them aligned.
Unordered pairs {IO, S} are dealt to train, validation and test in fixed shares (`making.SHARES`):
no two splits share a pair, and asking for more training prompts leaves the test prompts as they are.
All corruptions of one seed share their clean prompts, so that their circuits can be compared.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from random import Random

from tokenizers import Tokenizer

from hap_engine.errors import TaskError
from hap_engine.tasks.pair import PromptPair, encode_pair
from hap_engine.tasks.task import PromptSets, SplitSizes, Task
from hap_engine.tasks.templates.making import MAX_DRAWS, check_corruption, deal, one_token_words, word_list

# [1] and [2]: the two people in their order of mention; [S]: the second mention of the subject.
# Every [1], [2] and [S] follows a space: a name at the start of a text would be another token.
TEMPLATES = (
    "Later, [1] and [2] walked to the [PLACE]. [S] handed a [OBJECT] to",
    "Later, [1] and [2] enjoyed a fine day at the [PLACE]. [S] handed a [OBJECT] to",
    "Later, [1] and [2] were busy at the [PLACE]. [S] chose to hand a [OBJECT] to",
    "Later, [1] and [2] were planning a trip to the [PLACE]. [S] hoped to hand a [OBJECT] to",
    "Later, [1] and [2] had a bitter quarrel, and in the end [S] apologized to",
    "Once [1] and [2] reached the [PLACE], [S] handed a [OBJECT] to",
    "As soon as [1] and [2] bought a [OBJECT] at the [PLACE], [S] agreed to hand it to",
    "As soon as [1] and [2] bought a [OBJECT] at the [PLACE], [S] agreed to hand the [OBJECT] to",
    "As [1] and [2] were busy at the [PLACE], [S] passed a [OBJECT] to",
    "As [1] and [2] were travelling to the [PLACE], [S] passed a [OBJECT] to",
    "After the meal, [1] and [2] walked to the [PLACE]. [S] offered a [OBJECT] to",
    "That evening, [1] and [2] drove to the [PLACE]. [S] handed a [OBJECT] to",
    "Later, [1] and [2] had a bitter quarrel. In the end [S] apologized to",
    "The [PLACE] that [1] and [2] visited had a [OBJECT]. [S] handed it to",
    "Neighbours [1] and [2] noticed a [OBJECT] at the [PLACE]. [S] handed it to",
)

NAMES = word_list("""
    Aaron Adam Ahmed Alan Albert Alex Alice Amy Andrew Angela Anna Anne Anthony Arthur Barbara
    Benjamin Brian Bruce Carl Carlos Carol Caroline Catherine Charles Charlotte Christine Claire
    Daniel David Diana Donald Edward Elizabeth Ellen Emily Emma Eric Eva Frank Fred Gary George
    Hannah Harry Helen Henry Howard Ian Ivan Jack Jacob James Jane Jason Jennifer Jessica Jim Joan
    Joe John Jonathan Joseph Julia Julian Karen Kate Keith Kevin Larry Laura Lawrence Lewis Linda
    Lisa Louis Lucy Margaret Maria Mary Matthew Michael Nancy Nathan Neil Nicholas Nicole Oliver
    Oscar Patrick Paul Peter Philip Rachel Ralph Rebecca Richard Robert Roger Ruth Ryan Sam Sarah
    Simon Stephen Steve Susan Thomas Tim Tom Tony Victoria Vincent Walter William
""")
PLACES = word_list("library market museum beach hotel church farm school station office park castle")
OBJECTS = word_list("book letter ring ball pen gift ticket map key coin cake flower")

CORRUPTIONS = {
    "abc": "All three names become three other, different names: no name is repeated, none is right.",
    "s2": "Only the second mention of the subject becomes a third name: nothing is repeated.",
    "s2_io": "The second mention becomes the indirect object: now the other name is right.",
}
ROLES = ("IO", "S1", "S1+1", "S2", "END")

MIN_NAMES = 10  # 45 pairs: 18 / 9 / 18, and three fresh names for each prompt
MIN_THINGS = 4  # places, objects


@dataclass(frozen=True)
class Words:
    """The names, places and objects that are one token each for a model."""

    names: tuple[str, ...]
    places: tuple[str, ...]
    objects: tuple[str, ...]


def words_for(tokenizer: Tokenizer) -> Words:
    """The words that `tokenizer` writes as one token after a space.

    Raises:
        TaskError: if too few are left.
    """
    return Words(
        one_token_words(tokenizer, NAMES, "IOI", "names", MIN_NAMES),
        one_token_words(tokenizer, PLACES, "IOI", "places", MIN_THINGS),
        one_token_words(tokenizer, OBJECTS, "IOI", "objects", MIN_THINGS),
    )


def fill(template: str, names: Sequence[str], place: str, thing: str) -> tuple[str, list[int]]:
    """`template` with its three name slots filled in order, and the character where each starts."""
    before = re.split(r"\[[12S]\]", template.replace("[PLACE]", place).replace("[OBJECT]", thing))
    text, starts = before[0], []
    for name, after in zip(names, before[1:], strict=True):
        starts.append(len(text))
        text += name + after
    return text, starts


def make_pair(
    template: str, io: str, s: str, others: Sequence[str], place: str, thing: str, abba: bool, corruption: str
) -> PromptPair:
    """One clean prompt and its corrupt twin; `others` are the three names that a corruption may use."""
    first, second = (io, s) if abba else (s, io)
    x, y, z = others
    replaced = {"abc": (x, y, z), "s2": (first, second, z), "s2_io": (first, second, io)}
    clean, starts = fill(template, (first, second, s), place, thing)
    corrupt, _ = fill(template, replaced[corruption], place, thing)
    io_start, s1_start = starts[:2] if abba else (starts[1], starts[0])
    marks = {
        "IO": (io_start, 0),
        "S1": (s1_start, 0),
        "S1+1": (s1_start, 1),
        "S2": (starts[2], 0),
        "END": (len(clean) - 1, 0),
    }
    return PromptPair(clean, corrupt, f" {io}", f" {s}", marks)


def split_pairs(names: Sequence[str], seed: int) -> dict[str, list[tuple[str, str]]]:
    """Every unordered pair of names, dealt to the splits: no pair is in two of them."""
    return deal(combinations(names, 2), f"ioi pairs {seed}")


def prompts(
    words: Words, pairs: Sequence[tuple[str, str]], count: int, corruption: str, rng: Random
) -> Iterator[PromptPair]:
    """`count` different prompts: ABBA and BABA in turn, and all templates equally often."""
    templates = rng.sample(TEMPLATES, len(TEMPLATES))
    seen: set[str] = set()
    for index in range(count):
        # 15 templates and 2 orders have no common divisor: 30 prompts in a row use all 30 forms.
        template, abba = templates[index % len(templates)], index % 2 == 0
        for _ in range(MAX_DRAWS):
            io, s = rng.sample(rng.choice(pairs), 2)
            others = rng.sample([name for name in words.names if name not in (io, s)], 3)
            place, thing = rng.choice(words.places), rng.choice(words.objects)
            pair = make_pair(template, io, s, others, place, thing, abba, corruption)
            if pair.clean not in seen:
                break
        else:
            raise TaskError(
                f"Expected {count} different prompts in one split, got {len(seen)}: the model's "
                f"tokenizer leaves {len(words.names)} names of one token. Ask for fewer prompts."
            )
        seen.add(pair.clean)
        yield pair


def generate(tokenizer: Tokenizer, sizes: SplitSizes, seed: int, corruption: str) -> PromptSets:
    """Disjoint train, validation and test prompts for the model that `tokenizer` belongs to.

    Raises:
        UnknownNameError: for a corruption that is not in `CORRUPTIONS`.
        TaskError: if the tokenizer leaves too few words, or too few different prompts.
    """
    check_corruption(corruption, CORRUPTIONS)
    words = words_for(tokenizer)
    splits = {}
    for split, pairs in split_pairs(words.names, seed).items():
        rng = Random(f"ioi {split} {seed}")
        made = prompts(words, pairs, getattr(sizes, split), corruption, rng)
        splits[split] = tuple(encode_pair(tokenizer, pair) for pair in made)
    return PromptSets(**splits)


IOI = Task(
    name="ioi",
    title="Indirect object identification",
    summary=(
        "“Later, Mary and John walked to the market. John handed a ring to …” Who gets the ring? You "
        "answer Mary at once: she is the one who is not named twice. A language model that only "
        "predicts the next token has to do the same, and it must do it with attention. In GPT-2 small, "
        "Wang et al. (2022, arXiv 2211.00593) traced how. Duplicate-token and induction heads notice at "
        "the second “John” (S2) that this name has occurred before; previous-token heads, which look "
        "from the word after the first John (S1+1) back at him (S1), prepare the ground for induction. "
        "S-inhibition heads carry that news to the last token (END) and tell the name movers which name "
        "not to attend to. The name-mover heads then look at the name that is left (IO) and copy it to the "
        "output; backup name movers step in when these fail, and negative ones push against them. The "
        "score is the logit difference between the right name and the repeated one."
    ),
    role_names=ROLES,
    corruptions=CORRUPTIONS,
    generate=generate,
    pools={"names": NAMES, "places": PLACES, "objects": OBJECTS},
)
