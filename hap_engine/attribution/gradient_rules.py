"""How gradients flow backwards through norms, attention and MLPs, for scorers that correct known faults of
the plain gradient."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from hap_engine.anatomy.blocks import Block
from hap_engine.anatomy.norms import GainedNorm
from hap_engine.errors import UnsupportedModelError
from hap_engine.words import say


@dataclass(frozen=True)
class Rules:
    """How gradients flow backwards; the defaults are the gradient itself.

    Attributes:
        norm_share: share of the gradient through the norms' statistics; 0 takes them as constants.
        temperature: at which the backward pass of the softmax is taken.
        qk_share, v_share: factors of the gradients into attention scores and values. A product of two
            factors that both change is shared between them instead of counted twice.
        gate_share: factor of the gradients into both factors of a gated MLP's product, gate and value: another
            product of two factors that change. All that an MLP passes back goes through it, so this is the share of
            the gradient through the whole MLP.
        secant: an activation passes ``a(x) / x`` back instead of its slope.
    """

    norm_share: float = 1.0
    temperature: float = 1.0
    qk_share: float = 1.0
    v_share: float = 1.0
    gate_share: float = 1.0
    secant: bool = False


PLAIN = Rules()  # the gradient itself


def normed(norm: GainedNorm, x: Tensor, rules: Rules) -> Tensor:
    """A norm with the gradient that the rules want."""
    out = norm(x)
    if rules.norm_share == 1 or not x.requires_grad:
        return out
    centred = norm.kind.centre(x)
    frozen = centred / norm.kind.sigma(centred).detach() * norm.gain
    frozen = frozen + (out - frozen).detach()
    return frozen + rules.norm_share * (out - out.detach() - frozen + frozen.detach())


class Softmax(torch.autograd.Function):
    """Softmax whose backward pass is that of a softmax at another temperature, times a share."""

    @staticmethod
    def forward(ctx: Any, scores: Tensor, temperature: float, share: float) -> Tensor:
        ctx.share = share
        pattern = scores.softmax(-1)
        soft = pattern if temperature == 1 else (scores / temperature).softmax(-1)
        # Not as an attribute: the output would then hold its own graph, and neither would ever be freed.
        ctx.save_for_backward(soft)
        return pattern

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        (soft,) = ctx.saved_tensors
        return ctx.share * soft * (grad - (soft * grad).sum(-1, keepdim=True)), None, None


def shared(x: Tensor, share: float) -> Tensor:
    """`x`, passing back a share of its gradient."""
    return x if share == 1 else share * x + ((1 - share) * x).detach()


@contextmanager
def secant_rule(block: Block) -> Iterator[None]:
    """While open, the activation of the block's MLP passes gradients back by the secant rule.

    Raises:
        UnsupportedModelError: where the MLP has no activation module to correct.
    """
    mlp: Any = block.mlp.inner
    mlp = getattr(mlp, "mlp", mlp)  # the model's own or its copy in another dtype
    act = getattr(mlp, "act_fn", None) or getattr(mlp, "act", None)
    if not isinstance(act, torch.nn.Module):
        raise UnsupportedModelError(say("attribution.no_activation", kind=type(mlp).__name__))

    def secant(module: Any, inputs: tuple[Tensor], out: Tensor) -> Tensor:
        (x,) = inputs
        small = x.abs() < 1e-4
        slope = torch.where(small, 0.5, (out / torch.where(small, 1.0, x))).detach()
        line = x * slope
        return line + (out - line).detach()

    hook = act.register_forward_hook(secant)
    try:
        yield
    finally:
        hook.remove()
