"""The self-check of a masked model: is the mechanism what it claims, for these weights and on this device?

* With m = 1 the masked pass must give the model's clean logits, with m = 0 its corrupt ones.
* Circuits must give the same logits whether all is computed or what their plan leaves: what feeds what is measured when
  a model is opened, and a head that acts on another unseen would show here.
* The gradient of the mask must agree with differences of logits. It is what scores and learns, and no logit would
  show a kernel that puts it in the wrong place, as Apple's GPUs have had several.

That is on random tokens, when a model is opened. The prompts of a job go the same way before it begins
(`check_prompts`), and whatever is longer than any prompt before is compared when it comes (`PlainModel.trace`).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from hap_engine.anatomy.twins import watch
from hap_engine.errors import UnsupportedModelError
from hap_engine.graph.circuit import Circuit, full_circuit, random_circuit
from hap_engine.masked.plan import Plan, Positions
from hap_engine.models.shape import experts_of
from hap_engine.tasks.pair import EncodedPair
from hap_engine.transformer.batches import to_batch
from hap_engine.transformer.load import Model, in_words
from hap_engine.transformer.plain_pass import TOLERANCE, Trace, at_last
from hap_engine.words import say

if TYPE_CHECKING:
    from hap_engine.masked.masked_pass import MaskedModel

TOKENS = 24  # longer than IOI prompts
DRAWS = 3  # of random prompts: at a tie between experts two right computations may differ
SPARSE, DENSE = 24, 0.2  # live edges of a sparse circuit; share of the edges of one with dead ones
# Of the mask, to find slopes, between rounding and curvature: the first is within 0.002 on all offered models' shapes.
STEPS = (1e-4, 1e-3, 1e-5)
GRADIENT_TOLERANCE = 0.02  # of a slope, relative to the gradient's length
DIRECTIONS = 2  # random ones, so that a gradient that lacks a part hardly fits by chance
SAMPLE = 8  # prompts of a job: of all its lengths, a hundredth of what a quick run costs
TIED = 1  # of them may take another way at a tie between experts
GROUP = 4  # prompts whose logits at all tokens are in memory at once


class _Prompts(NamedTuple):
    """Pairs of prompts."""

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
def check_prompts(masked: MaskedModel, pairs: Sequence[EncodedPair]) -> None:
    """Compare the masked pass with the model itself on some prompts of a job, of all lengths and the longest for sure.

    What depends on a prompt's length (windows, temperatures of queries, positions that are turned otherwise) shows in
    the longest; what depends on the size of numbers shows when a model is opened (`closed_form.SIZES`). Prompts that
    were among those of a job before are not looked at again.

    Raises:
        UnsupportedModelError: naming the difference, the part that does not fit and the remedy.
    """
    masked, known = masked.exact, {hash((pair.clean_ids, pair.corrupt_ids)) for pair in pairs}
    if known <= masked.met_prompts:
        return
    order = sorted(pairs, key=lambda pair: len(pair.clean_ids))
    chosen = [order[round(at)] for at in np.linspace(0, len(order) - 1, min(SAMPLE, len(order)))]
    batch = to_batch(chosen, masked.device)
    length = batch.clean.shape[1]
    with in_words(f"{named(masked.model)} fails on prompts of {length} tokens"):
        _compare(masked, _of(masked, torch.stack([batch.clean, batch.corrupt]), batch.last), "on prompts of this job")
    masked.met = max(masked.met, length)
    masked.met_prompts |= known


def _prompts(masked: MaskedModel, draw: int = 0) -> _Prompts:
    """Random ones."""
    generator = torch.Generator().manual_seed(draw)
    length = min(TOKENS, masked.model.max_tokens or TOKENS)
    tokens = torch.randint(masked.model.embedding_rows, (2, 2, length), generator=generator).to(masked.device)
    last = torch.tensor([length - 1, length // 2], device=masked.device)
    return _of(masked, tokens, last)


def _of(masked: MaskedModel, tokens: Tensor, last: Tensor) -> _Prompts:
    edges = torch.from_numpy(full_circuit(masked.graph).kept).to(masked.device)
    return _Prompts(tokens, last, masked.plain_trace(tokens[1], last), edges.float())


def _logits(masked: MaskedModel, prompts: _Prompts, mask: Tensor) -> Float[Tensor, "batch vocab"]:
    return masked.logits(mask, masked.embed(prompts.tokens[0]), prompts.corrupt, prompts.last)


@torch.no_grad()
def check_logits(masked: MaskedModel, draw: int = 0) -> None:
    """All edges kept: the clean run; all cut: the corrupt one."""
    prompts = _prompts(masked, draw)
    _compare(masked, prompts, "on random tokens")
    masked.met = max(masked.met, prompts.tokens.shape[-1])


def _compare(masked: MaskedModel, prompts: _Prompts, where: str) -> None:
    for share, which, tokens in ((1, "clean", prompts.tokens[0]), (0, "corrupt", prompts.tokens[1])):
        got, want = _logits(masked, prompts, prompts.edges * share), _own_logits(masked, tokens, prompts.last)
        off = (got - want).abs().amax(-1) / want.abs().max()
        wrong = (~(off <= TOLERANCE)).nonzero()[:, 0]  # also refuses NaN
        if not len(wrong):
            continue
        part, attention = _worst_part(masked, tokens[wrong], prompts.last[wrong])
        if not attention and len(off) > 2 * TIED and len(wrong) <= TIED and experts_of(masked.model.config) > 1:
            continue  # at a tie between experts two right computations may differ
        longest = int(prompts.last[wrong].max()) + 1
        shorter = f"Use prompts of at most {masked.met} tokens, or choose" if longest > masked.met > 0 else "Choose"
        raise UnsupportedModelError(
            f"{named(masked.model)} fails the self-check {where} (of up to {longest} tokens): with every edge "
            f"{'kept' if share else 'cut'}, the masked pass should give the {which} logits within {TOLERANCE:g} "
            f"(relative), but differs by {off[wrong].max():.2g}. {part} {shorter} another model, and report this one."
        )


def _own_logits(masked: MaskedModel, tokens: Tensor, last: Tensor) -> Float[Tensor, "batch vocab"]:
    """What the model itself says of each prompt, without what fills up a batch."""
    rows: dict[int, Tensor] = {}
    for end in last.unique().tolist():
        for group in (last == end).nonzero()[:, 0].split(GROUP):
            logits = masked.model.parts.skeleton.own_logits(tokens[group, : end + 1])[:, -1]
            rows.update(zip(group.tolist(), logits, strict=True))
    return torch.stack([rows[index] for index in range(len(last))])


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
                say("masked.plans", name=named(masked.model), edges=len(circuit), off=difference, most=TOLERANCE)
            )


def _worst_part(masked: MaskedModel, tokens: Tensor, last: Tensor) -> tuple[str, bool]:
    """Which layer, and what in it, gives what the model's own layer does not when it reads the same; and whether that
    is its attention."""
    skeleton, shape = masked.model.parts.skeleton, tokens.shape
    trace = masked.plain_trace(tokens, last)
    every = trace.at(torch.arange(shape.numel(), device=masked.device))
    streams = [every.attn_in(index).unflatten(0, shape) for index in range(len(skeleton.layers))]
    offs, heard = [], []
    for index, (layer, call) in enumerate(zip(skeleton.layers, skeleton.streams(*shape), strict=True)):
        core = masked.blocks[index].core
        name = f"{skeleton.attention[index]}.{core.replay.output.name}"
        parts = {"heads": layer.get_submodule(name), "layer": layer}
        stream = streams[index].to(skeleton.devices[index])
        seen = {one.name: one for one in watch(parts, partial(call.run, layer, stream))}
        out, stream = seen["layer"].output, streams[index]
        assert out is not None
        out = out.to(masked.device)
        if index == len(skeleton.layers) - 1:
            ours, out, stream = trace.final, at_last(out, last), at_last(stream, last)
        else:
            ours = streams[index + 1]
        offs.append(_difference(ours - stream, out - stream))  # a stream may be far larger than what a layer adds
        heard.append(seen["heads"].inputs[0])
    worst = max(range(len(offs)), key=offs.__getitem__)
    if offs[worst] <= TOLERANCE:
        return "Its layers are right one by one; what enters the first or leaves the last is not.", False
    core, kept = masked.blocks[worst].core, trace.layers[worst]
    theirs = heard[worst].reshape(*shape, -1)

    def right(z: Float[Tensor, "head batch pos d_head"]) -> bool:
        return _difference(z.permute(1, 2, 0, 3).flatten(2), theirs) <= TOLERANCE

    if right(trace.whole(kept.z)):
        return f"The part that differs most is in layer {worst}: what becomes of its heads' sum, or the MLP.", False
    if right(core.own_z(trace.whole(kept.slots), skeleton.calls(*shape)[worst])):
        part = f"the attention core ({core.way})"
    else:
        part = "what its attention reads: the norm before it, or the projections"
    return f"The part that differs most is in layer {worst}: {part}.", True


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
                say(
                    "masked.gradient",
                    name=named(masked.model),
                    masked=masked,
                    most=GRADIENT_TOLERANCE,
                    off=off,
                    torch=torch,
                )
            )


@torch.no_grad()
def _slope(masked: MaskedModel, prompts: _Prompts, weights: Tensor, change: Tensor) -> Tensor:
    """By how much the weighted logits differ between ``1 + change`` and ``1 - change``, halved."""
    up, down = (_logits(masked, prompts, prompts.edges + side * change) for side in (1, -1))
    return ((up - down) * weights).sum() / 2


def named(model: Model) -> str:
    return f"{model.name} ({type(model.hf_model).__name__})"
