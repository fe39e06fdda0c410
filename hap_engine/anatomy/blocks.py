"""A layer taken apart into what the engine multiplies with.

The norm before attention is folded into the input weights: with ``standardise(x) = centred x / sigma``, a
slot (one head's query, key or value) is ``standardise(x) @ w_in + b_in``. So the engine never makes a
normalised copy of each slot's own residual stream; it needs ``sigma`` alone.

LayerNorm removes the mean of what it reads and RMSNorm does not. Where all readers of a model ignore the mean of
every writer, `Block.w_write` leaves it out from the start.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from hap_engine.anatomy.closed_form import Closed
from hap_engine.anatomy.mlps import Mlp
from hap_engine.anatomy.norms import GainedNorm, Norm
from hap_engine.anatomy.replay import Replayed
from hap_engine.narrow.weights import Narrow

Core = Closed | Replayed


@dataclass(frozen=True, eq=False)
class Block:
    """One block's weights. Slots are ordered q heads, k heads, v heads.

    Attributes:
        w_out, b_out: what attention says of `z`.
        w_heads: what the heads write of `z`, where the norm of their sum multiplies by 1.
        w_read, w_write: `w_in` and `w_heads` without what all readers ignore, in the dtype of the delta buffer; narrow
            ones become so where they are used, a layer at a time.
        norm: of what the slots read, without its gain and bias.
        core: attention between the slots' values and what the heads give.
        post: the norm of the sum of the heads, where there is one.
        mlp: what the MLP adds to the stream.
        feeds: of each slot, the heads that it feeds.
        parallel: the MLP reads what the heads read.
    """

    w_in: Float[Tensor, "slot d_model width"]
    b_in: Float[Tensor, "slot 1 width"]
    w_out: Float[Tensor, "head d_head d_model"]
    b_out: Float[Tensor, " d_model"]
    w_heads: Float[Tensor, "head d_head d_model"]
    w_read: Float[Tensor, "slot d_model width"]
    w_write: Float[Tensor, "head d_head d_model"]
    norm: Norm
    core: Core
    post: GainedNorm | None
    mlp: Mlp
    feeds: tuple[tuple[int, ...], ...]
    parallel: bool

    @property
    def device(self) -> torch.device:
        """Where it is, and so where it is computed."""
        return self.w_in.device

    @property
    def heads(self) -> int:
        return len(self.w_out)

    @property
    def kv_heads(self) -> int:
        return (len(self.w_in) - self.heads) // 2

    def slots(self, x: Float[Tensor, "*axes d_model"]) -> Float[Tensor, "slot *axes width"]:
        """Every slot's value when all read the same residual stream."""
        flat = self.norm.standardise(x).flatten(0, -2).expand(len(self.w_in), -1, -1)
        return (torch.bmm(flat, self.w_in) + self.b_in).unflatten(1, x.shape[:-1])

    def summed(self, z: Float[Tensor, "head *axes d_head"]) -> Float[Tensor, "*axes d_model"]:
        """What attention says: the sum over its heads."""
        return _Sum.apply(z, self.w_out) + self.b_out

    def written(self, total: Float[Tensor, "*axes d_model"]) -> Float[Tensor, "*axes d_model"]:
        """What becomes of it on the way into the stream."""
        return total if self.post is None else self.post(total)

    def shrink(self, total: Float[Tensor, "*axes d_model"]) -> Float[Tensor, "*axes 1"]:
        """What the norm of the heads' sum multiplies each of them by."""
        if self.post is None:
            return total.new_ones(*total.shape[:-1], 1)
        return 1 / self.post.kind.sigma(self.post.kind.centre(total))

    def written_at(
        self, z: Float[Tensor, "head *axes d_head"], shrink: Float[Tensor, "*axes 1"]
    ) -> Float[Tensor, "*axes d_model"]:
        """What enters the stream if the heads' shares, at the scale at which they write, are `z`."""
        if self.post is None:
            return self.summed(z)
        shared = self.post.kind.centre(self.b_out) * shrink
        return torch.einsum("h...e,hed->...d", z, self.w_heads) + self.post.gain * shared + self.post.bias

    def rescaled(
        self, total: Float[Tensor, "*axes d_model"], shrink: Float[Tensor, "*axes 1"]
    ) -> Float[Tensor, "*axes d_model"]:
        """What is written less what it would be if the sum were shrunk by `shrink`."""
        assert self.post is not None
        return self.post.gain * self.post.kind.centre(total) * (self.shrink(total) - shrink)

    def with_dtype(self, dtype: torch.dtype, mix: torch.dtype) -> Block:
        """The same block with its MLP's products in `dtype` and those with the delta buffer in `mix`."""
        read, write = (x if isinstance(x, Narrow) else x.to(mix) for x in (self.w_read, self.w_write))
        return replace(self, w_read=read, w_write=write, mlp=self.mlp.with_dtype(dtype))


class _Sum(torch.autograd.Function):
    """The sum over heads. Autograd alone would keep a copy of narrow weights, of all layers at once."""

    @staticmethod
    def forward(
        ctx: Any, z: Float[Tensor, "head *axes d_head"], weight: Float[Tensor, "head d_head d_model"]
    ) -> Float[Tensor, "*axes d_model"]:
        ctx.weight = weight
        return torch.einsum("h...e,hed->...d", z, weight)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return torch.einsum("...d,hed->h...e", grad, ctx.weight), None
