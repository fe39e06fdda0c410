"""Three ways to hold Edge Pruning's edge budget.

* ``projection`` (ours): the loss is KL alone. After each optimiser step one scalar, found by
  bisection, is added to every log alpha so that the expected number of open gates equals the
  scheduled budget. The schedule falls geometrically from where the gates start to the target. All
  gates share one step size (`SharedAdam`), and the gates' noise fades in the last part of the run,
  so that few are still half open when the best are cut out.
* ``every-size`` (ours): the same descent, whose gates learn to be cut at every size on the way. Each step draws a
  budget between the loosest and the scheduled one and shifts all gates onto it before they are sampled, so that
  their order is one nested ranking from the loosest size to the tightest.
* ``lagrangian`` (published): the loss adds ``l1 (s - t) + l2 (s - t)^2`` with the sampled sparsity s, a
  target t that rises linearly, and multipliers l1, l2 that ascend; AdamW with its weight decay.

Both take the gradient of KL with respect to the gates' values, so the prompts of a step may be visited
in parts.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from hap_engine.pruning import gates
from hap_engine.settings import PruningConfig


class Leg(NamedTuple):
    """A part of a descent: `steps` on the best `candidates`, down to `target` edges."""

    steps: int
    candidates: int
    target: int


class SharedAdam:
    """Adam with one second moment for all gates (their mean) instead of one each.

    Adam's own scaling moves a gate whose gradient is only noise as far as one that matters, so with
    few steps the useless gates drift at random. With a shared scale they hardly move, and the
    projection closes them. Measured on hap-mini, 30 edges, 200 steps, two seeds: held-out KL 0.07
    and 0.31 instead of 0.35 and 0.67.

    Gradients of gates have long tails: on SmolLM2 the largest of one batch is 20 to 110 times their RMS. With a
    shared scale such a gate would move as many units at once, and a gate thrown far below zero is closed for
    good, for its gradient is zero there. So a batch pulls a gate down with at most `clip` times the running RMS
    (0: in full), and up with ten times that: edges that nothing works without must get out of the noise's reach.
    """

    RISE = 10.0

    def __init__(self, parameter: Tensor, lr: float, clip: float, betas: tuple[float, float] = (0.9, 0.999)) -> None:
        self.parameter, self.lr, self.betas = parameter, lr, betas
        self.clip = clip or math.inf
        self.mean = torch.zeros_like(parameter)
        self.square = torch.zeros((), device=parameter.device)
        self.steps = 0

    @torch.no_grad()
    def step(self, gradient: Tensor) -> None:
        """Move the parameter against `gradient`."""
        self.steps += 1
        one, two = self.betas
        self.square.lerp_(gradient.square().mean(), 1 - two)
        scale = (self.square / (1 - two**self.steps)).sqrt() + 1e-12
        self.mean.lerp_((gradient / scale).clamp(-self.RISE * self.clip, self.clip) * scale, 1 - one)
        self.parameter -= self.lr * self.mean / (1 - one**self.steps) / scale

    def state(self) -> dict[str, Tensor]:
        return {"mean": self.mean, "square": self.square, "steps": torch.tensor(self.steps)}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        device = self.parameter.device
        self.mean, self.square = state["mean"].to(device), state["square"].to(device)
        self.steps = int(state["steps"])


class Projection:
    """KL alone; the budget is met in expectation after every step.

    Attributes:
        starts_ranked: gates start in the order of scores where there are any.
        keeps_best: of the states that reached the target the one that is best on validation prompts is taken,
            and the descent ends when none better came for a while; otherwise the last state, after all steps.
        ranks_sizes: the order of the gates is good at every size, not only at the target.
        evens: the power of its RMS that each gradient is divided by; 0 leaves them as they are.
    """

    starts_ranked = True
    keeps_best = True
    ranks_sizes = False
    evens = 0.0
    QUIET = 0.1  # noise at the last step; at 0 the gradient of a decided gate would vanish

    def __init__(self, log_alpha: Tensor, target: int, config: PruningConfig) -> None:
        self.log_alpha, self.target, self.config = log_alpha, target, config
        self.optimiser = SharedAdam(log_alpha, config.lr, config.clip)
        self.start = gates.open_probability(log_alpha.detach()).sum().item()

    @classmethod
    def legs(cls, count: int, target: int, steps: int) -> list[Leg]:
        """The descents that follow one another; each goes on from the best edges of the one before."""
        return [Leg(steps, count, target)]

    @staticmethod
    def equal_start(count: int, config: PruningConfig, generator: torch.Generator) -> Float[Tensor, " edge"]:
        """All gates nearly open, for a start without scores."""
        return torch.full((count,), float(config.init))

    def sample(self, generator: torch.Generator, step: int) -> Float[Tensor, " edge"]:
        """Gates' values for a step, with their gradient."""
        return gates.sample(self.log_alpha, generator, self.noise(step))

    def noise(self, step: int) -> float:
        """1 until ``harden`` of the steps are done, then falling to `QUIET`."""
        share, start = step / self.config.steps, self.config.harden
        return 1.0 if share <= start else 1 - (1 - self.QUIET) * (share - start) / (1 - start)

    def step(self, gradient: Float[Tensor, " edge"], z: Float[Tensor, " edge"], step: int) -> float:
        """Move the gates against `gradient` (d loss / d z) and back onto the budget, which is returned."""
        self.optimiser.step(*torch.autograd.grad(z, self.log_alpha, gradient))
        allowed = self.scheduled(step)
        with torch.no_grad():
            self.log_alpha += gates.project(self.log_alpha, allowed, self.noise(step))
        return allowed

    def scheduled(self, step: int) -> float:
        """Geometric descent from what is open at the start to the target."""
        share = min(1.0, step / (self.config.descent * self.config.steps))
        return float(min(self.start, self.start * (self.target / self.start) ** share))

    def state(self) -> dict[str, Tensor]:
        """All that the next steps depend on but the gates; tensors may be the live ones."""
        return self.optimiser.state() | {"start": torch.tensor(self.start, dtype=torch.float64)}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        self.optimiser.restore(state)
        self.start = float(state["start"])


