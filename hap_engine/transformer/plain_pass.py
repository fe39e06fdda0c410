"""Plain passes of a model, part by part: what the masked pass, roles and path patching look at.

The model's own MLPs, embedding and unembedding are called as they are; attention is computed here from the
bridge's weights (`blocks.py`), so that each head and slot is there to be seen, and norms from what they
answer (`norms.py`), without forking the model or its hooks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from hap_engine.errors import UnsupportedModelError
from hap_engine.models.supported import WORKING
from hap_engine.transformer.attention import Rotary, attend, rotate, table_rows
from hap_engine.transformer.blocks import Block, take_apart
from hap_engine.transformer.load import Model
from hap_engine.transformer.norms import read_norm


class LayerTrace(NamedTuple):
    """What one layer read and wrote in a plain pass; slots are ordered q heads, k heads, v heads."""

    mlp_in: Float[Tensor, "token d_model"]
    slots: Float[Tensor, "slot token d_head"]
    z: Float[Tensor, "head token d_head"]
    mlp_out: Float[Tensor, "token d_model"]


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
        return x.index_select(-2, self.places).unflatten(-2, self.embed.shape[:-1])


class TraceRows:
    """Copies of what the layers of a trace read and wrote at some tokens.

    What a layer's attention reads is what the MLP before it read and wrote: of an MLP both are copied
    together and remembered until another's are asked for.
    """

    def __init__(self, trace: Trace, tokens: Int[Tensor, " some"]) -> None:
        self._trace, self._tokens = trace, tokens
        self._places = trace.places.index_select(0, tokens)
        self._layer: int | None = None
        self._mlp: tuple[Tensor, Tensor]

    def mlp(self, layer: int) -> tuple[Float[Tensor, "some d_model"], Float[Tensor, "some d_model"]]:
        """What an MLP read and what it wrote."""
        if layer != self._layer:
            kept, places = self._trace.layers[layer], self._places
            both = kept.mlp_in.index_select(0, places), kept.mlp_out.index_select(0, places)
            self._layer, self._mlp = layer, both
        return self._mlp

    def attn_in(self, layer: int) -> Float[Tensor, "some d_model"]:
        if self._trace.parallel:
            return self.mlp(layer)[0]
        if layer:
            return torch.add(*self.mlp(layer - 1))
        return self._trace.embed.flatten(0, 1).index_select(0, self._tokens)

    def slots(self, layer: int, chosen: Int[Tensor, " slot"]) -> Float[Tensor, "slot some d_head"]:
        return rows_at(self._trace.layers[layer].slots, chosen, self._places)

    def z(self, layer: int, heads: Int[Tensor, " head"]) -> Float[Tensor, "head some d_head"]:
        return rows_at(self._trace.layers[layer].z, heads, self._places)


class PlainModel:
    """A model taken apart into what its nodes read and write.

    Raises:
        UnsupportedModelError: if its blocks lack a part.
    """

    def __init__(self, model: Model) -> None:
        self.model, self.graph, self.device = model, model.graph, model.device
        self._rotary = getattr(model.hf_model.base_model, "rotary_emb", None)
        try:
            self.blocks: list[Block] = [take_apart(block, model.bridge.cfg) for block in model.bridge.blocks]
            weight = self.blocks[0].w_in
            self.final_norm = read_norm(model.bridge.ln_final, weight.shape[1], weight)
        except (AttributeError, TypeError) as error:
            raise UnsupportedModelError(
                f"{model.name}: its blocks lack a part that the engine needs ({error}). {WORKING}"
            ) from None
        group = self.graph.n_heads // self.graph.n_kv_heads
        self.kv_of_head = torch.arange(self.graph.n_heads, device=self.device) // group

    @torch.no_grad()
    def trace(self, tokens: Int[Tensor, "batch pos"], last: Int[Tensor, " batch"]) -> Trace:
        """Run the unmasked model and keep what each layer read and wrote."""
        resid = embed = self.embed(tokens)
        rotary, at = self.rotary_tables(tokens.shape[1]), self._positions(tokens)
        layers = []
        for block in self.blocks:
            slots = block.slots(resid)
            q, k, v = self.split(slots)
            k, v = k[self.kv_of_head], v[self.kv_of_head]
            z = attend(rotate(q, rotary), rotate(k, rotary), block.scale, at) @ v
            mlp_in, after = self.after_attention(block, resid, z)
            mlp_out = block.mlp_out(mlp_in)
            layers.append((mlp_in, slots, z, mlp_out))
            resid = after + mlp_out
        return self.traced(embed, layers, at_last(resid, last))

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
        self, block: Block, resid: Float[Tensor, "batch pos d_model"], z: Tensor
    ) -> tuple[Tensor, Tensor]:
        """What the layer's MLP reads, and the residual stream without the MLP."""
        after = resid + (torch.einsum("hbpe,hed->bpd", z, block.w_out) + block.b_out)
        return resid if self.graph.parallel else after, after

    @torch.no_grad()
    def embed(self, tokens: Int[Tensor, "batch pos"]) -> Float[Tensor, "batch pos d_model"]:
        """The residual stream that enters the first block (tokens and learned positions)."""
        bridge = self.model.bridge
        out = bridge.embed(tokens)
        if "pos_embed" in dict(bridge.named_children()):
            out = out + bridge.pos_embed(torch.arange(tokens.shape[1], device=self.device)[None])
        return out

    def unembed(self, final: Float[Tensor, "batch d_model"]) -> Float[Tensor, "batch vocab"]:
        """Logits (float32) of the residual stream at the scored position."""
        return self.logits_of(self.final_norm(final))

    def logits_of(self, normed: Float[Tensor, "batch d_model"]) -> Float[Tensor, "batch vocab"]:
        """Logits (float32) of what the final norm gave."""
        return self.model.bridge.unembed(normed[:, None]).squeeze(1).float()

    @torch.no_grad()
    def patterns(self, trace: Trace, layer: int) -> Float[Tensor, "head batch query key"]:
        """Attention patterns of one layer of a plain pass."""
        q, k, _ = self.split(trace.whole(trace.layers[layer].slots))
        rotary = self.rotary_tables(q.shape[2])
        k = rotate(k, rotary)[self.kv_of_head]
        return attend(rotate(q, rotary), k, self.blocks[layer].scale, self._positions(q[0, ..., 0]))

    def head_outputs_at(
        self, trace: Trace, layer: int, positions: Int[Tensor, " batch"]
    ) -> Float[Tensor, "head batch d_model"]:
        """What each head of a layer wrote at one position per prompt in a plain pass (without b_O)."""
        heads = torch.arange(self.graph.n_heads, device=self.device)
        z = trace.at(trace.tokens(positions)).z(layer, heads)
        return torch.einsum("hbe,hed->hbd", z, self.blocks[layer].w_out)

    def slot_at(
        self,
        layer: int,
        slot: str,
        head: int,
        resid: Float[Tensor, "sender batch d_model"],
        positions: Int[Tensor, " batch"],
    ) -> Float[Tensor, "sender batch d_head"]:
        """Query, key (both rotated) or value of a query head for given residual streams.

        `resid` stands at `positions`; on grouped-query models k and v are those of the head's group.
        """
        block = self.blocks[layer]
        heads, kv = self.graph.n_heads, int(self.kv_of_head[head])
        row = {"q": head, "k": heads + kv, "v": heads + self.graph.n_kv_heads + kv}[slot]
        out = block.norm.standardise(resid) @ block.w_in[row] + block.b_in[row]
        if slot == "v":
            return out
        return rotate(out, table_rows(self.rotary_tables(int(positions.max()) + 1), positions))

    def keys_values(
        self, trace: Trace, layer: int, head: int
    ) -> tuple[Float[Tensor, "batch pos d_head"], Float[Tensor, "batch pos d_head"]]:
        """Rotated keys and values that a query head sees in a plain pass."""
        _, k, v = self.split(trace.whole(trace.layers[layer].slots))
        kv = int(self.kv_of_head[head])
        return rotate(k, self.rotary_tables(k.shape[2]))[kv], v[kv]

    def scale(self, layer: int) -> float:
        return self.blocks[layer].scale

    def output_weight(self, layer: int, head: int) -> Float[Tensor, "d_head d_model"]:
        return self.blocks[layer].w_out[head]

    def split(self, slots: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        heads, kv = self.graph.n_heads, self.graph.n_kv_heads
        return slots[:heads], slots[heads : heads + kv], slots[heads + kv :]

    def rotary_tables(self, length: int) -> Rotary:
        """Cosines and sines of the first `length` positions; None for learned positions."""
        if self._rotary is None:
            return None
        positions = torch.arange(length, device=self.device)[None]
        cos, sin = self._rotary(torch.zeros((), device=self.device), positions)
        return cos[0], sin[0]

    def _positions(self, like: Tensor) -> Int[Tensor, "1 pos"]:
        return torch.arange(like.shape[-1], device=self.device)[None]


def at_last(x: Float[Tensor, "*axes batch pos d"], last: Int[Tensor, " batch"]) -> Tensor:
    """Rows of ``x[…, batch, pos, d]`` at each prompt's scored position."""
    return x[..., torch.arange(len(last), device=x.device), last, :]


def rows_at(
    x: Float[Tensor, "row token d"], rows: Int[Tensor, " some"], tokens: Int[Tensor, " few"]
) -> Float[Tensor, "some few d"]:
    """Some rows of `x` at some tokens; three times as fast as indexing with both."""
    every = rows[:, None] * x.shape[1] + tokens
    return x.flatten(0, 1).index_select(0, every.flatten()).unflatten(0, every.shape)
