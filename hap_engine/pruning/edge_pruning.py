"""Edge Pruning: learn which edges to keep (Bhaskar et al. 2024, arXiv 2406.16778).

Every candidate edge has a hard-concrete gate (`gates.py`). Each step samples all gates once, runs the
masked forward on a batch and descends ``KL(full model ‖ circuit)`` at the answer position. Edges
that are no candidates stay cut: with candidates chosen by EAP this is HAP, with all edges it is EP.
How the number of open gates comes down to the target is decided in `budgets.py`.

The final circuit is the candidates of largest log alpha, as many as make `target` live edges. Where
validation prompts are given, that circuit is tested on them once the target is reached: the best state
wins, and the descent ends early when nothing better came for a while. A start in the order of scores is a
state too, so what is learned is never worse there than what the scores alone would choose.
"""

from __future__ import annotations

import math
import time
from bisect import bisect_right
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from hap_engine.errors import SettingsError
from hap_engine.evaluation.measure import circuit_kl
from hap_engine.graph.circuit import Circuit
from hap_engine.machine import memory
from hap_engine.masked.prompt_cache import Prepared
from hap_engine.pruning import gates
from hap_engine.pruning.budgets import BUDGETS
from hap_engine.pruning.gate_loss import loss_of_gates
from hap_engine.settings import PruningConfig
from hap_engine.words import say

CHECK_STEPS = 10  # between two looks at the validation prompts


@dataclass(frozen=True, eq=False)
class PruningStep:
    """One optimiser step.

    `open` counts the gates sampled above 0, `undecided` those strictly between 0 and 1 when no noise
    is added; `log_alpha` is the state after the step; `validation` is the held-out KL of the circuit
    that this state gives, at the steps that look. `state` tells all that the rest of the descent depends on, for
    `prune(resume=…)`; ask for it before the next step.
    """

    step: int
    kl: float
    budget: float
    expected: float
    open: int
    undecided: int
    seconds: float
    log_alpha: Float[np.ndarray, " candidate"]
    state: Callable[[], dict[str, Tensor]]
    validation: float | None = None


def prune(
    prepared: Prepared,
    candidates: Circuit,
    target: int,
    config: PruningConfig,
    *,
    seed: int = 0,
    start: Float[np.ndarray, " candidate"] | None = None,
    validation: Prepared | None = None,
    price: Float[np.ndarray, " candidate"] | None = None,
    resume: Mapping[str, Tensor] | None = None,
) -> Generator[PruningStep, None, Float[np.ndarray, " candidate"]]:
    """Learn gates of the candidate edges; returns the chosen log alphas in ``np.nonzero`` order.

    Args:
        prepared: training prompts; their corrupt traces are reused at every step.
        target: number of edges the circuit may keep.
        start: log alphas to start from (`warm_start`, or those of an earlier descent to a larger
            target); without them all gates start equal.
        validation: prompts on which the best state is chosen; without them it is the last one.
        price: added to the loss for each open gate, in nats; without it KL alone decides.
        resume: what `PruningStep.state` told in a descent with the same arguments: it goes on from there
            as if it had never stopped, to the bit.

    Raises:
        SettingsError: if there are fewer candidates than `target`, or KL is not finite.
    """
    if len(candidates) < target:
        needed, share = (100 * edges / candidates.graph.n_edges for edges in (target, len(candidates)))
        count = len(candidates)
        raise SettingsError(say("pruning.few_candidates", target=target, count=count, needed=needed, share=share))
    generator = torch.Generator().manual_seed(seed)
    strategy = BUDGETS[config.budget]
    log_alpha = (
        strategy.equal_start(len(candidates), config, generator)
        if start is None
        else torch.from_numpy(np.array(start, np.float32))
    ).to(prepared.masked.device)
    log_alpha.requires_grad_()
    budget = strategy(log_alpha, target, config)
    loss_of = loss_of_gates(prepared, candidates, min(config.batch_size, len(prepared)))
    extra = 0.0 if price is None else torch.from_numpy(np.asarray(price, np.float32)).to(log_alpha)
    judge = _Judge(validation, candidates, target, config)
    anchor = _Anchor(config.ld_weight)
    parts = {"budget": budget, "judge": judge, "anchor": anchor}
    done = 0
    if resume is not None:
        done = int(resume["step"])
        generator.set_state(resume["generator"])
        with torch.no_grad():
            log_alpha.copy_(resume["log_alpha"])
        for name, part in parts.items():
            part.restore(_under(f"{name}.", resume))
    elif start is not None:
        judge.test(log_alpha.detach().cpu().numpy().copy())
    started = time.perf_counter() - (0.0 if resume is None else float(resume["seconds"]))
    for step in range(done + 1, config.steps + 1):
        indices = torch.randperm(len(prepared), generator=generator)[: config.batch_size].tolist()
        z = budget.sample(generator, step)
        kl, error, gradient = loss_of(z, indices, anchor.slope)
        anchor.see(error)
        if not math.isfinite(kl):
            raise SettingsError(f"KL is {kl} at step {step}: training has diverged. Lower lr, or use float32.")
        gradient = gradient + extra
        allowed = budget.step(gradient / (gradient.square().mean().sqrt() + 1e-12) ** strategy.evens, z, step)
        if step % memory.TRIM_STEPS == 0:
            memory.trim()
        state = log_alpha.detach()
        still = gates.stretch(state)
        copied = state.cpu().numpy().copy()
        yield PruningStep(
            step,
            kl,
            allowed,
            gates.open_probability(state, budget.noise(step)).sum().item(),
            int((z > 0).sum()),
            int(((still > 0) & (still < 1)).sum()),
            time.perf_counter() - started,
            copied,
            partial(_state, step, started, log_alpha, generator, parts),
            judge.look(step, copied),
        )
        if judge.settled:
            break
    return judge.best if judge.best is not None else log_alpha.detach().cpu().numpy().copy()


