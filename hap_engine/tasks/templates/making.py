"""What the task generators share: their data files, words of one token, disjoint splits, prompts without repetition.

A task is a pool of *items* (whatever must not be in two splits: pairs of names, countries, nouns, …)
and a function that draws one prompt from some of them. `make_sets` deals the items to train,
validation and test in fixed shares and draws from each share. Asking for more training prompts
leaves the test prompts as they are.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from random import Random
from typing import Any, TypeVar

from tokenizers import Tokenizer

from hap_engine.errors import TaskError, UnknownNameError
from hap_engine.tasks.pair import PromptPair, encode_pair, single_token
from hap_engine.tasks.task import PromptSets, SplitSizes, Task
from hap_engine.words import beside, say

T = TypeVar("T")
Entry = TypeVar("Entry", str, tuple[str, str])
Draw = Callable[[Random, Sequence[T], int], PromptPair]  # (rng, items of the split, how many before)
Prepare = Callable[[Tokenizer, int, str], tuple[Iterable[T], Draw[T]]]  # (tokenizer, seed, corruption)

SHARES = (("train", 0.4), ("validation", 0.2), ("test", 0.4))  # of the items
MAX_DRAWS = 1000  # in search of a prompt that is not there yet


@dataclass(frozen=True)
class TaskData:
    """What the data file of a task holds: material for its prompts, and what a student is told of it.

    Attributes:
        told: the fields of a `Task` that are texts.
        texts, words, pairs: by kind, as in the file; a pair is written ``dog/dogs`` there.
    """

    told: Mapping[str, Any]
    texts: Mapping[str, Sequence[str]]
    words: Mapping[str, tuple[str, ...]]
    pairs: Mapping[str, tuple[tuple[str, str], ...]]

    def one_token(self, tokenizer: Tokenizer, pool: Iterable[Entry], kind: str, least: int) -> tuple[Entry, ...]:
        """The words (or pairs of words) of `pool` that are one token each.

        Raises:
            TaskError: if fewer than `least` are.
        """
        texts = ((entry, (entry,) if isinstance(entry, str) else entry) for entry in pool)
        found = tuple(entry for entry, words in texts if all(is_one_token(tokenizer, word) for word in words))
        self.need(kind, len(found), least)
        return found

    def need(self, kind: str, count: int, least: int) -> None:
        """Refuse a tokenizer that leaves too few words."""
        if count < least:
            raise TaskError(say("tasks.few_words", self=self, least=least, kind=kind, count=count))

    def pair(
        self,
        template: str,
        words: Mapping[str, str],
        changed: Mapping[str, str],
        right: Sequence[str],
        wrong: Sequence[str],
    ) -> PromptPair:
        """A template with its slots filled by `words`, and its twin with those that are `changed`.

        A role is the token at the slot of its name, or (``S1+1``) so many after it. The first answers are those shown.
        """
        clean, starts = fill(template, words)
        starts["END"] = len(clean) - 1
        slots = {role: role.partition("+") for role in self.told["role_names"]}
        marks = {role: (starts[slot], int(shift or 0)) for role, (slot, _, shift) in slots.items()}
        corrupt, _ = fill(template, {**words, **changed})
        return PromptPair(clean, corrupt, right[0], wrong[0], marks, tuple(right[1:]), tuple(wrong[1:]))

    def task(self, name: str, prepare: Prepare[T], pools: Mapping[str, tuple[str, ...]]) -> Task:
        """The task whose items `prepare` gives, with how a prompt is drawn from them."""

        def generate(tokenizer: Tokenizer, sizes: SplitSizes, seed: int, corruption: str) -> PromptSets:
            """Disjoint splits.

            Raises:
                UnknownNameError: for a corruption that the task does not have.
                TaskError: if the tokenizer leaves too few words, or too few different prompts.
            """
            check_corruption(corruption, self.told["corruptions"])
            items, draw = prepare(tokenizer, seed, corruption)
            return make_sets(name, tokenizer, sizes, seed, items, draw)

        return Task(name=name, generate=generate, pools=pools, **self.told)


def read_data(name: str) -> TaskData:
    """The data file ``<name>.toml`` in this folder."""
    data = tomllib.loads(beside(__file__, f"{name}.toml"))
    told = data["told"]
    told |= {"summary": " ".join(told["summary"].split()), "role_names": tuple(told["role_names"])}
    words = {kind: tuple(text.split()) for kind, text in data.get("words", {}).items()}
    pairs = {
        kind: tuple((one, other) for one, _, other in (entry.partition("/") for entry in text.split()))
        for kind, text in data.get("pairs", {}).items()
    }
    return TaskData(told, data.get("texts", {}), words, pairs)


def fill(template: str, words: Mapping[str, str]) -> tuple[str, dict[str, int]]:
    """A template with its slots (``[NAME]``) filled, and the character at which each slot starts first."""
    text, starts = "", dict[str, int]()
    for index, part in enumerate(re.split(r"\[(\w+)\]", template)):
        if index % 2:
            starts.setdefault(part, len(text))
        text += words[part] if index % 2 else part
    return text, starts


def is_one_token(tokenizer: Tokenizer, word: str, before: str = "to", gap: str = " ") -> bool:
    """Whether `word` is one token of its own after `before` and `gap` (an unknown word is not)."""
    token = single_token(tokenizer, before, f"{gap}{word}")
    return token is not None and tokenizer.decode([token]).strip() == word


def check_corruption(name: str, known: Iterable[str]) -> None:
    """Raises UnknownNameError for a corruption that a task does not have."""
    known = list(known)
    if name not in known:
        raise UnknownNameError("corruption", name, known)


def deal(items: Iterable[T], label: str) -> dict[str, list[T]]:
    """The items in random order (decided by `label`), dealt to the splits by `SHARES`."""
    shuffled = list(items)
    Random(label).shuffle(shuffled)
    dealt: dict[str, list[T]] = {}
    start, share_so_far = 0, 0.0
    for split, share in SHARES:
        share_so_far += share
        end = round(share_so_far * len(shuffled))
        dealt[split], start = shuffled[start:end], end
    return dealt


def distinct(draw: Callable[[int], PromptPair], count: int) -> Iterator[PromptPair]:
    """`count` pairs from `draw(index)`, none of them twice.

    Raises:
        TaskError: if `draw` finds no new one any more.
    """
    seen: set[tuple[str, str]] = set()
    for index in range(count):
        for _ in range(MAX_DRAWS):
            pair = draw(index)
            if (pair.clean, pair.corrupt) not in seen:
                break
        else:
            raise TaskError(say("tasks.few_prompts", count=count, seen=len(seen)))
        seen.add((pair.clean, pair.corrupt))
        yield pair


def make_sets(
    task: str, tokenizer: Tokenizer, sizes: SplitSizes, seed: int, items: Iterable[T], draw: Draw[T]
) -> PromptSets:
    """Disjoint prompts: each split draws from its own share of `items`."""
    splits = {}
    for split, mine in deal(items, f"{task} items {seed}").items():
        draw_next = partial(draw, Random(f"{task} {split} {seed}"), mine)
        made = distinct(draw_next, getattr(sizes, split))
        splits[split] = tuple(encode_pair(tokenizer, pair) for pair in made)
    return PromptSets.of(splits)
