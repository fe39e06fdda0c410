"""What the task generators share: words of one token, disjoint splits, prompts without repetition.

A task is a pool of *items* (whatever must not be in two splits: pairs of names, countries, nouns, …)
and a function that draws one prompt from some of them. `make_sets` deals the items to train,
validation and test in fixed shares and draws from each share. Asking for more training prompts
leaves the test prompts as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from random import Random
from typing import TypeVar

from tokenizers import Tokenizer

from hap_engine.errors import TaskError, UnknownNameError
from hap_engine.tasks.pair import PromptPair, encode_pair, single_token
from hap_engine.tasks.task import PromptSets, SplitSizes

T = TypeVar("T")
Draw = Callable[[Random, Sequence[T], int], PromptPair]  # (rng, items of the split, how many before)

SHARES = (("train", 0.4), ("validation", 0.2), ("test", 0.4))  # of the items
MAX_DRAWS = 1000  # in search of a prompt that is not there yet


def word_list(text: str) -> tuple[str, ...]:
    """The words of a text, one after another."""
    return tuple(text.split())


def is_one_token(tokenizer: Tokenizer, word: str, before: str = "to", gap: str = " ") -> bool:
    """Whether `word` is one token of its own after `before` and `gap` (an unknown word is not)."""
    token = single_token(tokenizer, before, f"{gap}{word}")
    return token is not None and tokenizer.decode([token]).strip() == word


def one_token_words(tokenizer: Tokenizer, pool: Iterable[str], task: str, kind: str, least: int) -> tuple[str, ...]:
    """The words of `pool` that are one token each. Raises TaskError if fewer than `least` are."""
    found = tuple(word for word in pool if is_one_token(tokenizer, word))
    need(task, kind, len(found), least)
    return found


def need(task: str, kind: str, count: int, least: int) -> None:
    """Refuse a tokenizer that leaves too few words."""
    if count < least:
        raise TaskError(
            f"{task} needs at least {least} {kind} that are one token for the model, got {count}. "
            "Choose a model with a larger English vocabulary."
        )


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
            raise TaskError(
                f"Expected {count} different prompts in one split, got {len(seen)}: the words that "
                "are one token for the model allow no more. Ask for fewer prompts."
            )
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
    return PromptSets(**splits)
