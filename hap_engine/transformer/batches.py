"""Prompt pairs as tensors.

Prompts of a batch are padded on the right. Attention is causal and only the last real token is
scored, so padding changes no scored logit and no gradient: no attention mask is needed. Sets of answer
tokens are padded with `NO_TOKEN`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Int
from torch import Tensor

from hap_engine.tasks.pair import EncodedPair

NO_TOKEN = -1  # fills up the shorter sets of answer tokens; no token of any vocabulary


@dataclass(frozen=True, eq=False)
class Batch:
    """Token ids of clean and corrupt prompts; `last` is the scored position of each prompt.

    `spans` are the numbers of the tokens' spans, where the prompts are divided into some.
    """

    clean: Int[Tensor, "batch pos"]
    corrupt: Int[Tensor, "batch pos"]
    last: Int[Tensor, " batch"]
    answer: Int[Tensor, "batch answers"]
    distractor: Int[Tensor, "batch distractors"]
    spans: Int[Tensor, "batch pos"] | None = None

    def __len__(self) -> int:
        return len(self.last)

    def rows(self, rows: Int[Tensor, " some"], length: int) -> Batch:
        """Some of the prompts, cut to a length that holds them."""
        return Batch(
            self.clean[rows, :length],
            self.corrupt[rows, :length],
            self.last[rows],
            self.answer[rows],
            self.distractor[rows],
            None if self.spans is None else self.spans[rows, :length],
        )


def to_batch(pairs: Sequence[EncodedPair], device: torch.device) -> Batch:
    """Pad `pairs` to their longest prompt."""

    def padded(rows: list[tuple[int, ...]], filler: int = 0) -> Tensor:
        length = max(map(len, rows))
        return torch.tensor([row + (filler,) * (length - len(row)) for row in rows], device=device)

    return Batch(
        padded([pair.clean_ids for pair in pairs]),
        padded([pair.corrupt_ids for pair in pairs]),
        torch.tensor([len(pair.clean_ids) - 1 for pair in pairs], device=device),
        padded([pair.answer_ids for pair in pairs], NO_TOKEN),
        padded([pair.distractor_ids for pair in pairs], NO_TOKEN),
        padded([pair.spans for pair in pairs]) if all(pair.spans for pair in pairs) else None,
    )


def in_batches(pairs: Sequence[EncodedPair], size: int, device: torch.device) -> Iterator[tuple[list[int], Batch]]:
    """Batches of similar length, each with the indices of its pairs."""
    order = sorted(range(len(pairs)), key=lambda index: (len(pairs[index].clean_ids), index))
    for start in range(0, len(order), size):
        chosen = order[start : start + size]
        yield chosen, to_batch([pairs[index] for index in chosen], device)
