"""LayerNorm and RMSNorm, read from whatever module a family writes them as.

A norm is `Norm` (what it divides by) with a gain and a bias. The gain of the norm before attention is
folded into the input weights (`blocks.py`); the others are `GainedNorm`: a dozen small operations of a
family's own module, and as many in its backward pass, are four here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

DEFAULT_EPS = 1e-5  # of layer norms that name none (OLMo)


@dataclass(frozen=True)
class Norm:
    """LayerNorm (centred) or RMSNorm (not) without its gain and bias."""

    centred: bool
    eps: float

    def centre(self, x: Float[Tensor, "*axes d_model"]) -> Float[Tensor, "*axes d_model"]:
        return x - x.mean(-1, keepdim=True) if self.centred else x

    def sigma(self, centred: Float[Tensor, "*axes d_model"]) -> Float[Tensor, "*axes 1"]:
        return (centred.square().mean(-1, keepdim=True) + self.eps).sqrt()

    def standardise(self, x: Float[Tensor, "*axes d_model"]) -> Float[Tensor, "*axes d_model"]:
        x = self.centre(x)
        return x / self.sigma(x)


@dataclass(frozen=True, eq=False)
class GainedNorm:
    """A whole norm: ``standardise(x) * gain + bias``."""

    kind: Norm
    gain: Float[Tensor, " d_model"]
    bias: Float[Tensor, " d_model"]

    def __call__(self, x: Float[Tensor, "*axes d_model"]) -> Float[Tensor, "*axes d_model"]:
        return torch.addcmul(self.bias, Standardise.apply(x, self.kind), self.gain)


class Standardise(torch.autograd.Function):
    """`Norm.standardise`, with the gradient through its statistics in closed form."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, kind: Norm) -> Tensor:
        centred = kind.centre(x)
        inverse = 1 / kind.sigma(centred)
        out = centred * inverse
        ctx.kind = kind
        ctx.save_for_backward(out, inverse)
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        out, inverse = ctx.saved_tensors
        along = (grad * out).mean(-1, keepdim=True)
        across = torch.addcmul(grad, out, along, value=-1)
        return ctx.kind.centre(across).mul_(inverse), None


@torch.no_grad()
def read_norm(norm: Any, width: int, like: Tensor) -> GainedNorm:
    """Kind, gain and bias of a bridge's norm of that width, found by asking it: families name their
    parts differently, some add 1 to the gain (Gemma) and some have none (OLMo).

    A pattern of +1 and -1 has mean 0 and variance 1, so the answer is ``gain * pattern + bias``. Ones have
    no variance, so only a LayerNorm answers with the bias alone.

    Args:
        like: a tensor of its dtype and on its device.
    """
    ask = norm.original_component
    pattern = like.new_ones(1, width)
    pattern[:, 1::2] = -1
    up, down = ask(pattern), ask(-pattern)
    gain, bias = (up - down)[0] / 2 * pattern[0], (up + down)[0] / 2
    answer = (ask(pattern.abs())[0] - bias).abs().max()
    eps = getattr(ask, "eps", getattr(ask, "variance_epsilon", DEFAULT_EPS))
    size = (1 + float(eps)) ** 0.5  # the pattern itself was divided by it
    kind = Norm(bool(answer < 0.1 * gain.abs().max()), float(eps))
    return GainedNorm(kind, gain * size, bias)
