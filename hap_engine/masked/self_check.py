"""The self-check of a masked model: is the mechanism what it claims, for these weights and on this device?

* With m = 1 the masked pass must give the model's clean logits, with m = 0 its corrupt ones.
* Circuits must give the same logits whether all is computed or what their plan leaves: what feeds what is measured when
  a model is opened, and a head that acts on another unseen would show here.
* The gradient of the mask must agree with differences of logits. It is what scores and learns, and no logit would
  show a kernel that puts it in the wrong place, as Apple's GPUs have had several.

Prompts that are longer than any before are compared with the model itself when they come (`PlainModel.trace`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from hap_engine.anatomy.twins import first
from hap_engine.errors import UnsupportedModelError
from hap_engine.graph.circuit import Circuit, full_circuit, random_circuit
from hap_engine.masked.plan import Plan, Positions
from hap_engine.transformer.plain_pass import TOLERANCE, Trace, at_last

if TYPE_CHECKING:
    from hap_engine.masked.masked_pass import MaskedModel

TOKENS = 24  # longer than IOI prompts
DRAWS = 3  # of random prompts: at a tie between experts two right computations may differ
SPARSE, DENSE = 24, 0.2  # live edges of a sparse circuit; share of the edges of one with dead ones
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
        UnsupportedModelError: naming the model, the difference and the part that does not fit.
    """
    for draw in range(DRAWS):
        try:
            check_logits(masked, draw)
            check_plans(masked, draw)
            break
        except UnsupportedModelError:
            if draw == DRAWS - 1:
                raise
    if masked.device.type != "cpu":
        check_gradient(masked)
        masked.workspace.clear()


@torch.no_grad()
def _prompts(masked: MaskedModel, draw: int = 0) -> _Prompts:
    generator = torch.Generator().manual_seed(draw)
    length = min(TOKENS, masked.model.max_tokens or TOKENS)
    masked.met = max(masked.met, length)
    tokens = torch.randint(masked.model.embedding_rows, (2, 2, length), generator=generator).to(masked.device)
    last = torch.tensor([length - 1, length // 2], device=masked.device)
    edges = torch.from_numpy(full_circuit(masked.graph).kept).to(masked.device)
    return _Prompts(tokens, last, masked.trace(tokens[1], last), edges.float())


def _logits(masked: MaskedModel, prompts: _Prompts, mask: Tensor) -> Float[Tensor, "batch vocab"]:
    return masked.logits(mask, masked.embed(prompts.tokens[0]), prompts.corrupt, prompts.last)


@torch.no_grad()
def check_logits(masked: MaskedModel, draw: int = 0) -> None:
    """All edges kept: the clean run; all cut: the corrupt one."""
    prompts = _prompts(masked, draw)
    for share, which, side in ((1, "clean", 0), (0, "corrupt", 1)):
        got = _logits(masked, prompts, prompts.edges * share)
        want = at_last(masked.model.hf_model(prompts.tokens[side]).logits.float(), prompts.last)
        difference = _difference(got, want)
        if not difference <= TOLERANCE:  # also refuses NaN
            raise UnsupportedModelError(
                f"{_name(masked)} fails the self-check: with every edge {'kept' if share else 'cut'}, the masked pass "
                f"should give the {which} logits within {TOLERANCE:g} (relative), but differs by {difference:.2g}. "
                f"{_worst_layer(masked, prompts)} Choose another model, and report this one."
            )


@torch.no_grad()
def check_plans(masked: MaskedModel, draw: int = 0) -> None:
    """Circuits by their own plans and by that of the whole graph."""
    prompts, graph = _prompts(masked, draw), masked.graph
    rng = np.random.default_rng(draw)
    whole, everywhere = Plan(full_circuit(graph)), Positions.all(prompts.last, prompts.tokens.shape[-1])
    some = Circuit(graph, graph.edge_mask & (rng.random(graph.edge_mask.shape) < DENSE))
    for circuit in (random_circuit(graph, SPARSE, rng), some):
        mask = torch.from_numpy(circuit.kept).to(masked.device).float()
        clean = masked.embed(prompts.tokens[0])
        want = masked.planned_logits(whole, everywhere, mask, clean, prompts.corrupt, prompts.last)
        difference = _difference(_logits(masked, prompts, mask), want)
        if not difference <= TOLERANCE:
            raise UnsupportedModelError(
                f"{_name(masked)} fails the self-check: a circuit of {len(circuit):,} edges gives other logits when "
                f"all is computed (by {difference:.2g}, relative; at most {TOLERANCE:g}). A part of its attention "
                "feeds heads that it was not seen to feed when opened. Choose another model, and report this one."
            )


def _worst_layer(masked: MaskedModel, prompts: _Prompts) -> str:
    """Which layer gives what the model's own layer does not."""
    skeleton, trace, shape = masked.model.parts.skeleton, prompts.corrupt, prompts.tokens.shape[1:]
    every = trace.at(torch.arange(shape.numel(), device=masked.device))
    offs = []
    for index, (layer, call) in enumerate(zip(skeleton.layers, skeleton.streams(*shape), strict=True)):
        out = first(call.run(layer, every.attn_in(index).unflatten(0, shape)))
        last = index == len(skeleton.layers) - 1
        ours = trace.final if last else every.attn_in(index + 1)
        offs.append(_difference(ours, at_last(out, prompts.last) if last else out.flatten(0, 1)))
    worst = max(range(len(offs)), key=offs.__getitem__)
    if offs[worst] <= TOLERANCE:
        return "Its layers are right one by one; what enters the first or leaves the last is not."
    return f"The part that differs most is layer {worst} ({masked.blocks[worst].core.way} attention)."


def _difference(got: Tensor, want: Tensor) -> float:
    return float((got - want).abs().max() / want.abs().max())


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
