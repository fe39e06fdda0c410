"""Plain passes of a model, part by part: what the masked pass, roles and path patching look at.

The model's own MLPs, embedding, final norm and unembedding are called as they are; attention and the norm
before it are computed here from the bridge's weights (`blocks.py`), so that each head and slot is there to
be seen, without forking the model or its hooks.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from hap_engine.blocks import Block, Rotary, attend, rotate, table_rows, take_apart
from hap_engine.errors import UnsupportedModelError
from hap_engine.families import WORKING
from hap_engine.models import Model


@dataclass(frozen=True, eq=False)
class LayerTrace:
    """What one layer read and wrote in a plain pass; slots are ordered q heads, k heads, v heads."""

    attn_in: Float[Tensor, "batch pos d_model"]
    mlp_in: Float[Tensor, "batch pos d_model"]
    slots: Float[Tensor, "slot batch pos d_head"]
    z: Float[Tensor, "head batch pos d_head"]
    mlp_out: Float[Tensor, "batch pos d_model"]


@dataclass(frozen=True, eq=False)
class Trace:
    """A plain pass: all that the masked pass needs of the corrupt prompt."""

    embed: Float[Tensor, "batch pos d_model"]
    layers: tuple[LayerTrace, ...]
    final: Float[Tensor, "batch d_model"]


class PlainModel:
    """A model taken apart into what its nodes read and write.

    Raises:
        UnsupportedModelError: if its blocks lack a part.
    """

    def __init__(self, model: Model) -> None:
        self.model, self.graph, self.device = model, model.graph, model.device
        self._rotary = getattr(model.hf_model.base_model, "rotary_emb", None)
        try:
            self.blocks: list[Block] = [
                take_apart(block, model.bridge.cfg) for block in model.bridge.blocks
            ]
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
            attn_in, slots = resid, block.slots(resid)
            q, k, v = self.split(slots)
            k, v = k[self.kv_of_head], v[self.kv_of_head]
            z = attend(rotate(q, rotary), rotate(k, rotary), block.scale, at) @ v
            mlp_in, after = self._after_attention(block, attn_in, z)
            mlp_out = block.mlp_out(mlp_in)
            layers.append(LayerTrace(attn_in, mlp_in, slots, z, mlp_out))
            resid = after + mlp_out
        return Trace(embed, tuple(layers), at_last(resid, last))

    @torch.no_grad()
    def whole_trace(
        self,
        embed: Float[Tensor, "batch pos d_model"],
        layers: Iterable[tuple[Tensor, Tensor, Tensor]],
        final: Float[Tensor, "batch d_model"],
    ) -> Trace:
        """A trace from its embedding and each layer's slots, z and mlp_out: a third of it is their sums."""
        resid, whole = embed, []
        for block, (slots, z, mlp_out) in zip(self.blocks, layers, strict=True):
            mlp_in, after = self._after_attention(block, resid, z)
            whole.append(LayerTrace(resid, mlp_in, slots, z, mlp_out))
            resid = after + mlp_out
        return Trace(embed, tuple(whole), final)

    def _after_attention(self, block: Block, resid: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
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
        return self.logits_of(self.final_norm(final[:, None])[:, 0])

    @property
    def final_norm(self) -> Any:
        return self.model.bridge.ln_final

    def logits_of(self, normed: Float[Tensor, "batch d_model"]) -> Float[Tensor, "batch vocab"]:
        """Logits (float32) of what the final norm gave."""
        return self.model.bridge.unembed(normed[:, None])[:, 0].float()

    @torch.no_grad()
    def patterns(self, trace: Trace, layer: int) -> Float[Tensor, "head batch query key"]:
        """Attention patterns of one layer of a plain pass."""
        q, k, _ = self.split(trace.layers[layer].slots)
        rotary = self.rotary_tables(q.shape[2])
        k = rotate(k, rotary)[self.kv_of_head]
        return attend(rotate(q, rotary), k, self.blocks[layer].scale, self._positions(q[0, ..., 0]))

    def head_outputs_at(
        self, trace: Trace, layer: int, positions: Int[Tensor, " batch"]
    ) -> Float[Tensor, "head batch d_model"]:
        """What each head of a layer wrote at one position per prompt in a plain pass (without b_O)."""
        z = trace.layers[layer].z[:, torch.arange(len(positions), device=self.device), positions]
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
        _, k, v = self.split(trace.layers[layer].slots)
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
