"""The self-check of a masked model: is the mechanism what it claims, for these weights and on this device?

* With m = 1 the masked pass must give the model's clean logits, with m = 0 its corrupt ones.
* The gradient of the mask must agree with differences of logits. It is what scores and learns, and no logit would
  show a kernel that puts it in the wrong place, as Apple's GPUs have had several.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from hap_engine.errors import UnsupportedModelError
from hap_engine.graph.circuit import full_circuit
from hap_engine.models.supported import WORKING, likely_cause
from hap_engine.transformer.plain_pass import Trace, at_last

if TYPE_CHECKING:
    from hap_engine.masked.masked_pass import MaskedModel

TOKENS = 24  # longer than IOI prompts; a sliding window in the config shortens it
TOLERANCE = 1e-4  # of logits, relative to the largest; measured 1e-6 on supported families
# Of the mask, to find slopes, between rounding and curvature: the first is within 0.002 on all offered models' shapes.
STEPS = (1e-4, 1e-3, 1e-5)
GRADIENT_TOLERANCE = 0.02  # of a slope, relative to the gradient's length
DIRECTIONS = 2  # random ones, so that a gradient that lacks a part hardly fits by chance


class _Prompts(NamedTuple):
    """Two pairs of random tokens."""

    tokens: Int[Tensor, "side batch pos"]  # clean, corrupt
    last: Int[Tensor, " batch"]
    corrupt: Trace
    edges: Float[Tensor, "writer reader"]


def check(masked: MaskedModel) -> None:
    """Compare the masked pass with the model itself and, on a GPU, its gradient with its logits.

    A processor's gradients are what the tests look at; a GPU is there for few who change the engine.

    Raises:
        UnsupportedModelError: naming the model, the difference and the likely cause.
    """
    check_logits(masked)
    if masked.device.type != "cpu":
        check_gradient(masked)
        masked.workspace.clear()


@torch.no_grad()
def _prompts(masked: MaskedModel) -> _Prompts:
    generator = torch.Generator().manual_seed(0)
    length = min(TOKENS, masked.model.max_tokens or TOKENS)
    vocabulary = masked.model.hf_model.config.vocab_size
    tokens = torch.randint(vocabulary, (2, 2, length), generator=generator).to(masked.device)
    last = torch.tensor([length - 1, length // 2], device=masked.device)
    edges = torch.from_numpy(full_circuit(masked.graph).kept).to(masked.device)
    return _Prompts(tokens, last, masked.trace(tokens[1], last), edges.float())


def _logits(masked: MaskedModel, prompts: _Prompts, mask: Tensor) -> Float[Tensor, "batch vocab"]:
    return masked.logits(mask, masked.embed(prompts.tokens[0]), prompts.corrupt, prompts.last)


@torch.no_grad()
def check_logits(masked: MaskedModel) -> None:
    """All edges kept: the clean run; all cut: the corrupt one."""
    prompts = _prompts(masked)
    for share, which, side in ((1, "clean", 0), (0, "corrupt", 1)):
        got = _logits(masked, prompts, prompts.edges * share)
        want = at_last(masked.model.hf_model(prompts.tokens[side]).logits.float(), prompts.last)
        difference = ((got - want).abs().max() / want.abs().max()).item()
        if not difference <= TOLERANCE:  # also refuses NaN
            raise UnsupportedModelError(
                f"{_name(masked)} fails the self-check: "
                f"with every edge {'kept' if share else 'cut'}, the masked pass should give the "
                f"{which} logits within {TOLERANCE:g} (relative), but differs by "
                f"{difference:.2g}. Likely cause: {likely_cause(masked.model.config)}. {WORKING}"
            )


@torch.enable_grad()
def check_gradient(masked: MaskedModel) -> None:
    """The gradient of a random sum of logits at m = 1, against slopes in random directions."""
    prompts, generator = _prompts(masked), torch.Generator().manual_seed(1)

    def noise(shape: torch.Size) -> Tensor:
        return torch.randn(shape, generator=generator).to(masked.device)

    mask = prompts.edges.clone().requires_grad_()
    logits = _logits(masked, prompts, mask)
    weights = noise(logits.shape)
    (gradient,) = torch.autograd.grad((logits * weights).sum(), mask)
    gradient = gradient * prompts.edges
    for _ in range(DIRECTIONS):
        direction = noise(mask.shape) * prompts.edges
        expected = (gradient * direction).sum()
        for step in STEPS:
            slope = _slope(masked, prompts, weights, step * direction) / step
            off = ((expected - slope).abs() / torch.linalg.vector_norm(gradient)).item()
            if off <= GRADIENT_TOLERANCE:
                break
        else:  # also NaN
            raise UnsupportedModelError(
                f"{_name(masked)} fails the self-check: on {masked.device} the gradient of the edges' mask "
                f"should agree with differences of logits within {GRADIENT_TOLERANCE:g} of its length, but is "
                f"{off:.2g} off. Likely cause: torch {torch.__version__} computes some product "
                "wrongly there. Use another device or another version of torch."
            )


@torch.no_grad()
def _slope(masked: MaskedModel, prompts: _Prompts, weights: Tensor, change: Tensor) -> Tensor:
    """By how much the weighted logits differ between ``1 + change`` and ``1 - change``, halved."""
    up, down = (_logits(masked, prompts, prompts.edges + side * change) for side in (1, -1))
    return ((up - down) * weights).sum() / 2


def _name(masked: MaskedModel) -> str:
    return f"{masked.model.name} ({type(masked.model.hf_model).__name__})"
