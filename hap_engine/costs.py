"""What a run costs, counted: operations, small operations started, and bytes (no torch).

`hap_engine.estimate` turns these counts into seconds and gigabytes on a machine.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from hap_engine.limits import Limits
from hap_engine.machine import Machine
from hap_engine.settings import DiscoveryConfig, kept_share
from hap_engine.shape import Shape
from hap_engine.tasks import SplitSizes

# What the engine does whatever the settings; a test holds them equal to the engine's own.
EAP_PROMPTS, IG_PROMPTS, IG_STEPS, ROLE_PROMPTS, RANDOM_CIRCUITS = 200, 64, 5, 48, 3
SCORE_BATCH, TEST_BATCH = 16, 32
VALIDATED = 64
BOTH = 1.8  # in bfloat16 much is held in both precisions: measured on GPT-2's and SmolLM2's shapes
PHASES = ("load", "prompts", "score", "prune", "evaluate", "roles")


@dataclass(frozen=True)
class Work:
    """What a phase costs: operations in float32, in the training precision, and how many start."""

    float32: float = 0.0
    mixed: float = 0.0
    started: float = 0.0

    def __add__(self, other: Work) -> Work:
        return Work(
            self.float32 + other.float32, self.mixed + other.mixed, self.started + other.started
        )

    def __mul__(self, times: float) -> Work:
        return Work(self.float32 * times, self.mixed * times, self.started * times)

    def exact(self) -> Work:
        """The same work, all of it in float32."""
        return Work(self.float32 + self.mixed, 0.0, self.started)

    def seconds(self, machine: Machine, dtype: str, a: float, b: float) -> float:
        flops = self.float32 / machine.float32 + self.mixed / machine.rate(dtype)
        return a * flops + b * self.started * machine.dispatch


def _pass(shape: Shape, tokens: float, prompts: float, batch: float, share: float = 0.0) -> Work:
    """One forward pass over prompts; `share` of all edges are mixed from deltas."""
    per_token = 2 * shape.attention + 4 * shape.layers * shape.heads * shape.head_width * tokens
    unembed = 2 * shape.vocabulary * shape.width  # at one position only
    mixing = 2 * shape.edges * share * shape.width * tokens
    return Work(
        prompts * (tokens * per_token + unembed),
        prompts * (2 * shape.mlp * tokens + mixing),
        math.ceil(prompts / batch) * shape.layers,
    )


def workload(config: DiscoveryConfig, shape: Shape, tokens: float) -> dict[str, Work]:
    """The work of each phase of a run whose prompts have `tokens` tokens."""
    sizes, pruning = split_sizes(config), config.pruning
    train, batch = sizes.train, pruning.batch_size
    found = {"load": Work(float32=2 * 4 * 48 * (shape.attention + shape.mlp), started=shape.layers)}
    found["prompts"] = _pass(shape, tokens, 2 * train, TEST_BATCH / 2)
    scored = min(EAP_PROMPTS, train)
    found["score"] = _pass(shape, tokens, 2 * scored, SCORE_BATCH / 3)
    found["score"] += _pass(shape, tokens, 3 * scored, SCORE_BATCH / 3, 1.0)
    if config.method == "hap" and config.scorer != "eap":
        few = min(IG_PROMPTS, train)
        found["score"] += _pass(shape, tokens, 2 * few, SCORE_BATCH / 3)
        found["score"] += _pass(shape, tokens, (3 * IG_STEPS + 1) * few, SCORE_BATCH / 3, 1.0)
    found["score"] = found["score"].exact()
    found["prompts"] += _pass(shape, tokens, 2 * min(VALIDATED, sizes.validation), TEST_BATCH / 2)
    found["prune"] = Work()
    if config.method != "eap":
        share = mean_share(kept_share(config), 1 - config.sparsity, pruning.descent)
        found["prune"] = _pass(shape, tokens, 3 * pruning.steps * batch, batch / 3, share)
    circuits = 3 + RANDOM_CIRCUITS + (config.method != "eap")
    found["evaluate"] = _pass(shape, tokens, (2 + circuits) * sizes.test, TEST_BATCH)
    found["roles"] = _pass(shape, tokens, 2 * ROLE_PROMPTS, ROLE_PROMPTS / 4)
    return found


def split_sizes(config: DiscoveryConfig) -> SplitSizes:
    """How many prompts each split has; own prompts have as many as there are."""
    return SplitSizes(**config.to_dict()["sizes"])


def mean_share(kept: float, target: float, descent: float) -> float:
    """Mean over the steps of the share of edges: it falls geometrically, then stays at the target."""
    target = min(target, kept)
    falling = kept if kept == target else (kept - target) / math.log(kept / target)
    return descent * falling + (1 - descent) * target


def memory(
    config: DiscoveryConfig, shape: Shape, tokens: float, limits: Limits | None = None
) -> dict[str, float]:
    """Bytes at the peak, by what holds them."""
    limits = limits or Limits()
    size = 2 if config.dtype == "bfloat16" else 4
    batch = max(config.pruning.batch_size if config.method != "eap" else 1, SCORE_BATCH)
    batch = min(batch, limits.batch)
    slots = shape.slots + shape.heads
    trace = 4 * tokens * shape.layers * (3 * shape.width + slots * shape.head_width)
    sizes = split_sizes(config)
    prompts = sizes.train + min(VALIDATED, sizes.validation)
    kept = prompts * trace
    rows = batch * tokens
    deltas = 2 * size * shape.writers * rows * shape.width
    if config.scorer != "eap" and config.method == "hap":
        deltas *= 1.5  # the deltas at the clean point stay while the gradient is taken at others
    layer = (
        4 * shape.slots * shape.width + 4 * slots * shape.head_width + 4 * shape.inner
        + 3 * shape.heads * tokens + 8 * shape.width
    )  # fmt: skip
    return {
        "weights": 4 * (shape.parameters + shape.attention) + (size == 2) * 2 * shape.mlp,
        "prompts": (kept if kept <= limits.cache else min(TEST_BATCH, limits.batch) * trace)
        + 2 * 4 * prompts * shape.vocabulary,
        "deltas": deltas,
        "activations": 4 * rows * shape.layers * layer * (BOTH if size == 2 else 1)
        + 4 * 4 * batch * shape.vocabulary,
    }
