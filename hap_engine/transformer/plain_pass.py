"""Plain passes of a model, part by part: what the masked pass, roles and path patching look at.

Everything is computed from the parts that opening the model found (`hap_engine.anatomy`), so that each head and slot
is there to be seen.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from hap_engine.anatomy.blocks import Block
from hap_engine.errors import ModelError, UnsupportedModelError
from hap_engine.transformer.load import Model, in_words
from hap_engine.words import say

TOLERANCE = 1e-4  # of logits, relative to the largest; measured 1e-6 on the families of the tests
SENDERS = 16  # runs of one head's attention that go side by side


class LayerTrace(NamedTuple):
    """What one layer read and wrote in a plain pass; slots are ordered q heads, k heads, v heads.

    `shrink` is what the norm of the heads' sum multiplied it by (1 where there is no such norm): a head writes
    ``shrink * z @ w_write``.
    """

    mlp_in: Float[Tensor, "token d_model"]
    slots: Float[Tensor, "slot token width"]
    z: Float[Tensor, "head token d_head"]
    mlp_out: Float[Tensor, "token d_model"]
    shrink: Float[Tensor, "token 1"]


@dataclass(frozen=True, eq=False)
class Trace:
    """A plain pass: all that the masked pass needs of the corrupt prompt.

    Attributes:
        layers: over tokens, which may be those of more prompts than this batch's.
        places: where in the layers the tokens of this batch are.
        parallel: attention and MLP of a layer read the same.
    """

    embed: Float[Tensor, "batch pos d_model"]
    layers: tuple[LayerTrace, ...]
    final: Float[Tensor, "batch d_model"]
    places: Int[Tensor, " place"]
    parallel: bool

    def at(self, tokens: Int[Tensor, " some"]) -> TraceRows:
        """What the layers read and wrote at some tokens, indices into ``batch * pos``."""
        return TraceRows(self, tokens)

    def tokens(self, positions: Int[Tensor, " batch"]) -> Int[Tensor, " batch"]:
        """The token at one position of each prompt."""
        length = self.embed.shape[1]
        return torch.arange(len(positions), device=positions.device) * length + positions

    def whole(self, x: Float[Tensor, "*axes token d"]) -> Float[Tensor, "*axes batch pos d"]:
        """One of a layer's tensors at all tokens."""
        return x.index_select(-2, self.places.to(x.device)).unflatten(-2, self.embed.shape[:-1])


class TraceRows:
    """Copies of what the layers of a trace read and wrote at some tokens, where these indices are.

    What a layer's attention reads is what the MLP before it read and wrote: of an MLP both are copied
    together and remembered until another's are asked for.
    """

    def __init__(self, trace: Trace, tokens: Int[Tensor, " some"]) -> None:
        self._trace, self._tokens = trace, tokens
        self._places = trace.places.to(tokens.device).index_select(0, tokens)
        self._layer: int | None = None
        self._mlp: tuple[Tensor, Tensor]

    def mlp(self, layer: int) -> tuple[Float[Tensor, "some d_model"], Float[Tensor, "some d_model"]]:
        """What an MLP read and what it wrote."""
        if layer != self._layer:
            kept, here = self._trace.layers[layer], self._places.device
            places = self._places.to(kept.mlp_in.device)  # the layer before a card's first is on another
            both = kept.mlp_in.index_select(0, places).to(here), kept.mlp_out.index_select(0, places).to(here)
            self._layer, self._mlp = layer, both
        return self._mlp

    def attn_in(self, layer: int) -> Float[Tensor, "some d_model"]:
        if self._trace.parallel:
            return self.mlp(layer)[0]
        if layer:
            return torch.add(*self.mlp(layer - 1))
        embed = self._trace.embed
        return embed.flatten(0, 1).index_select(0, self._tokens.to(embed.device)).to(self._tokens.device)

    def slots(self, layer: int, chosen: Int[Tensor, " slot"]) -> Float[Tensor, "slot some width"]:
        return rows_at(self._trace.layers[layer].slots, chosen, self._places)

    def z(self, layer: int, heads: Int[Tensor, " head"]) -> Float[Tensor, "head some d_head"]:
        return rows_at(self._trace.layers[layer].z, heads, self._places)

    def shrink(self, layer: int) -> Float[Tensor, "some 1"]:
        return self._trace.layers[layer].shrink.index_select(0, self._places)


