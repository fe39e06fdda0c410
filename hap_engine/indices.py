"""Lists of indices as tensors, made once.

A pass picks the same heads and slots again and again. Indexing by a list makes a new tensor each time, and
on a GPU copies it there, which waits for all that was started before.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import torch
from jaxtyping import Int
from torch import Tensor

KEPT = (
    20_000  # the masks of a few hundred steps of a 30-layer model; a list takes some hundred bytes
)


def indices(numbers: Sequence[int], device: torch.device) -> Int[Tensor, " n"]:
    """The numbers as a tensor that nobody may change."""
    return _made(tuple(numbers), device)


@lru_cache(KEPT)
def _made(numbers: tuple[int, ...], device: torch.device) -> Tensor:
    return torch.tensor(numbers, dtype=torch.long, device=device)
