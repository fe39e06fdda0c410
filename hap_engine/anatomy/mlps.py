"""MLPs as the engine calls them: the model's own weights, and what a family does around them.

What an MLP adds to the stream is found by asking its layer: called with a silent stream and silent attention, and with
the stream's readers answering what they give of the real one, a layer gives exactly that. Where a norm,
one module and another norm give the same, those are called by themselves: fewer operations, and less that autograd
keeps. Otherwise the layer itself is asked each time.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import Module, functional
from transformers.activations import NewGELUActivation

from hap_engine.anatomy.norms import CLOSE, Apply, GainedNorm, call_norm
from hap_engine.anatomy.twins import Seen, first, same
from hap_engine.narrow.weights import copied

GATED = {"gate_proj", "up_proj", "down_proj", "act_fn"}  # as Transformers names a gated MLP's parts


@dataclass(frozen=True, eq=False)
class Mlp:
    """What one layer's MLP adds to the stream.

    Attributes:
        norm, post: of what it reads, and of what it gives; None: none, or hidden within `inner`.
        inner: ``[batch, pos, d_model]`` to the same.
        gated: it multiplies two linear parts of what it reads.
    """

    norm: GainedNorm | None
    inner: Callable[[Tensor], Tensor]
    post: GainedNorm | None
    gated: bool

    def __call__(self, x: Float[Tensor, "*axes d_model"], apply: Apply = call_norm) -> Float[Tensor, "*axes d_model"]:
        """What it adds where the stream is `x`; `apply` is how a norm is called."""
        out = self.inner(x if self.norm is None else apply(self.norm, x))
        return out if self.post is None else apply(self.post, out)

    def with_dtype(self, dtype: torch.dtype) -> Mlp:
        """The same with its products in `dtype`, where it is a module that can be copied."""
        return replace(self, inner=Cast(self.inner, dtype)) if isinstance(self.inner, Module) else self


def find_chain(seen: Sequence[Seen], stream: Tensor, target: Tensor) -> tuple[list[str], float] | None:
    """The parts that, one after the other from the stream on, give the target, and by what it is multiplied."""
    for names, out in _chains(seen, stream, ()):
        factor = fitted(target, out)
        if factor is not None:
            return list(names), factor
    return None


def _chains(seen: Sequence[Seen], x: Tensor, before: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Tensor]]:
    for index, one in enumerate(seen):
        alone = len(one.inputs) == 1 and same(one.inputs[0], x)
        if alone and one.output is not None and not same(one.output, x):  # identities and dropouts are passed over
            yield (*before, one.name), one.output
            yield from _chains(seen[index + 1 :], one.output, (*before, one.name))


def fitted(target: Tensor, x: Tensor) -> float | None:
    """The number by which `x` is multiplied in `target`, if that is all."""
    if target.numel() != x.numel() or not x.any():
        return None
    x, largest = x.reshape(target.shape), x.abs().argmax()
    factor = float(target.flatten()[largest] / x.flatten()[largest])
    factor = 1.0 if abs(factor - 1) < CLOSE else factor
    return factor if bool((target - factor * x).abs().max() <= CLOSE * target.abs().max()) else None


class Chain(Module):
    """Parts called one after the other, the result times a factor."""

    def __init__(self, parts: Sequence[Module], factor: float = 1.0) -> None:
        super().__init__()
        self.parts, self.factor = torch.nn.ModuleList(parts), factor

    def forward(self, x: Tensor) -> Tensor:
        out = x
        for part in self.parts:
            out = first(part(out))
        out = out.reshape(x.shape)
        return out if self.factor == 1 else out * self.factor


def is_gated(module: Any) -> bool:
    """Whether a module has a part for the gate, as families name it."""
    names = {name for name, _ in (*module.named_modules(), *module.named_parameters())}
    return any(part in ("gate_proj", "gate_up_proj", "up_gate_proj") for name in names for part in name.split("."))


def bare(mlp: Any) -> Any:
    """The model's own MLP, sharing its weights, with the activation of GPT-2 and of Llama's kin as one kernel.

    Transformers writes GPT-2's GELU out in eight operations, of which autograd keeps seven results: on GPT-2 small
    (32 prompts of 20 tokens) they are a tenth of a step's memory.
    """
    parts: Mapping[str, Any] = dict(mlp.named_children())
    if isinstance(parts.get("act"), NewGELUActivation):
        parts = {**parts, "act": torch.nn.GELU(approximate="tanh")}
    plain = all(getattr(part, "bias", None) is None for part in parts.values())
    if set(parts) == GATED and type(parts["act_fn"]).__name__.startswith("SiLU") and plain:
        return GatedMlp(**parts)
    twin = copy.copy(mlp)
    twin._modules = dict(parts)
    return twin


class GatedMlp(Module):
    """``down(silu(gate(x)) * up(x))`` without biases, its gradient in closed form.

    Where someone listens to a part (`gradient_rules.secant_rule`), the parts are called one by one.
    """

    def __init__(self, gate_proj: Module, up_proj: Module, down_proj: Module, act_fn: Module) -> None:
        super().__init__()
        self.gate_proj, self.up_proj = gate_proj, up_proj
        self.down_proj, self.act_fn = down_proj, act_fn

    def forward(self, x: Tensor) -> Tensor:
        if any(part._forward_hooks for part in self.children()):
            out: Tensor = self.down_proj(self.act_fn(self.gate_proj(x)) * self.up_proj(x))
            return out
        weights = (part.weight for part in (self.gate_proj, self.up_proj, self.down_proj))
        out = Gated.apply(x.flatten(0, -2), *weights)
        return out.view(x.shape)


class Gated(torch.autograd.Function):
    """A gated MLP of frozen weights, over ``[token, d_model]``."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, gate: Tensor, up: Tensor, down: Tensor) -> Tensor:
        before, value = x @ gate.mT, x @ up.mT
        open_ = functional.silu(before)
        ctx.kept = before, open_, value, gate, up, down
        return (open_ * value) @ down.mT

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None, None]:
        """One pass per forward: what was kept is written over."""
        before, open_, value, gate, up, down = ctx.kept
        inner = grad @ down
        in_before = value.mul_(inner)
        torch.ops.aten.silu_backward.grad_input(in_before, before, grad_input=in_before)
        return (inner.mul_(open_) @ up).addmm_(in_before, gate), None, None, None


class Cast(Module):
    """An MLP with its weights in another dtype; takes and gives float32."""

    def __init__(self, mlp: Any, dtype: torch.dtype) -> None:
        super().__init__()
        self.mlp, self.dtype = copied(mlp, dtype), dtype

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.mlp(x.to(self.dtype)).to(x.dtype)
        return out
