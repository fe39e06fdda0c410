"""LayerNorm and RMSNorm, read from whatever module a family writes them as.

A norm is `Norm` (what it divides by) with a gain and a bias. The gain of the norm before attention is
folded into the input weights (`blocks.py`); the others are `GainedNorm`: a dozen small operations of a
family's own module, and as many in its backward pass, are four here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

CLOSE = 1e-5  # of the largest number: what two ways to compute the same may differ by in float32


@dataclass(frozen=True)
class Norm:
    """LayerNorm (centred) or RMSNorm (not) without its gain and bias; or nothing at all, where it does not divide.

    Attributes:
        recentres: what it reads may have a mean, as not all readers of the model ignore it.
    """

    centred: bool
    eps: float
    divides: bool = True
    recentres: bool = False

    def centre(self, x: Float[Tensor, "*axes d_model"]) -> Float[Tensor, "*axes d_model"]:
        return x - x.mean(-1, keepdim=True) if self.centred else x

    def sigma(self, centred: Float[Tensor, "*axes d_model"]) -> Float[Tensor, "*axes 1"]:
        if not self.divides:
            return centred.new_ones(*centred.shape[:-1], 1)
        return (centred.square().mean(-1, keepdim=True) + self.eps).sqrt()

    def standardise(self, x: Float[Tensor, "*axes d_model"]) -> Float[Tensor, "*axes d_model"]:
        x = self.centre(x)
        return x / self.sigma(x)


NO_NORM = Norm(centred=False, eps=0.0, divides=False)


@dataclass(frozen=True, eq=False)
class GainedNorm:
    """A whole norm: ``standardise(x) * gain + bias``. Norms of single heads have a gain for each."""

    kind: Norm
    gain: Float[Tensor, "*heads d_model"]
    bias: Float[Tensor, "*heads d_model"]

    def __call__(self, x: Float[Tensor, "*axes d_model"]) -> Float[Tensor, "*all d_model"]:
        return torch.addcmul(self.bias, Standardise.apply(x, self.kind), self.gain)

    def times(self, factor: float) -> GainedNorm:
        return self if factor == 1 else replace(self, gain=self.gain * factor, bias=self.bias * factor)


Apply = Callable[[GainedNorm, Tensor], Tensor]  # how a norm is called


def call_norm(norm: GainedNorm, x: Tensor) -> Tensor:
    """The usual way."""
    return norm(x)


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
def read_norm(ask: Callable[[Tensor], Tensor], width: int, like: Tensor, eps: float | None) -> GainedNorm:
    """Kind, gain and bias of a norm of that width, found by asking it: families name their parts differently, some
    add 1 to the gain (Gemma) and some have none (OLMo).

    A pattern of +1 and -1 has mean 0 and variance 1, so the answer is ``gain * pattern + bias``. Ones have
    no variance, so only a LayerNorm answers with the bias alone.

    Args:
        ask: gives ``[1, width]`` or, of single heads, ``[1, head, width]``.
        like: a tensor of its dtype and on its device.
        eps: what it adds to the variance; None: it is asked for.

    Raises:
        LookupError: if it is no norm.
    """
    pattern = like.new_ones(1, width)
    pattern[:, 1::2] = -1
    up, down = ask(pattern), ask(-pattern)
    gain, bias = (up - down)[0] / 2 * pattern[0], (up + down)[0] / 2
    answer = (ask(pattern.abs())[0] - bias).abs().max()
    eps = _asked_eps(ask, pattern, up - bias) if eps is None else float(eps)
    size = (1 + eps) ** 0.5  # the pattern itself was divided by it
    found = GainedNorm(Norm(bool(answer < 0.1 * gain.abs().max()), eps), gain * size, bias)
    x = torch.linspace(-2, 3, width).sin().to(like)[None] * 3
    want = ask(x)
    if not (found(x if want.ndim == 2 else x[:, None]) - want).abs().max() <= CLOSE * want.abs().max():
        raise LookupError("what reads the stream is neither a LayerNorm nor an RMSNorm")
    return found


def _asked_eps(ask: Callable[[Tensor], Tensor], pattern: Tensor, up: Tensor) -> float:
    """From how much smaller the answer to a smaller pattern is: ``share² = small² (1 + eps) / (small² + eps)``."""
    for small in (1e-1, 1e-2, 1e-3, 1e-4):
        share = float((ask(small * pattern) - ask(-small * pattern)).norm() / (2 * up.norm()))
        if share < 0.9:
            break
    if share**2 - small**2 < small**2 * CLOSE:
        raise LookupError("it divides by nothing")
    eps = small**2 * (1 - share**2) / (share**2 - small**2)
    return float(f"{max(0.0, eps):.1e}")  # families choose round ones


def eps_of(module: Any) -> float | None:
    """What a module says that it adds to the variance."""
    for name in ("eps", "variance_epsilon", "epsilon", "layer_norm_epsilon"):
        if isinstance(getattr(module, name, None), float):
            return float(getattr(module, name))
    return None


def close(x: Tensor, y: Tensor) -> bool:
    """The same, but for rounding."""
    return x.shape == y.shape and bool((x - y).abs().max() <= CLOSE * y.abs().max())
