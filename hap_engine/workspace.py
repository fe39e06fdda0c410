"""Scratch memory that passes of the same kind use again."""

from __future__ import annotations

import math
from collections.abc import Hashable

import torch
from torch import Tensor


class Workspace:
    """Large scratch tensors, kept from pass to pass under the name of their use.

    Measured: touching fresh memory costs as much as the arithmetic on it. One tensor is kept for each
    use, so no more memory is held than one pass needs.
    """

    ROOM = 1.125  # batches differ a little in length: a tensor that had to grow gets this much room

    def __init__(self) -> None:
        self._free: dict[Hashable, Tensor] = {}

    def take(
        self, use: Hashable, shape: tuple[int, ...], dtype: torch.dtype, device: torch.device
    ) -> Tensor:
        """A tensor of arbitrary content."""
        count, kept = math.prod(shape), self._free.pop(use, None)
        if kept is None or kept.dtype != dtype:
            kept = torch.empty(count, dtype=dtype, device=device)
        elif kept.numel() < count:
            del kept  # before the larger one is made
            kept = torch.empty(int(count * self.ROOM), dtype=dtype, device=device)
        return kept[:count].view(shape)

    def clear(self) -> None:
        """Let go of all of them: what comes next has other sizes."""
        self._free.clear()

    def give(self, use: Hashable, tensor: Tensor) -> None:
        """Hand back what `take` gave for that use."""
        if tensor._base is not None:
            self._free[use] = tensor._base