def _state(
    step: int, started: float, log_alpha: Tensor, generator: torch.Generator, parts: Mapping[str, Any]
) -> dict[str, Tensor]:
    held = {"step": torch.tensor(step), "log_alpha": log_alpha.detach(), "generator": generator.get_state()}
    held["seconds"] = torch.tensor(time.perf_counter() - started, dtype=torch.float64)
    for name, part in parts.items():
        held |= {f"{name}.{key}": value for key, value in part.state().items()}
    return {name: value.cpu().clone() for name, value in held.items()}


def _under(name: str, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The entries of one part."""
    return {key.removeprefix(name): value.clone() for key, value in state.items() if key.startswith(name)}


class _Anchor:
    """Holds the mean logit difference at the full model's level: ``weight x (mean error)²`` beside KL.

    KL hardly sees how improbable a circuit makes the distractor: SmolLM2 circuits of 1 % of the edges had KL 0.3
    and a logit difference 13 % above the full model's. The mean is one of some ten batches; it gives the
    gradient ``2 weight (mean error) d error``, in which no batch's own noise is squared.
    """

    DECAY = 0.9

    def __init__(self, weight: float) -> None:
        self.weight, self.mean, self.share = weight, 0.0, 0.0

    @property
    def slope(self) -> float:
        return 2 * self.weight * self.mean / self.share if self.share else 0.0

    def see(self, error: float) -> None:
        self.mean += (1 - self.DECAY) * (error - self.mean)
        self.share += (1 - self.DECAY) * (1 - self.share)

    def state(self) -> dict[str, Tensor]:
        return {name: torch.tensor(getattr(self, name), dtype=torch.float64) for name in ("mean", "share")}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        self.mean, self.share = float(state["mean"]), float(state["share"])


class _Judge:
    """Tests the circuit of a state on validation prompts, once the budget has reached its target."""

    def __init__(self, validation: Prepared | None, candidates: Circuit, target: int, config: PruningConfig) -> None:
        self.validation, self.candidates, self.target = validation, candidates, target
        self.config = config
        self.first = math.ceil(config.descent * config.steps)
        self.best: np.ndarray | None = None
        self._kl, self._since = math.inf, 0

    def look(self, step: int, log_alpha: np.ndarray) -> float | None:
        last = step == self.config.steps
        if step < self.first or (step % CHECK_STEPS and not last):
            return None
        self._since += 1
        return self.test(log_alpha)

    def test(self, log_alpha: np.ndarray) -> float | None:
        """Held-out KL of the state's circuit; None without validation prompts."""
        if self.validation is None:
            return None
        kl = circuit_kl(self.validation, cut_live(self.candidates, log_alpha, self.target))
        if kl < self._kl:
            self.best, self._kl, self._since = log_alpha, kl, 0
        return kl

    def state(self) -> dict[str, Tensor]:
        held = {"kl": torch.tensor(self._kl, dtype=torch.float64), "since": torch.tensor(self._since)}
        return held if self.best is None else held | {"best": torch.from_numpy(self.best)}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        self._kl, self._since = float(state["kl"]), int(state["since"])
        self.best = state["best"].numpy() if "best" in state else None

    @property
    def settled(self) -> bool:
        return self.validation is not None and self._since >= self.config.patience


def warm_start(
    candidates: Circuit, config: PruningConfig, scores: Float[np.ndarray, "writer reader"]
) -> Float[np.ndarray, " candidate"]:
    """``init + c (rank - 1/2)`` with rank 1 for the best score among the candidates, 0 for the worst."""
    order = np.argsort(np.argsort(np.abs(scores[candidates.kept]), kind="stable"))
    share = order.astype(np.float32) / max(1, len(candidates) - 1)
    return np.float32(config.init) + np.float32(config.warm_start) * (share - np.float32(0.5))


def cut(candidates: Circuit, log_alpha: Float[np.ndarray, " candidate"], count: int) -> Circuit:
    """The `count` candidates of largest log alpha, dead ones included."""
    order = np.argsort(-log_alpha, kind="stable")[:count]
    kept = np.zeros_like(candidates.kept)
    chosen = np.argwhere(candidates.kept)[order]
    kept[chosen[:, 0], chosen[:, 1]] = True
    return Circuit(candidates.graph, kept)


def cut_live(candidates: Circuit, log_alpha: Float[np.ndarray, " candidate"], live: int) -> Circuit:
    """The longest prefix of the ranking by log alpha with at most `live` live edges.

    Dead edges change no logit, so they should not use up the budget: the places of the dead ones
    among the `live` best go to the next best. The live count never falls along the ranking.
    """
    least = min(live, len(candidates))
    more = range(least + 1, len(candidates) + 1)
    fit = bisect_right(more, live, key=lambda count: len(cut(candidates, log_alpha, count).live))
    return cut(candidates, log_alpha, least + fit)
