"""Prompt pairs as tensors.

Prompts of a batch are padded on the right. Attention is causal and only the last real token is
scored, so padding changes no scored logit and no gradient: no attention mask is needed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Int
from torch import Tensor

from hap_engine.tasks.base import EncodedPair


@dataclass(frozen=True, eq=False)
class Batch:
    """Token ids of clean and corrupt prompts; `last` is the scored position of each prompt."""

    clean: Int[Tensor, "batch pos"]
    corrupt: Int[Tensor, "batch pos"]
    last: Int[Tensor, " batch"]
    answer: Int[Tensor, " batch"]
    distractor: Int[Tensor, " batch"]

    def __len__(self) -> int:
        return len(self.last)


def to_batch(pairs: Sequence[EncodedPair], device: torch.device) -> Batch:
    """Pad `pairs` to their longest prompt."""
    length = max(len(pair.clean_ids) for pair in pairs)

    def padded(rows: list[tuple[int, ...]]) -> Tensor:
        return torch.tensor([row + (0,) * (length - len(row)) for row in rows], device=device)

    return Batch(
        padded([pair.clean_ids for pair in pairs]),
        padded([pair.corrupt_ids for pair in pairs]),
        torch.tensor([len(pair.clean_ids) - 1 for pair in pairs], device=device),
        torch.tensor([pair.answer_id for pair in pairs], device=device),
        torch.tensor([pair.distractor_id for pair in pairs], device=device),
    )


def in_batches(
    pairs: Sequence[EncodedPair], size: int, device: torch.device
) -> Iterator[tuple[list[int], Batch]]:
    """Batches of similar length, each with the indices of its pairs."""
    order = sorted(range(len(pairs)), key=lambda index: (len(pairs[index].clean_ids), index))
    for start in range(0, len(order), size):
        chosen = order[start : start + size]
        yield chosen, to_batch([pairs[index] for index in chosen], device)
