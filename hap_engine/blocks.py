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
from jaxtyping import Float, Int
from torch import Tensor

from hap_engine.mlps import Cast, bare
from hap_engine.norms import GainedNorm, Norm, read_norm

Rotary = tuple[Tensor, Tensor] | None  # cos and sin, [pos, share of d_head]


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
        return replace(
            self,
            w_read=self.w_read.to(mix),
            w_write=self.w_write.to(mix),
            mlp=Cast(self.mlp, dtype),
        )


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


def attend(
    q: Float[Tensor, "head batch query d_head"],
    k: Float[Tensor, "head batch pos d_head"],
    scale: float,
    at: Int[Tensor, "#batch query"],
) -> Float[Tensor, "head batch query pos"]:
    """Causal attention pattern of queries that stand at the positions `at`.

    At the lengths of circuit tasks this is faster than fused kernels.
    """
    return attention_scores(q, k, scale, at).softmax(-1)


def attention_scores(
    q: Float[Tensor, "head batch query d_head"],
    k: Float[Tensor, "head batch pos d_head"],
    scale: float,
    at: Int[Tensor, "#batch query"],
) -> Float[Tensor, "head batch query pos"]:
    """Scaled products of queries and keys; -inf where a key comes after its query."""
    future = torch.arange(k.shape[-2], device=k.device) > at[..., None]
    return (q @ k.mT * scale).masked_fill(future, float("-inf"))


class Attend(torch.autograd.Function):
    """What heads read: their patterns times the values; heads may share keys and values.

    Args:
        q: ``[head, batch, query, d_head]``.
        k, v: ``[kv, batch, pos, d_head]``.
        own: which of the keys and values are each head's.
        scale, at: as in `attend`.
    """

    @staticmethod
    def forward(
        ctx: Any, q: Tensor, k: Tensor, v: Tensor, own: Int[Tensor, " head"], scale: float,
        at: Int[Tensor, "#batch query"],
    ) -> Float[Tensor, "head batch query d_head"]:  # fmt: skip
        keys, values = k.index_select(0, own), v.index_select(0, own)
        pattern = attend(q, keys, scale, at)
        ctx.kept = q, keys, values, pattern, own, scale, len(k)
        return pattern @ values

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        q, keys, values, pattern, own, scale, count = ctx.kept
        to_q, to_k, to_v = ctx.needs_input_grad[:3]

        def together(x: Tensor) -> Tensor:
            return x.new_zeros(count, *x.shape[1:]).index_add_(0, own, x)

        in_v = together(pattern.mT @ grad) if to_v else None
        if not (to_q or to_k):
            return (None, None, in_v, *[None] * 3)
        scores = grad @ values.mT
        scores.sub_((scores * pattern).sum(-1, keepdim=True)).mul_(pattern).mul_(scale)
        in_q = scores @ keys if to_q else None
        return (in_q, together(scores.mT @ q) if to_k else None, in_v, *[None] * 3)


def rotate(x: Float[Tensor, "*axes d_head"], tables: Rotary) -> Float[Tensor, "*axes d_head"]:
    """Rotary position embedding on the first ``cos.shape[-1]`` dimensions (all, or NeoX's share)."""
    return x if tables is None else Rotate.apply(x, *tables)


class Rotate(torch.autograd.Function):
    """Turns each pair (i, i + half) by its angle; the backward pass turns it back."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        ctx.save_for_backward(cos, sin)
        return turned(x, cos, sin)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        cos, sin = ctx.saved_tensors
        return turned(grad, cos, -sin), None, None


def turned(
    x: Float[Tensor, "*axes d_head"],
    cos: Float[Tensor, "*some turned"],
    sin: Float[Tensor, "*some turned"],
) -> Float[Tensor, "*axes d_head"]:
    """`x` with its first dimensions turned."""
    share, half = cos.shape[-1], cos.shape[-1] // 2
    out = x.clone(memory_format=torch.contiguous_format)
    left, right = x[..., :half], x[..., half:share]
    out[..., :share].mul_(cos)
    out[..., :half].addcmul_(right, sin[..., :half], value=-1)
    out[..., half:share].addcmul_(left, sin[..., half:])
    return out


def table_rows(tables: Rotary, positions: Int[Tensor, " batch"]) -> Rotary:
    """The tables' rows at some positions."""
    return None if tables is None else (tables[0][positions], tables[1][positions])
