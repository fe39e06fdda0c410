"""Scratch memory that passes of the same kind use again."""

from __future__ import annotations

import math
from collections.abc import Hashable

import torch
from torch import Tensor


class Workspace:
    """Large scratch tensors, kept from pass to pass under the name of their use.

    Measured: touching fresh memory costs as much as the arithmetic on it. One tensor is kept for each
    use on each device, whatever its dtype, so no more memory is held than one pass needs.
    """

    ROOM = 1.125  # batches differ a little in length: a tensor that had to grow gets this much room

    def __init__(self) -> None:
        self._free: dict[Hashable, torch.UntypedStorage] = {}

    def take(self, use: Hashable, shape: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
        """A tensor of arbitrary content."""
        size, kept = math.prod(shape) * dtype.itemsize, self._free.pop((use, device), None)
        if kept is None or kept.nbytes() < size:
            room = size if kept is None else int(size * self.ROOM)
            kept = None  # before the larger one is made
            kept = torch.empty(room, dtype=torch.uint8, device=device).untyped_storage()
        return torch.empty(0, dtype=dtype, device=device).set_(kept, 0, shape)  # type: ignore[call-overload]

    def clear(self) -> None:
        """Let go of all of them: what comes next has other sizes."""
        self._free.clear()

    def give(self, use: Hashable, tensor: Tensor) -> None:
        """Hand back what `take` gave for that use."""
        self._free[use, tensor.device] = tensor.untyped_storage()
