"""A transformer block taken apart into what the engine multiplies with, and its attention.

The norm before attention is folded into the input weights: with ``standardise(x) = centred x / sigma``, a
slot (one head's query, key or value) is ``standardise(x) @ w_in + b_in``. So the engine never makes a
normalised copy of each slot's own residual stream; it needs ``sigma`` alone.

LayerNorm removes the mean of what it reads and RMSNorm does not. All readers of a LayerNorm model ignore
the mean of every writer, so `Block.w_write` leaves it out from the start.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from hap_engine.transformer.mlps import Cast, bare
from hap_engine.transformer.norms import GainedNorm, Norm, read_norm


@dataclass(frozen=True, eq=False)
class Block:
    """One block's weights. Slots are ordered q heads, k heads, v heads.

    `w_read` and `w_write` are `w_in` and the centred `w_out` in the dtype of the delta buffer.
    """

    w_in: Float[Tensor, "slot d_model d_head"]
    b_in: Float[Tensor, "slot 1 d_head"]
    w_out: Float[Tensor, "head d_head d_model"]
    b_out: Float[Tensor, " d_model"] | float
    w_read: Float[Tensor, "slot d_model d_head"]
    w_write: Float[Tensor, "head d_head d_model"]
    scale: float
    norm: Norm
    norm_mlp: GainedNorm
    mlp: Callable[[Tensor], Tensor]

    def slots(self, x: Float[Tensor, "*axes d_model"]) -> Float[Tensor, "slot *axes d_head"]:
        """Every slot's value when all read the same residual stream."""
        flat = self.norm.standardise(x).flatten(0, -2).expand(len(self.w_in), -1, -1)
        return (torch.bmm(flat, self.w_in) + self.b_in).unflatten(1, x.shape[:-1])

    def mlp_out(self, x: Float[Tensor, "*axes d_model"]) -> Float[Tensor, "*axes d_model"]:
        return self.mlp(self.norm_mlp(x))

    def with_dtype(self, dtype: torch.dtype, mix: torch.dtype) -> Block:
        """The same block with its MLP's products in `dtype` and those with the delta buffer in `mix`."""
        return replace(self, w_read=self.w_read.to(mix), w_write=self.w_write.to(mix), mlp=Cast(self.mlp, dtype))


def take_apart(block: Any, cfg: Any) -> Block:
    """A bridge's block as a `Block`. Raises AttributeError or TypeError where a part is missing."""
    attn = block.attn
    width = attn.W_Q.shape[1]
    before, before_mlp = (read_norm(norm, width, attn.W_Q) for norm in (block.ln1, block.ln2))
    plain = torch.cat([attn.W_Q, attn.W_K, attn.W_V]).detach()
    w_in = (before.gain[:, None] * plain).contiguous()
    b_in = torch.einsum("d,sde->se", before.bias, plain)
    if getattr(attn, "b_Q", None) is not None:
        b_in += torch.cat([attn.b_Q, attn.b_K, attn.b_V]).detach()
    w_out, b_out = attn.W_O.detach().contiguous(), getattr(attn, "b_O", None)
    scale = getattr(attn.original_component, "scaling", None)
    return Block(
        w_in,
        b_in[:, None],
        w_out,
        0.0 if b_out is None else b_out.detach(),
        w_in,
        before.kind.centre(w_out),
        float(w_in.shape[-1] ** -0.5 if scale is None else scale),
        before.kind,
        before_mlp,
        bare(block.mlp.original_component),
    )
