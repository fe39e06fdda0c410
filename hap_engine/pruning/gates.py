"""Hard-concrete gates (Louizos et al. 2018, arXiv 1712.01312), as Edge Pruning uses them.

A gate with location ``log_alpha`` is sampled as::

    z = clamp(sigmoid((noise logit(u) + log_alpha) / BETA) * (RIGHT - LEFT) + LEFT, 0, 1),  u ~ U(0, 1)

so it is exactly 0 or exactly 1 with positive probability and differentiable in between. The published
gate has noise = 1; with less noise a gate's location decides it, down to noise = 0.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

BETA = 2 / 3  # temperature of the published recipe
LEFT, RIGHT = -0.1, 1.1  # stretch limits of the published recipe
_SHIFT = BETA * math.log(-LEFT / RIGHT)  # P(z > 0) = sigmoid(log_alpha - _SHIFT)
_EPSILON = 1e-6  # keeps logit(u) finite


def sample(log_alpha: Float[Tensor, " edge"], generator: torch.Generator, noise: float = 1.0) -> Float[Tensor, " edge"]:
    """One sample of every gate. `generator` lives on the CPU, so a seed means the same anywhere."""
    u = torch.rand(log_alpha.shape, generator=generator).clamp(_EPSILON, 1 - _EPSILON)
    return stretch(noise * torch.logit(u).to(log_alpha) + log_alpha)


def stretch(x: Float[Tensor, " edge"]) -> Float[Tensor, " edge"]:
    """The gate value of a noisy location."""
    return (torch.sigmoid(x / BETA) * (RIGHT - LEFT) + LEFT).clamp(0, 1)


def open_probability(log_alpha: Float[Tensor, " edge"], noise: float = 1.0) -> Float[Tensor, " edge"]:
    """P(z > 0) of every gate; the sum is the expected number of open edges."""
    return torch.sigmoid((log_alpha - _SHIFT) / noise)


def project(log_alpha: Float[Tensor, " edge"], budget: float, noise: float = 1.0) -> Float[Tensor, ""]:
    """The scalar to add to all `log_alpha` so that ``sum P(z > 0)`` equals `budget`.

    Found by bisection in float64 (float32 on MPS, which has no other). `budget` is cut to (0, 0.999 n): no finite
    shift opens every gate.
    """
    values = log_alpha.detach()
    values = values if values.device.type == "mps" else values.double()
    budget = min(max(budget, 1e-3), 0.999 * len(values))
    low = (-60 - values.max()).item()
    high = (60 - values.min()).item()
    for _ in range(80):
        middle = (low + high) / 2
        if open_probability(values + middle, noise).sum().item() < budget:
            low = middle
        else:
            high = middle
    return torch.tensor((low + high) / 2, dtype=log_alpha.dtype).to(log_alpha)