class PlainModel:
    """A model taken apart into what its nodes read and write."""

    def __init__(self, model: Model) -> None:
        self.model, self.graph, self.device = model, model.graph, model.device
        self.blocks: list[Block] = list(model.parts.blocks)
        self.embed, self.unembed = model.parts.entrance, model.parts.exit
        group = self.graph.n_heads // self.graph.n_kv_heads
        self.kv_of_head = torch.arange(self.graph.n_heads, device=self.device) // group
        self._frames: dict[tuple[int, int, int], Any] = {}
        self._weights = [(weight, weight._version) for weight in model.hf_model.parameters()]
        self.met = 0  # tokens of the longest prompts that were compared with the model itself
        self.met_prompts: set[int] = set()  # hashes of those that were, with others (`self_check.check_prompts`)

    def frame(self, layer: int, batch: int, length: int) -> Any:
        """What a layer's attention needs to know of the prompts' shape."""
        core = self.blocks[layer].core
        key = layer, batch if core.batched else 1, length
        if key not in self._frames:
            self._frames[key] = core.frame(self.model.parts.skeleton.calls(*key[1:])[layer])
        return self._frames[key]

    def trace(self, tokens: Int[Tensor, "batch pos"], last: Int[Tensor, " batch"]) -> Trace:
        """Run the unmasked model and keep what each layer read and wrote.

        Some models compute long prompts otherwise than short ones (windows, temperatures and positions that change at
        some length): the longest of prompts that are longer than any before is compared with the model itself.

        Raises:
            UnsupportedModelError: if it differs.
            ModelError: if the model's weights are others than when it was opened.
        """
        self._check_weights()
        if tokens.shape[1] > self.met:
            with in_words(f"{self.model.name} fails on prompts of {tokens.shape[1]} tokens"):
                self._meet(tokens, last)
        return self.plain_trace(tokens, last)

    def _check_weights(self) -> None:
        """Layers were described once: a weight that was written to, or exchanged, since then would count in part."""
        now = list(self.model.hf_model.parameters())
        kept = zip(now, self._weights, strict=False)
        if len(now) != len(self._weights) or any(x is not y or x._version != version for x, (y, version) in kept):
            raise ModelError(say("transformer.other_weights", self=self))

    @torch.no_grad()
    def _meet(self, tokens: Int[Tensor, "batch pos"], last: Int[Tensor, " batch"]) -> None:
        row = int(last.argmax())
        end = int(last[row])
        ids = tokens[row : row + 1, : end + 1]
        got = self.unembed(self.plain_trace(ids, last[row : row + 1]).final)
        want = self.model.parts.skeleton.own_logits(ids)[:, -1]
        difference = float((got - want).abs().max() / want.abs().max())
        if not difference <= TOLERANCE:
            raise UnsupportedModelError(
                say("transformer.otherwise", self=self, tokens=end + 1, difference=difference, most=TOLERANCE)
            )
        self.met = tokens.shape[1]

    @torch.no_grad()
    def plain_trace(self, tokens: Int[Tensor, "batch pos"], last: Int[Tensor, " batch"]) -> Trace:
        """`trace` of prompts that are compared with the model elsewhere."""
        resid = embed = self.embed(tokens)
        layers = []
        for index, block in enumerate(self.blocks):
            resid = resid.to(block.device)
            slots = block.slots(resid)
            z = block.core.z(slots, self.frame(index, *tokens.shape))
            total = block.summed(z)
            mlp_in, after = self.after_attention(block, resid, block.written(total))
            mlp_out = block.mlp(mlp_in)
            layers.append((mlp_in, slots, z, mlp_out, block.shrink(total)))
            resid = after + mlp_out
        return self.traced(embed, layers, at_last(resid.to(self.device), last))

    def traced(
        self,
        embed: Float[Tensor, "batch pos d_model"],
        layers: Sequence[tuple[Tensor, ...]],
        final: Float[Tensor, "batch d_model"],
    ) -> Trace:
        """The trace of a batch from what each layer read and wrote, ``[…, batch, pos, d]``."""
        flat = (LayerTrace(*(x.flatten(-3, -2) for x in layer)) for layer in layers)
        places = torch.arange(embed[..., 0].numel(), device=self.device)
        return Trace(embed, tuple(flat), final, places, self.graph.parallel)

    def after_attention(
        self, block: Block, resid: Float[Tensor, "batch pos d_model"], written: Float[Tensor, "batch pos d_model"]
    ) -> tuple[Tensor, Tensor]:
        """What the layer's MLP reads, and the residual stream without the MLP."""
        after = resid + written
        return resid if self.graph.parallel else after, after

    def without_mean(self, x: Float[Tensor, "*axes d_model"]) -> Float[Tensor, "*axes d_model"]:
        """What a writer writes, less its mean where all readers ignore that."""
        return x - x.mean(-1, keepdim=True) if self.model.parts.centred else x

    @torch.no_grad()
    def patterns(self, trace: Trace, layer: int) -> Float[Tensor, "head batch query key"]:
        """Attention patterns of one layer of a plain pass."""
        slots = trace.whole(trace.layers[layer].slots)
        pattern: Tensor = self.blocks[layer].core.pattern(slots, self.frame(layer, *slots.shape[1:3]))
        return pattern.to(self.device)

    def head_outputs_at(
        self, trace: Trace, layer: int, positions: Int[Tensor, " batch"], scale: Trace | None = None
    ) -> Float[Tensor, "head batch d_model"]:
        """What each head of a layer wrote at one position per prompt in a plain pass, without the bias that they share.

        Args:
            scale: the run at whose scale heads write, where their sum is normed; None: `trace` itself.
        """
        block = self.blocks[layer]
        heads = torch.arange(self.graph.n_heads, device=block.device)
        scaling = trace if scale is None else scale
        shrink = scaling.at(scaling.tokens(positions).to(block.device)).shrink(layer)
        z = trace.at(trace.tokens(positions).to(block.device)).z(layer, heads)
        return torch.einsum("hbe,hed->hbd", z * shrink, block.w_heads).to(self.device)

    def slot_at(
        self, layer: int, slot: str, head: int, resid: Float[Tensor, "sender batch d_model"]
    ) -> Float[Tensor, "sender batch width"]:
        """The value of a query head's query, key or value for given residual streams; on grouped-query models k and v
        are those of the head's group."""
        block = self.blocks[layer]
        row = self.slot_row(slot, head)
        value = block.norm.standardise(resid.to(block.device)) @ block.w_in[row] + block.b_in[row]
        return value.to(self.device)

    def slot_row(self, slot: str, head: int) -> int:
        """Where a query head's slot is among the slots of its layer."""
        kv = self.graph.n_heads + int(self.kv_of_head[head])
        return {"q": head, "k": kv, "v": kv + self.graph.n_kv_heads}[slot]

    def attended(
        self,
        trace: Trace,
        layer: int,
        head: int,
        query_at: Int[Tensor, " batch"],
        given: Mapping[str, tuple[Float[Tensor, "sender batch width"], Int[Tensor, " batch"]]],
    ) -> tuple[Float[Tensor, "sender batch key"], Float[Tensor, "sender batch d_head"]]:
        """One head's attention at one position per prompt, and what it reads there, in a plain pass in which some of
        its slots have other values.

        Args:
            given: of slots (q, k, v), the values at one position per prompt, some at a time.
        """
        block, slots = self.blocks[layer], trace.whole(trace.layers[layer].slots)
        senders, (_, batch, length, _) = len(next(iter(given.values()))[0]), slots.shape
        query_at, patterns, reads = query_at.to(block.device), list[Tensor](), list[Tensor]()
        for start in range(0, senders, SENDERS):
            count = min(SENDERS, senders - start)
            changed = {
                self.slot_row(slot, head): (value[start : start + count].to(block.device), at.to(block.device))
                for slot, (value, at) in given.items()
            }
            frame, at = self.frame(layer, count * batch, length), query_at.repeat(count)
            pattern, z = block.core.of_head(partial(_repeated, slots, count, changed), frame, head, at)
            patterns.append(pattern.unflatten(0, (count, batch)))
            reads.append(z.unflatten(0, (count, batch)))
        return torch.cat(patterns).to(self.device), torch.cat(reads).to(self.device)

    def copied(self, layer: int, head: int, value: Float[Tensor, "batch width"]) -> Float[Tensor, "batch d_model"]:
        """What a head writes where it attends to one place of this value alone."""
        block = self.blocks[layer]
        value = value.to(block.device)
        values = value.new_zeros(len(block.w_in), len(value), 1, value.shape[-1])
        values[self.slot_row("v", head), :, 0] = value
        first, frame = torch.zeros_like(value[:, 0]).long(), self.frame(layer, len(value), 1)
        _, z = block.core.of_head(values.__getitem__, frame, head, first)
        return (z @ block.w_heads[head]).to(self.device)


def _repeated(
    slots: Float[Tensor, "slot batch pos width"],
    senders: int,
    changed: Mapping[int, tuple[Float[Tensor, "sender batch width"], Int[Tensor, " batch"]]],
    slot: int,
) -> Float[Tensor, "run pos width"]:
    """A slot's values once for each sender, which may change them at one position per prompt."""
    values = slots[slot].repeat(senders, 1, 1)
    if slot in changed:
        value, at = changed[slot]
        values.unflatten(0, value.shape[:2])[:, torch.arange(len(at), device=at.device), at] = value
    return values


def at_last(x: Float[Tensor, "*axes batch pos d"], last: Int[Tensor, " batch"]) -> Tensor:
    """Rows of ``x[…, batch, pos, d]`` at each prompt's scored position."""
    return x[..., torch.arange(len(last), device=x.device), last, :]


def rows_at(
    x: Float[Tensor, "row token d"], rows: Int[Tensor, " some"], tokens: Int[Tensor, " few"]
) -> Float[Tensor, "some few d"]:
    """Some rows of `x` at some tokens; three times as fast as indexing with both."""
    every = rows[:, None] * x.shape[1] + tokens
    return x.flatten(0, 1).index_select(0, every.flatten()).unflatten(0, every.shape)
