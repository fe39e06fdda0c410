"""What a set of prompts needs once, whatever the mask: corrupt traces and full log-probabilities.

Edge Pruning visits the same few hundred prompts again and again, so their corrupt runs are cached as
long as they fit `CACHE_BYTES`; beyond that each batch is traced when it is needed.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from hap_engine.batches import Batch, in_batches, to_batch
from hap_engine.patching import LayerTrace, MaskedModel, Trace
from hap_engine.progress import Progress
from hap_engine.tasks.base import EncodedPair

CACHE_BYTES = 4 * 2**30  # 200 SmolLM2 IOI prompts take 1.3 GB


class Prepared:
    """Prompts with their full-model log-probabilities and, where they fit, cached corrupt traces."""

    def __init__(self, masked: MaskedModel, pairs: Sequence[EncodedPair]) -> None:
        self.masked, self.pairs = masked, list(pairs)
        self.full: Float[Tensor, "prompt vocab"]
        self._cache: Trace | None = None
        self._row: Tensor  # where each prompt's trace lies in the cache

    def __len__(self) -> int:
        return len(self.pairs)

    def run(self, batch_size: int = 32) -> Generator[Progress, None, Prepared]:
        """Fill the caches, yielding after each batch."""
        masked = self.masked
        traces: list[Trace] = []
        full: dict[int, Tensor] = {}
        longest = max(len(pair.clean_ids) for pair in self.pairs)
        keep = self._bytes(longest) <= CACHE_BYTES
        batches = list(in_batches(self.pairs, batch_size, masked.device))
        order: list[int] = []
        for done, (indices, batch) in enumerate(batches, 1):
            logits = full_logits(masked, batch)
            full.update(zip(indices, logits.log_softmax(-1), strict=True))
            order += indices
            if keep:
                traces.append(_padded(masked.trace(batch.corrupt, batch.last), longest))
            yield Progress("prompts", done, len(batches), "Running the full model on the prompts")
        self.full = torch.stack([full[index] for index in range(len(self.pairs))])
        if keep:
            self._row = torch.tensor(order, device=masked.device).argsort()
            self._cache = _concatenate(traces)
        return self

    def batch(
        self, indices: Sequence[int]
    ) -> tuple[Batch, Trace, Float[Tensor, "batch pos d_model"], Float[Tensor, "batch vocab"]]:
        """Tokens, corrupt trace, clean embedding and full log-probabilities of some prompts."""
        batch = to_batch([self.pairs[index] for index in indices], self.masked.device)
        rows = torch.tensor(list(indices), device=self.masked.device)
        if self._cache is None:
            trace = self.masked.trace(batch.corrupt, batch.last)
        else:
            trace = self._cache.select(self._row[rows], batch.clean.shape[1])
        return batch, trace, self.masked.embed(batch.clean), self.full[rows]

    def _bytes(self, length: int) -> int:
        cfg, graph = self.masked.model.bridge.cfg, self.masked.graph
        slots = 2 * graph.n_heads + 2 * graph.n_kv_heads
        per_layer = 3 * int(cfg.d_model) + slots * int(cfg.d_head)
        return 4 * len(self.pairs) * length * per_layer * graph.n_layers


def full_logits(masked: MaskedModel, batch: Batch) -> Float[Tensor, "batch vocab"]:
    """The full model's logits at the scored position."""
    return masked.unembed(masked.trace(batch.clean, batch.last).final)


def _padded(trace: Trace, length: int) -> Trace:
    def pad(x: Tensor) -> Tensor:
        return torch.nn.functional.pad(x, (0, 0, 0, length - x.shape[-2]))

    layers = tuple(
        LayerTrace(*(pad(getattr(layer, name)) for name in LayerTrace.__dataclass_fields__))
        for layer in trace.layers
    )
    return Trace(pad(trace.embed), layers, trace.final)


def _concatenate(traces: Sequence[Trace]) -> Trace:
    layers = []
    for same in zip(*(trace.layers for trace in traces), strict=True):
        names = LayerTrace.__dataclass_fields__
        layers.append(
            LayerTrace(*(torch.cat([getattr(x, name) for x in same], dim=-3) for name in names))
        )
    return Trace(
        torch.cat([trace.embed for trace in traces]),
        tuple(layers),
        torch.cat([trace.final for trace in traces]),
    )
