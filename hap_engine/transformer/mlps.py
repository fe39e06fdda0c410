"""MLPs as the engine calls them: the model's own weights without the bridge's hooks.

The hooks are a fiftieth of a pruning step at 1 % of SmolLM2's edges, and what autograd keeps and allocates for the
products between the projections another.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor
from torch.nn import Module, functional
from transformers.activations import NewGELUActivation

GATED = {"gate_proj", "up_proj", "down_proj", "act_fn"}  # as Transformers names a gated MLP's parts


def bare(mlp: Any) -> Any:
    """The model's own MLP, sharing its weights, with the activation of GPT-2 and of Llama's kin as one kernel.

    Transformers writes GPT-2's GELU out in eight operations, of which autograd keeps seven results: on GPT-2 small
    (32 prompts of 20 tokens) they are a tenth of a step's memory.
    """
    parts = {name: getattr(part, "original_component", part) for name, part in mlp.named_children()}
    if isinstance(parts.get("act"), NewGELUActivation):
        parts["act"] = torch.nn.GELU(approximate="tanh")
    plain = all(getattr(part, "bias", None) is None for part in parts.values())
    if set(parts) == GATED and type(parts["act_fn"]).__name__.startswith("SiLU") and plain:
        return GatedMlp(**parts)
    twin = copy.copy(mlp)
    twin._modules = parts
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


class Cast:
    """An MLP with its weights copied to another dtype; takes and gives float32."""

    def __init__(self, mlp: Any, dtype: torch.dtype) -> None:
        self.mlp, self.dtype = copy.deepcopy(mlp).to(dtype), dtype

    def __call__(self, x: Tensor) -> Tensor:
        return self.mlp(x.to(self.dtype)).to(x.dtype)
