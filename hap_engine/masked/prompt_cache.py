"""What a set of prompts needs once, whatever the mask: corrupt traces and full log-probabilities.

Edge Pruning visits the same few hundred prompts again and again, so their corrupt runs are cached as
long as `Limits` allows, on the cards or in main memory; beyond that each batch is traced when it is needed.
"""

from __future__ import annotations

import copy
from collections.abc import Generator, Iterable, Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from hap_engine.machine.memory import Limits
from hap_engine.machine.workload import RUN_BATCH
from hap_engine.masked.masked_pass import MaskedModel
from hap_engine.masked.self_check import check_prompts
from hap_engine.progress import Progress
from hap_engine.tasks.pair import EncodedPair
from hap_engine.transformer.batches import Batch, in_batches, to_batch
from hap_engine.transformer.plain_pass import LayerTrace, Trace


class PassInput(NamedTuple):
    """Some prompts, as a masked pass sees them."""

    batch: Batch
    corrupt: Trace
    clean: Float[Tensor, "batch pos d_model"]  # embeddings
    full: Float[Tensor, "batch vocab"]  # log-probabilities


class Prepared:
    """Prompts with their full-model log-probabilities and, where they fit, cached corrupt traces."""

    def __init__(self, masked: MaskedModel, pairs: Sequence[EncodedPair], limits: Limits | None = None) -> None:
        self.masked, self.pairs, self.limits = masked, list(pairs), limits or Limits()
        self.every = to_batch(self.pairs, masked.device)
        self.full: Float[Tensor, "prompt vocab"]
        self._rows = torch.arange(len(self.pairs), device=masked.device)  # of `every` and of what is kept
        self._kept: Traces | None = None

    def __len__(self) -> int:
        return len(self.pairs)

    def run(self) -> Generator[Progress, None, Prepared]:
        """Fill the caches, yielding after each batch."""
        masked = self.masked
        check_prompts(masked, self.pairs)
        full: dict[int, Tensor] = {}
        lengths = [len(pair.clean_ids) for pair in self.pairs]
        width = masked.dtype.itemsize if self.limits.aside else 4
        keep = self._numbers(sum(lengths)) * width <= self.limits.cache
        size = min(RUN_BATCH, self.limits.batch)
        batches = list(in_batches(self.pairs, size, masked.device))
        for done, (indices, batch) in enumerate(batches, 1):
            logits = full_logits(masked, batch)
            full.update(zip(indices, logits.log_softmax(-1), strict=True))
            if keep:
                trace = masked.trace(batch.corrupt, batch.last)
                if self._kept is None:
                    self._kept = Traces(trace, lengths, masked.dtype if self.limits.aside else None)
                self._kept.put(indices, trace)
            yield Progress("prompts", done, len(batches), "Running the full model on the prompts")
        self.full = torch.stack([full[index] for index in range(len(self.pairs))])
        return self

    def first(self, count: int) -> Prepared:
        """The first prompts alone, sharing what is kept of them."""
        return self._of(self.pairs[:count], slice(count))

    def chosen(self, rows: Sequence[int]) -> Prepared:
        """Some of the prompts, one perhaps several times, sharing what is kept of them."""
        return self._of([self.pairs[row] for row in rows], torch.tensor(rows, device=self._rows.device))

    def _of(self, pairs: list[EncodedPair], rows: slice | Tensor) -> Prepared:
        other = copy.copy(self)
        other.pairs, other.full, other._rows = pairs, self.full[rows], self._rows[rows]
        return other

    def batch(self, indices: Sequence[int]) -> PassInput:
        """What a masked pass needs of some prompts, at the length of the longest of them."""
        length = max(len(self.pairs[index].clean_ids) for index in indices)
        return self.gathered(torch.tensor(list(indices), device=self.masked.device), length)

    def gathered(self, rows: Int[Tensor, " batch"], length: int) -> PassInput:
        """What a masked pass needs of the prompts `rows`, none longer than `length`. Never waits for a GPU, but for
        corrupt runs that are kept aside."""
        at = self._rows[rows]
        batch = self.every.rows(at, length)
        trace = self.masked.trace(batch.corrupt, batch.last) if self._kept is None else self._kept.get(at, length)
        return PassInput(batch, trace, self.masked.embed(batch.clean), self.full[rows])

    def parts(self, indices: Iterable[int], size: int | None = None) -> list[list[int]]:
        """`indices` in parts of at most `size` and the limit; prompts of one length go together."""
        order, most = list(indices), min(size or self.limits.batch, self.limits.batch)
        if len(order) <= most:
            return [order]
        order.sort(key=lambda index: len(self.pairs[index].clean_ids))
        return [order[start : start + most] for start in range(0, len(order), most)]

    def _numbers(self, tokens: int) -> int:
        block, graph = self.masked.blocks[0], self.masked.graph
        width = self.masked.model.parts.skeleton.width
        per_layer = 2 * width + block.w_in.shape[2] * graph.slots + block.w_out.shape[1] * graph.n_heads
        return tokens * per_layer * graph.n_layers