class EverySize(Projection):
    """One descent for circuits of every size: the order of its gates is their nested ranking.

    A circuit of one size is found by gates that are cut there. Here half of the steps are cut at the front, which
    falls as `Projection`'s budget does, and half at a size drawn (log-uniformly) from what lies behind it, so that
    the looser circuits are not forgotten. Its circuits are those of a leg's last state: no state in between is the
    best at all sizes.

    The tight end takes most of the learning and few candidates, so the second of two legs has the tenth to itself that
    the first one ends with. What a leg learned holds for its best half; the others keep their places, for near its
    start a leg is not at its best. Measured on SmolLM2 (IOI, seed 0, bfloat16, 150 steps, 64 unseen prompts): from
    a fifth KL at 99, 99.5 and 99.8 % was 0.48, 0.87, 1.32, from a tenth 0.34, 0.50, 0.94; at 94 and 96 % it was
    0.27 and 0.26 by the second leg's order, 0.21 and 0.23 with its best half alone.
    """

    keeps_best = False
    ranks_sizes = True
    # At 0 the steps at tight sizes, whose KL is many times that of the loose ones, decide alone how far the gates move;
    # at 1 all steps pull alike. Mean KL of hap-mini, three seeds, at 80, 90, 94, 96 and 98 % was 0.005, 0.013, 0.021,
    # 0.027, 0.111 at 0; 0.004, 0.008, 0.011, 0.017, 0.077 at 0.5; 0.004, 0.005, 0.008, 0.021, 0.091 at 1. On SmolLM2,
    # seed 0, at 90, 96, 98, 99, 99.5 and 99.8 %: 0.29, 0.22, 0.30, 0.34, 0.65, 0.96; 0.21, 0.21, 0.25, 0.38, 0.80,
    # 1.01; 0.18, 0.19, 0.29, 0.36, 0.85, 1.30.
    evens = 0.5
    AT_FRONT = 0.6  # of the steps; the others hold what was found at the looser sizes
    FIRST = 0.4  # of the steps
    FEWEST = 10  # edges; hardly any circuit is smaller

    @classmethod
    def legs(cls, count: int, target: int, steps: int) -> list[Leg]:
        tightest = min(target, max(count // 200, cls.FEWEST))
        middle = count // 10
        if middle <= tightest or steps < 10:
            return [Leg(steps, count, tightest)]
        first = round(cls.FIRST * steps)
        return [Leg(first, count, middle), Leg(steps - first, middle, tightest)]

    def sample(self, generator: torch.Generator, step: int) -> Float[Tensor, " edge"]:
        at_front, between = torch.rand(2, generator=generator).tolist()
        front = self.scheduled(step)
        size = front if at_front < self.AT_FRONT else self.start * (front / self.start) ** between
        noise = self.noise(step)
        shift = gates.project(self.log_alpha, size, noise)
        return gates.sample(self.log_alpha + shift, generator, noise)


class Lagrangian:
    """The published recipe (`settings.PRESETS["published"]`): AdamW with its default weight decay on gates
    and multipliers, linear warm-up and decay of the rate, a linear ramp of the target, sampled sparsity.

    Its gates start equal whatever is known, and its circuit is that of its last state.
    """

    starts_ranked = False
    keeps_best = False
    ranks_sizes = False
    evens = 0.0
    INIT, SPREAD = 10.0, 0.01  # of the normal distribution of its start
    WARM_UP = 200 / 3000  # shares of the published 3,000 steps
    RAMP = 2500 / 3000

    def __init__(self, log_alpha: Tensor, target: int, config: PruningConfig) -> None:
        self.log_alpha, self.steps = log_alpha, config.steps
        self.goal = 1 - target / len(log_alpha)
        self.multipliers = torch.zeros(2, device=log_alpha.device, requires_grad=True)
        groups: list[dict[str, Any]] = [{"params": [log_alpha]}, {"params": [self.multipliers], "maximize": True}]
        self.optimiser = torch.optim.AdamW(groups, lr=config.lr)
        warm = max(1, round(self.WARM_UP * config.steps))
        self.schedule = torch.optim.lr_scheduler.LambdaLR(
            self.optimiser, lambda done: min((done + 1) / warm, (config.steps - done) / max(1, config.steps - warm))
        )

    @classmethod
    def legs(cls, count: int, target: int, steps: int) -> list[Leg]:
        return [Leg(steps, count, target)]

    @staticmethod
    def equal_start(count: int, config: PruningConfig, generator: torch.Generator) -> Float[Tensor, " edge"]:
        return Lagrangian.INIT + Lagrangian.SPREAD * torch.randn(count, generator=generator)

    def sample(self, generator: torch.Generator, step: int) -> Float[Tensor, " edge"]:
        return gates.sample(self.log_alpha, generator)

    def noise(self, step: int) -> float:
        return 1.0

    def step(self, gradient: Float[Tensor, " edge"], z: Float[Tensor, " edge"], step: int) -> float:
        """Descend ``gradient · z`` (whose gradient is that of the loss) and the penalty; returns the budget."""
        goal = self.goal * min(1.0, step / (self.RAMP * self.steps))
        gap = 1 - z.mean() - goal
        penalty = self.multipliers[0] * gap + self.multipliers[1] * gap**2
        self.optimiser.zero_grad()
        (gradient @ z + penalty).backward()
        self.optimiser.step()
        self.schedule.step()
        return (1 - goal) * len(self.log_alpha)

    def state(self) -> dict[str, Tensor]:
        """As `Projection.state`."""
        held = {"multipliers": self.multipliers.detach()}
        for name, parameter in self._named():
            moments = self.optimiser.state[parameter]
            held |= {f"{name}.{kind}": value for kind, value in moments.items()}
        return held

    def restore(self, state: Mapping[str, Tensor]) -> None:
        with torch.no_grad():
            self.multipliers.copy_(state["multipliers"])
        for name, parameter in self._named():
            moments = {key.partition(".")[2]: value for key, value in state.items() if key.startswith(f"{name}.")}
            count = moments.pop("step")  # stays on the processor, as AdamW keeps it
            self.optimiser.state[parameter] = {"step": count} | {
                kind: value.to(parameter.device) for kind, value in moments.items()
            }
        done = int(state["gates.step"])
        self.schedule.last_epoch = done
        for group, rate in zip(self.optimiser.param_groups, self.schedule.base_lrs, strict=True):
            group["lr"] = rate * self.schedule.lr_lambdas[0](done)

    def _named(self) -> tuple[tuple[str, Tensor], tuple[str, Tensor]]:
        return ("gates", self.log_alpha), ("pair", self.multipliers)


BUDGETS: dict[str, type[Projection] | type[Lagrangian]] = {
    "projection": Projection,
    "every-size": EverySize,
    "lagrangian": Lagrangian,
}
