"""The loss of Edge Pruning on a batch of prompts, and its gradient with respect to the gates.

On a GPU the few thousand small kernels of a pass take longer to start than to run. `Recorded` records
them once and starts them together.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from hap_engine.evaluation.metrics import kl_divergence, logit_difference
from hap_engine.graph.circuit import Circuit
from hap_engine.masked import processes
from hap_engine.masked.masked_pass import MaskedModel
from hap_engine.masked.plan import Plan, Positions
from hap_engine.masked.prompt_cache import PassInput, Prepared

WARM_UP = 3  # passes before a recording, in which libraries choose their kernels (as torch's manual has it)


class GateLoss(NamedTuple):
    """The two terms of the loss, and the gradient of both together."""

    kl: float
    error: float  # mean logit difference of the circuit less the full model's
    gradient: Float[Tensor, " candidate"]


LossOfGates = Callable[[Tensor, list[int], float], GateLoss]  # of gates' values, prompts, slope


def loss_of_gates(prepared: Prepared, candidates: Circuit, size: int) -> LossOfGates:
    """`gate_loss` of batches of `size` prompts; recorded where that is faster.

    Of several processes each computes its share of a batch, and all get the sum.
    """
    own = len(processes.share(range(size)))
    loss_of: LossOfGates = partial(gate_loss, prepared, candidates)
    one_card = len(prepared.masked.stretches) == 1  # a recording is of one
    alike = not prepared.masked.graph.positional  # the tokens of a span are as many at each step
    still = one_card and alike and not prepared.limits.aside  # nothing comes from elsewhere in between
    if prepared.masked.device.type == "cuda" and still and 0 < own <= prepared.limits.batch:
        loss_of = Recorded(prepared, candidates, own)
    return loss_of if processes.count() == 1 else partial(_added, loss_of)


def _added(loss_of: LossOfGates, z: Float[Tensor, " candidate"], indices: list[int], slope: float) -> GateLoss:
    own, parts = processes.share(indices), z.new_zeros(2 + len(z), dtype=torch.float64)
    if own:
        kl, error, gradient = loss_of(z, [*own], slope)
        parts[:2] = torch.tensor([kl, error], dtype=torch.float64)
        parts[2:] = gradient
        parts *= len(own) / len(indices)  # each is a mean over the process's own prompts
    processes.summed(parts)
    return GateLoss(parts[0].item(), parts[1].item(), parts[2:].to(z.dtype))


def gate_loss(
    prepared: Prepared, candidates: Circuit, z: Float[Tensor, " candidate"], indices: list[int], slope: float = 0.0
) -> GateLoss:
    """Loss over some prompts and its gradient with respect to the gates' values.

    The loss is the mean KL plus `slope` times the mean error of the logit difference. The prompts are visited
    in parts of at most ``prepared.limits.batch``, whose gradients add up.
    """
    leaf = z.detach().requires_grad_()
    edges = _Edges(candidates, z.device)
    kl, error = 0.0, 0.0
    for part in prepared.parts(indices):
        given = prepared.batch(part)
        batch = given.batch
        logits = prepared.masked.logits(edges.mask(leaf), given.clean, given.corrupt, batch.last, batch.spans)
        both = _errors(logits, given, len(indices))
        (both[0] + slope * both[1] if slope else both[0]).backward()
        kl, error = kl + both[0].item(), error + both[1].item()
    assert leaf.grad is not None
    return GateLoss(kl, error, leaf.grad)


class Recorded:
    """The same of one batch of a fixed size, its kernels started together (a CUDA graph).

    A recording repeats what was done on tensors in the same places, which must stay its own: `_work` holds
    them. So its plan is that of all candidates, whichever gates are closed, and it computes all positions of the
    longest prompt: more arithmetic than `gate_loss` does, and the same numbers. (Except the gradient of gates
    at exactly 0, which `gate_loss` leaves out where nothing lives: such a gate passes none on.)
    """

    def __init__(self, prepared: Prepared, candidates: Circuit, size: int) -> None:
        device = prepared.masked.device
        self._z = torch.zeros(len(candidates), device=device)
        self._rows = torch.zeros(size, dtype=torch.long, device=device)
        self._slope = torch.zeros((), device=device)
        self._work = work = partial(
            _fixed,
            prepared,
            prepared.masked.apart(),
            _Edges(candidates, device),
            Plan(candidates),
            self._z,
            self._rows,
            self._slope,
        )
        aside = torch.cuda.Stream()
        aside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(aside):
            for _ in range(WARM_UP):
                work()
        torch.cuda.current_stream().wait_stream(aside)
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self._graph):
            self._found = work()

    def __call__(self, z: Float[Tensor, " candidate"], indices: list[int], slope: float) -> GateLoss:
        self._z.copy_(z.detach())
        self._rows.copy_(torch.tensor(indices))
        self._slope.fill_(slope)
        self._graph.replay()
        kl, error, gradient = self._found
        return GateLoss(kl.item(), error.item(), gradient.clone())


def _fixed(
    prepared: Prepared,
    masked: MaskedModel,
    edges: _Edges,
    plan: Plan,
    z: Float[Tensor, " candidate"],
    rows: Int[Tensor, " batch"],
    slope: Float[Tensor, ""],
) -> tuple[Tensor, Tensor, Tensor]:
    """KL, error and gradient by a fixed plan: never waits for the GPU, and no shape depends on a number there."""
    length = prepared.every.clean.shape[1]
    given = prepared.gathered(rows, length)
    leaf = z.detach().requires_grad_()
    logits = masked.planned_logits(
        plan, Positions.all(given.batch.last, length), edges.mask(leaf), given.clean, given.corrupt, given.batch.last
    )
    kl, error = _errors(logits, given, len(rows))
    (gradient,) = torch.autograd.grad(kl + slope * error, leaf)
    return kl.detach(), error.detach(), gradient


def _errors(logits: Tensor, given: PassInput, count: int) -> tuple[Tensor, Tensor]:
    """KL and error of the logit difference, summed over the prompts and divided by `count`."""
    sets = given.batch.answer, given.batch.distractor
    error = logit_difference(logits, *sets) - logit_difference(given.full, *sets)
    return kl_divergence(logits, given.full).sum() / count, error.sum() / count


class _Edges:
    """Where the candidates' gates go in a mask."""

    def __init__(self, candidates: Circuit, device: torch.device) -> None:
        self.shape = candidates.kept.shape
        self.at = tuple(torch.from_numpy(axis).to(device) for axis in np.nonzero(candidates.kept))

    def mask(self, values: Float[Tensor, " candidate"]) -> Float[Tensor, "writer reader"]:
        return values.new_zeros(self.shape).index_put(self.at, values)
