"""Causal attention of single heads, with rotary positions where the model has them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

Rotary = tuple[Tensor, Tensor] | None  # cos and sin, [pos, share of d_head]
Bias = Tensor | None  # added to scores, [#head, #batch, query, pos]; None: plain causal attention


@dataclass(frozen=True, eq=False)
class Scoring:
    """How products of queries and keys become a pattern.

    Attributes:
        scale: of the products.
        softcap: scores stay between plus and minus this (Gemma 2); None: no limit.
        sinks: of each head, the score of a place that nothing is read from (gpt-oss).
    """

    scale: float
    softcap: float | None = None
    sinks: Float[Tensor, " head"] | None = None

    def of(self, heads: Int[Tensor, " some"]) -> Scoring:
        """That of some heads."""
        return self if self.sinks is None else Scoring(self.scale, self.softcap, self.sinks[heads])


def patterns_of(
    q: Float[Tensor, "head batch query d_head"],
    k: Float[Tensor, "head batch pos d_head"],
    scoring: Scoring,
    at: Int[Tensor, "#batch query"],
    bias: Bias = None,
) -> Float[Tensor, "head batch query pos"]:
    """Causal attention pattern of queries that stand at the positions `at`.

    At the lengths of circuit tasks this is faster than fused kernels.
    """
    return softmax(attention_scores(q, k, scoring, at, bias), scoring)


def softmax(scores: Float[Tensor, "head batch query pos"], scoring: Scoring) -> Float[Tensor, "head batch query pos"]:
    if scoring.sinks is None:
        return scores.softmax(-1)
    return with_sinks(scores, scoring.sinks).softmax(-1)[..., :-1]


def with_sinks(scores: Float[Tensor, "head *axes pos"], sinks: Float[Tensor, " head"]) -> Tensor:
    """Scores with one more place, the sink."""
    more = sinks.view(-1, *[1] * (scores.ndim - 1)).expand(*scores.shape[:-1], 1)
    return torch.cat([scores, more], dim=-1)


def attention_scores(
    q: Float[Tensor, "head batch query d_head"],
    k: Float[Tensor, "head batch pos d_head"],
    scoring: Scoring,
    at: Int[Tensor, "#batch query"],
    bias: Bias = None,
) -> Float[Tensor, "head batch query pos"]:
    """Scaled products of queries and keys; -inf where a key comes after its query."""
    products = q @ k.mT * scoring.scale
    if scoring.softcap is not None:
        products = scoring.softcap * (products / scoring.softcap).tanh()
    if bias is not None:
        return products + bias
    future = torch.arange(k.shape[-2], device=k.device) > at[..., None]
    return products.masked_fill(future, float("-inf"))


class Attend(torch.autograd.Function):
    """What heads read: their patterns times the values; heads may share keys and values.

    Args:
        q: ``[head, batch, query, d_key]``.
        k, v: ``[kv, batch, pos, d_key]`` and ``[kv, batch, pos, d_head]``.
        own: which of the keys and values are each head's.
        scoring, at, bias: as in `patterns_of`.
    """

    @staticmethod
    def forward(
        ctx: Any,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        own: Int[Tensor, " head"],
        scoring: Scoring,
        at: Int[Tensor, "#batch query"],
        bias: Bias = None,
    ) -> Float[Tensor, "head batch query d_head"]:
        keys, values = k.index_select(0, own), v.index_select(0, own)
        scores = attention_scores(q, keys, scoring, at, bias)
        pattern = softmax(scores, scoring)
        slope = None
        if scoring.softcap is not None:
            slope = 1 - (q @ keys.mT * (scoring.scale / scoring.softcap)).tanh_().square_()
        ctx.kept = q, keys, values, pattern, slope, own, scoring.scale, len(k)
        return pattern @ values

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        q, keys, values, pattern, slope, own, scale, count = ctx.kept
        to_q, to_k, to_v = ctx.needs_input_grad[:3]

        def together(x: Tensor) -> Tensor:
            return x.new_zeros(count, *x.shape[1:]).index_add_(0, own, x)

        in_v = together(pattern.mT @ grad) if to_v else None
        if not (to_q or to_k):
            return (None, None, in_v, *[None] * 4)
        scores = grad @ values.mT
        scores.sub_((scores * pattern).sum(-1, keepdim=True)).mul_(pattern).mul_(scale)
        if slope is not None:
            scores.mul_(slope)
        in_q = scores @ keys if to_q else None
        return (in_q, together(scores.mT @ q) if to_k else None, in_v, *[None] * 4)


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
    x: Float[Tensor, "*axes d_head"], cos: Float[Tensor, "*some turned"], sin: Float[Tensor, "*some turned"]
) -> Float[Tensor, "*axes d_head"]:
    """`x` with its first dimensions turned."""
    share, half = cos.shape[-1], cos.shape[-1] // 2
    out = x.clone(memory_format=torch.contiguous_format)
    left, right = x[..., :half], x[..., half:share]
    out[..., :share].mul_(cos)
    out[..., :half].addcmul_(right, sin[..., :half], value=-1)
    out[..., half:share].addcmul_(left, sin[..., half:])
    return out


def table_rows(tables: Rotary, positions: Int[Tensor, "*some"]) -> Rotary:
    """The tables' rows at some positions."""
    return None if tables is None else (tables[0][positions], tables[1][positions])
