"""One run over several processes, each on its own card or its own cores: ``torchrun`` starts them.

Every process holds the model and does the same work in the same order, except for the batches of prompts: of these
each computes its share, and `torch.distributed` adds up what they find. So all of them know every number that
something is decided by, the same generator draws the same noise everywhere, and the run is that of one process to
rounding. Process 0 alone writes. Alone, nothing here does anything.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TypeVar

import torch
from torch import Tensor, distributed

from hap_engine.errors import SettingsError
from hap_engine.transformer.cards import cards_of
from hap_engine.words import say

T = TypeVar("T")


def count() -> int:
    """Processes that share the run."""
    return distributed.get_world_size() if distributed.is_available() and distributed.is_initialized() else 1


def number() -> int:
    """Of this process, from 0."""
    return distributed.get_rank() if count() > 1 else 0


@contextmanager
def joined(device: str, layers_on: str | None = None) -> Iterator[None]:
    """Work with the other processes that ``torchrun`` started, each on a card of its own where `device` is ``cuda``, or
    on some for its layers.

    Raises:
        SettingsError: if there are fewer cards than processes on this machine.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield
        return
    if layers_on is not None:
        torch.cuda.set_device(cards_of(layers_on)[0])
    elif device == "cuda":
        local, wanted = int(os.environ["LOCAL_RANK"]), int(os.environ["LOCAL_WORLD_SIZE"])
        if wanted > (cards := torch.cuda.device_count()):
            raise SettingsError(say("masked.too_few_cards", cards=cards, wanted=wanted))
        torch.cuda.set_device(local)
    distributed.init_process_group("nccl" if device == "cuda" else "gloo")
    try:
        yield
    finally:
        distributed.destroy_process_group()


def share(items: Sequence[T]) -> Sequence[T]:
    """What of some work this process does."""
    return items[number() :: count()]


def summed(values: Tensor) -> Tensor:
    """The sum over the processes, in place."""
    if count() > 1:
        distributed.all_reduce(values)
    return values


def added(items: Sequence[T], work: Callable[[T], Tensor], like: Tensor) -> Tensor:
    """The sum of `work` of all items, of which each process does its share.

    Args:
        like: a tensor of the sum's shape, type and device.
    """
    total = torch.zeros_like(like)
    for item in share(items):
        total += work(item)
    return summed(total)


def in_turn(items: Sequence[T], work: Callable[[T], Tensor], like: Tensor) -> Iterator[Tensor]:
    """`work` of each item in order. As many as there are processes are computed at once."""
    for start in range(0, len(items), count()):
        now = items[start : start + count()]
        found = like.new_zeros((len(now), *like.shape))
        if number() < len(now):
            found[number()] = work(now[number()])
        yield from summed(found)


def check_alike(of: Mapping[str, str], device: torch.device) -> None:
    """Compare what decides the run's numbers, as a hash of each entry.

    Raises:
        SettingsError: if a process has another one.
    """
    if count() == 1:
        return
    hashes = [list(hashlib.sha256(value.encode()).digest()) for value in of.values()]
    own = torch.tensor(hashes, dtype=torch.int32, device=device)
    every = [torch.empty_like(own) for _ in range(count())]
    distributed.all_gather(every, own)
    for what, *values in zip(of, *every, strict=True):
        if any(not torch.equal(values[0], other) for other in values[1:]):
            raise SettingsError(say("masked.not_alike", what=what))
