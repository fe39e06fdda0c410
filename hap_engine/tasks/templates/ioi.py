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

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from random import Random

from tokenizers import Tokenizer

from hap_engine.errors import TaskError
from hap_engine.tasks.pair import PromptPair, encode_pair
from hap_engine.tasks.task import PromptSets, SplitSizes, Task
from hap_engine.tasks.templates.making import MAX_DRAWS, check_corruption, deal, read_data
from hap_engine.words import say

DATA = read_data("ioi")
TEMPLATES = DATA.texts["templates"]
NAMES, PLACES, OBJECTS = (DATA.words[kind] for kind in ("names", "places", "objects"))
LEAST = {"names": 10, "places": 4, "objects": 4}  # 10 names: 45 pairs, 18 / 9 / 18, and three fresh names a prompt

Words = Mapping[str, tuple[str, ...]]  # by kind, as `LEAST`


def words_for(tokenizer: Tokenizer) -> Words:
    """The words that `tokenizer` writes as one token after a space.

    Raises:
        TaskError: if too few are left.
    """
    return {kind: DATA.one_token(tokenizer, DATA.words[kind], kind, least) for kind, least in LEAST.items()}


def make_pair(
    template: str, io: str, s: str, others: Sequence[str], place: str, thing: str, abba: bool, corruption: str
) -> PromptPair:
    """One clean prompt and its corrupt twin; `others` are the three names that a corruption may use."""
    first, second = ("IO", "S1") if abba else ("S1", "IO")
    template = template.replace("[1]", f"[{first}]").replace("[2]", f"[{second}]").replace("[S]", "[S2]")
    x, y, z = others
    changed = {"abc": {first: x, second: y, "S2": z}, "s2": {"S2": z}, "s2_io": {"S2": io}}[corruption]
    words = {"IO": io, "S1": s, "S2": s, "PLACE": place, "OBJECT": thing}
    return DATA.pair(template, words, changed, [f" {io}"], [f" {s}"])


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
            others = rng.sample([name for name in words["names"] if name not in (io, s)], 3)
            place, thing = rng.choice(words["places"]), rng.choice(words["objects"])
            pair = make_pair(template, io, s, others, place, thing, abba, corruption)
            if pair.clean not in seen:
                break
        else:
            raise TaskError(say("tasks.few_names", count=count, seen=len(seen), names=len(words["names"])))
        seen.add(pair.clean)
        yield pair


def generate(tokenizer: Tokenizer, sizes: SplitSizes, seed: int, corruption: str) -> PromptSets:
    """Disjoint train, validation and test prompts for the model that `tokenizer` belongs to.

    Raises:
        UnknownNameError: for a corruption that the task does not have.
        TaskError: if the tokenizer leaves too few words, or too few different prompts.
    """
    check_corruption(corruption, DATA.told["corruptions"])
    words = words_for(tokenizer)
    splits = {}
    for split, pairs in split_pairs(words["names"], seed).items():
        rng = Random(f"ioi {split} {seed}")
        made = prompts(words, pairs, getattr(sizes, split), corruption, rng)
        splits[split] = tuple(encode_pair(tokenizer, pair) for pair in made)
    return PromptSets.of(splits)


IOI = Task(name="ioi", generate=generate, pools=DATA.words, **DATA.told)