def full_logits(masked: MaskedModel, batch: Batch) -> Float[Tensor, "batch vocab"]:
    """The full model's logits at the scored position."""
    return masked.unembed(masked.trace(batch.clean, batch.last).final)


class Traces:
    """Traces of prompts, token after token: a prompt takes as much memory as it is long.

    Made once and filled in place, so that nothing is in memory twice; a batch's trace looks into it. What a layer read
    and wrote stays on the layer's card, or (`aside`: in which dtype) is kept in main memory and goes there each time.
    """

    def __init__(self, like: Trace, lengths: Sequence[int], aside: torch.dtype | None = None) -> None:
        device, self._aside = like.embed.device, aside
        self._lengths, self._parallel = torch.tensor(lengths, device=device), like.parallel
        self._starts = self._lengths.cumsum(0) - self._lengths

        def room(x: Float[Tensor, "*axes some d"]) -> Float[Tensor, "*axes token d"]:
            shape = (*x.shape[:-2], sum(lengths), x.shape[-1])
            return x.new_empty(shape) if aside is None else torch.empty(shape, dtype=aside)

        self._embed = like.embed.new_empty(sum(lengths), like.embed.shape[-1])  # compared with the clean ones: exact
        self._layers = tuple(LayerTrace(*map(room, layer)) for layer in like.layers)
        self._cards = [layer.z.device for layer in like.layers]
        self._final = like.final.new_empty(len(lengths), like.final.shape[-1])

    def put(self, indices: Sequence[int], trace: Trace) -> None:
        """Copy the traces of some prompts to their places."""
        length = trace.embed.shape[1]
        chosen = torch.tensor(list(indices), device=trace.embed.device)
        real = torch.arange(length, device=chosen.device) < self._lengths[chosen][:, None]
        into, out = self._places(chosen, length)[real], trace.places[real.flatten()]
        self._embed[into] = trace.embed[real]
        for kept, new in zip(self._layers, trace.layers, strict=True):
            for mine, x in zip(kept, new, strict=True):
                mine[..., into.to(mine.device), :] = x.index_select(-2, out.to(x.device)).to(mine)
        self._final[chosen] = trace.final

    def get(self, indices: Int[Tensor, " batch"], length: int) -> Trace:
        """The traces of some prompts, at `length` positions; after its end a prompt repeats its last."""
        places = self._places(indices, length)
        embed = self._embed.index_select(0, places.flatten()).unflatten(0, places.shape)
        final, flat = self._final[indices], places.flatten()
        if self._aside is None:
            return Trace(embed, self._layers, final, flat, self._parallel)
        own, here = flat.cpu(), torch.arange(len(flat), device=flat.device)
        layers = (
            LayerTrace(*(x.index_select(-2, own).to(card, embed.dtype) for x in layer))
            for layer, card in zip(self._layers, self._cards, strict=True)
        )
        return Trace(embed, tuple(layers), final, here, self._parallel)

    def _places(self, indices: Tensor, length: int) -> Int[Tensor, "batch pos"]:
        at = torch.arange(length, device=indices.device)
        return self._starts[indices][:, None] + at.minimum(self._lengths[indices][:, None] - 1)
