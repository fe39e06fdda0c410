"""Lists of indices as tensors, made once."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Int
from torch import Tensor


class Indices:
    """The lists of one plan, which its passes use again.

    Indexing by a list makes a tensor each time, and copies it to a GPU, which waits for all that was started
    before. A recording (`pulls.Recorded`) needs them to stay where they are as long as its plan.
    """

    def __init__(self) -> None:
        self._made: dict[tuple[int, ...], Tensor] = {}

    def __call__(self, numbers: Sequence[int], device: torch.device) -> Int[Tensor, " n"]:
        """The numbers as a tensor that nobody may change."""
        key = tuple(numbers)
        if key not in self._made:
            self._made[key] = torch.tensor(key, dtype=torch.long, device=device)
        return self._made[key]

    def rows(self, x: Tensor, numbers: Sequence[int]) -> Tensor:
        """The rows of `x` with these ascending numbers; no copy where they are neighbours."""
        first, count = numbers[0], len(numbers)
        if numbers[-1] - first == count - 1:
            return x[first : first + count]
        return x.index_select(0, self(numbers, x.device))
