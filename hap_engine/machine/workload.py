"""What a run costs, counted: operations, small operations started, and bytes (no torch).

`estimate.py` turns these counts into seconds and gigabytes on a machine.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass, replace
from itertools import accumulate
from operator import add

from hap_engine.machine.memory import Limits
from hap_engine.machine.speed import Machine
from hap_engine.models.shape import Shape
from hap_engine.settings import (
    EAP_PROMPTS,
    GRID,
    IG_PROMPTS,
    IG_STEPS,
    RANDOM_CIRCUITS,
    RANDOM_PROMPTS,
    ROLE_PROMPTS,
    VALIDATED,
    DiscoveryConfig,
    kept_share,
    prompts_at_sizes,
)
from hap_engine.tasks.task import SplitSizes

SCORE_BATCH = 16  # prompts of a pass that scores edges
RUN_BATCH = 32  # prompts of a pass without gradients
LOOK_AHEAD = 80  # readers mixed in one product: measured best at 48-96 on SmolLM2's and GPT-2's shapes
SPARSE = 0.25  # of the pairs have an edge: measured on processors, sums are faster below 0.22 to 0.5
# Edges times d_model. On a processor oneDNN makes a bfloat16 kernel ready for each shape it meets, which takes hap-mini
# (2e5) as long again and 0.6 GB; GPT-2 small (2e7) gains.
LITTLE = 5e6
PIECE = 2**24  # numbers of a large matrix that are widened together: an unembedding of 260 million takes 1 GB at once
# Times what a pass holds, on a processor: the C library keeps freed pieces. It was 1.42 in a run of 0.18 billion
# weights, and a limit in memory must hold.
HEAP = 1.6
KERNELS = 4e7  # of bfloat16 products, made ready for each shape they meet: measured on hap-mini
# By how much a step of an attention that is not written out is longer, with all edges and with a hundredth of them: all
# heads are computed at all tokens. Measured on six layers of SmolLM2's shape, 16 prompts of 20 tokens.
SLOWER = {"closed": (0.0, 0.0), "prepared": (0.06, 0.36), "replayed": (0.08, 0.50)}
AT_SPANS = 0.3  # likewise with all edges where they act at spans; with a hundredth it is not (benchmarks: positions)
MOMENTS = 100  # of a descent, for a mean over it
CELL = 24  # bytes of a pair of writer and reader: masks, their gradients, scores
OF_SPANS = 8  # as many as the roles of IOI: each has readers of its own
# What holds memory, in the order in which it is made.
HELD = {
    "base": "the program itself",
    "kernels": "the kernels of bfloat16",
    "weights": "the weights",
    "prompts": "the corrupt runs of the prompts",
    "deltas": "the deltas",
    "activations": "the activations",
}


@dataclass(frozen=True)
class Work:
    """What a phase costs: operations in float32, in the training precision, bytes, and how many start
    in float32 and in bfloat16, where numbers are converted and kernels made ready for each shape."""

    float32: float = 0.0
    mixed: float = 0.0
    bytes: float = 0.0
    started: float = 0.0
    converted: float = 0.0

    def __add__(self, other: Work) -> Work:
        return Work(*map(add, astuple(self), astuple(other)))

    def longer(self, factor: float) -> Work:
        """The same, `factor` times."""
        return Work(*(factor * part for part in astuple(self)))

    def exact(self) -> Work:
        """The same work, all of it in float32."""
        return replace(self, float32=self.float32 + self.mixed, mixed=0.0)

    def seconds(self, machine: Machine, dtype: str) -> tuple[float, float, float, float]:
        """Of multiplying, of moving memory and of starting, on an ideal machine of these speeds."""
        flops = self.float32 / machine.float32 + self.mixed / machine.rate(dtype)
        moved = self.bytes / machine.bandwidth
        return flops, moved, self.started * machine.dispatch, self.converted * machine.dispatch


def look_ahead(slots: int) -> int:
    """How many layers of so many slots have their readers mixed together."""
    return max(1, round(LOOK_AHEAD / (slots + 1)))


def _pass(
    shape: Shape, tokens: float, prompts: float, batch: float, live: float = 0.0, sizes: tuple[int, int] = (4, 4)
) -> Work:
    """One forward pass over prompts; a share of the readers mix deltas. `sizes` are the bytes of a number in MLPs and
    in deltas."""
    (size, mix), passes, readers = sizes, prompts / batch, shape.layers * (shape.slots + 1)
    per_token = 2 * shape.attention + 4 * shape.layers * shape.heads * shape.head_width * tokens
    unembed = 2 * shape.vocabulary * shape.width  # at one position only
    weights = 4 * shape.attention + size * shape.experts + 4 * shape.vocabulary * shape.width
    layer = 8 * shape.width + 3 * shape.slots * shape.head_width + 4 * shape.inner + 3 * shape.heads * tokens
    ahead = look_ahead(shape.slots)
    mixed = 8 * readers + shape.writers * (shape.layers / ahead + ahead) / 2
    moved = 4 * shape.layers * layer + mix * live * mixed * shape.width
    mixing = live * tokens * 2 * shape.edges * shape.width
    exact = mixing if mix == 4 else 0.0
    starts = math.ceil(passes) * shape.layers
    return Work(
        prompts * (tokens * per_token + exact + unembed),
        prompts * (tokens * 2 * shape.mlp + mixing - exact),
        passes * weights + prompts * tokens * moved,
        starts,
        starts if size == 2 else 0.0,
    )


def live_readers(share: float) -> float:
    """Share of the mixing that a share of all edges still takes: measured on SmolLM2 and GPT-2's shape."""
    return float(min(1.0, (share / 0.28) ** 0.27))


def slower(config: DiscoveryConfig, shape: Shape, live: float) -> float:
    """How many times as long a step takes whose attention is in its family's own words, or whose edges act at spans.

    Args:
        live: share of the readers, as in `live_readers`.
    """
    whole, sparse = SLOWER[shape.way]
    whole += AT_SPANS * config.positional
    return 1 + whole + (sparse - whole) * (1 - live) / (1 - live_readers(0.01))


def _loading(shape: Shape) -> Work:
    """Opening the weights, taking them apart and checking two prompts of 24 tokens on both ends."""
    weights = shape.attention + shape.mlp
    return Work(float32=2 * 4 * 48 * weights, bytes=20 * shape.parameters, started=shape.layers)


def workload(config: DiscoveryConfig, shape: Shape, tokens: float) -> dict[str, Work]:
    """The work of each phase of a run whose prompts have `tokens` tokens."""
    sizes, pruning = split_sizes(config), config.pruning
    train, batch = sizes.train, pruning.batch_size
    phases = {"load": _loading(shape)}
    phases["prompts"] = _pass(shape, tokens, 2 * train, RUN_BATCH / 2)
    scored = min(EAP_PROMPTS, train)
    phases["score"] = _pass(shape, tokens, 2 * scored, SCORE_BATCH / 3)
    phases["score"] += _pass(shape, tokens, 3 * scored, SCORE_BATCH / 3, 1.0)
    if config.candidate_scorer != "eap":
        few = min(IG_PROMPTS, train)
        phases["score"] += _pass(shape, tokens, 2 * few, SCORE_BATCH / 3)
        phases["score"] += _pass(shape, tokens, (3 * IG_STEPS + 1) * few, SCORE_BATCH / 3, 1.0)
    phases["score"] = phases["score"].exact().longer(slower(config, shape, 1.0))
    phases["prompts"] += _pass(shape, tokens, 2 * min(VALIDATED, sizes.validation), RUN_BATCH / 2)
    phases["prune"] = Work()
    if config.method != "eap":
        # Of a run for every size many steps lie behind the front, as if it fell over all of them.
        descent = 1.0 if pruning.budget == "every-size" else pruning.descent
        live = mean_over(live_readers, kept_share(config), 1 - config.sparsity, descent)
        phases["prune"] = _pass(shape, tokens, 3 * pruning.steps * batch, batch / 3, live, sizes_of(config, shape))
        phases["prune"] = phases["prune"].longer(slower(config, shape, live))
    circuits, few = 3 + (config.method != "eap"), prompts_at_sizes(sizes.test)
    learned = prompts_at_sizes(train) if config.method != "eap" else 0  # the circuit on its own prompts
    plain = (2 + circuits) * sizes.test + (2 + RANDOM_CIRCUITS) * min(RANDOM_PROMPTS, few) + learned
    phases["evaluate"] = _pass(shape, tokens, plain, RUN_BATCH).exact()
    if config.method != "eap" and pruning.budget == "every-size":
        orders = 2 + (config.candidate_scorer != "eap")
        live = sum(map(live_readers, GRID)) / len(GRID)
        measured = len(GRID) * (orders * few + min(RANDOM_PROMPTS, few))
        phases["evaluate"] += _pass(shape, tokens, measured, RUN_BATCH, live).exact()
    phases["roles"] = _pass(shape, tokens, 2 * ROLE_PROMPTS, ROLE_PROMPTS / 4).exact()
    return phases


def sizes_of(config: DiscoveryConfig, shape: Shape) -> tuple[int, int]:
    """Bytes of a number in the MLPs of a pruning step, and in its deltas (`MaskedModel.with_dtype`)."""
    if config.dtype != "bfloat16":
        return 4, 4
    return 2, 4 if shape.edges * shape.width < LITTLE and config.device == "cpu" else 2


def split_sizes(config: DiscoveryConfig) -> SplitSizes:
    """How many prompts each split has; own prompts have as many as there are."""
    return SplitSizes(**config.to_dict()["sizes"])


def mean_over(cost: Callable[[float], float], first: float, target: float, descent: float) -> float:
    """Mean over the steps of what a share of edges costs: it falls geometrically, then stays at the target."""
    target = min(target, first)
    parts = [(i + 0.5) / MOMENTS for i in range(MOMENTS)]
    shares = [first * (target / first) ** min(1.0, part / descent) for part in parts]
    return sum(map(cost, shares)) / MOMENTS


def memory(
    config: DiscoveryConfig, shape: Shape, tokens: float, limits: Limits | None = None, before: int = 0
) -> dict[str, float]:
    """Bytes at the peak, by what holds them.

    Args:
        before: layers on other cards, whose deltas are held as well.
    """
    limits = limits or Limits()
    size, mix = sizes_of(config, shape)
    trace = 4 * tokens * shape.layers * (2 * shape.width + (shape.slots + shape.heads) * shape.head_width)
    sizes = split_sizes(config)
    few = prompts_at_sizes(sizes.test)  # always in float32
    prompts = sizes.train + min(VALIDATED, sizes.validation) + few
    traces = prompts * trace
    # scores are taken in float32: in bfloat16 from corrupt runs of their own
    again = min(EAP_PROMPTS, sizes.train) * trace if size == 2 else 0.0
    away = limits.aside and config.device != "cpu"
    if limits.aside:
        traces = ((prompts - few) * size / 4 + few) * trace
    kept = [0.0 if away or held > limits.cache else held for held in (traces, again)]
    batch = min(RUN_BATCH, limits.batch) * trace if limits.aside or traces > limits.cache else 0.0
    deltas, activations = max(passes(config, shape, tokens, limits, before), key=sum)
    wide, heap = shape.stored == "float32", HEAP if config.device == "cpu" else 1.0
    return {
        "kernels": KERNELS if size == 2 else 0.0,
        "weights": (4 * (shape.parameters + shape.attention) if wide else (shape.bits or 16) / 8 * shape.parameters)
        + (size == 2 and shape.stored != "bfloat16") * 2 * shape.experts
        + (mix == 2 and wide) * 2 * shape.attention,
        "prompts": sum(kept) + batch + 2 * 4 * prompts * shape.vocabulary,
        "deltas": heap * deltas,
        "activations": heap * activations,
    }


def passes(
    config: DiscoveryConfig, shape: Shape, tokens: float, limits: Limits, before: int = 0
) -> Iterator[tuple[float, float]]:
    """Bytes of deltas, with what their readers get, and of activations, in a pass that scores edges, in one that learns
    and in one that measures; with all edges."""
    (size, mix), width, readers = sizes_of(config, shape), shape.width, shape.layers * (shape.slots + 1)
    writers = replace(shape, layers=before + shape.layers).writers
    together = look_ahead(shape.slots) * (shape.slots + 1)
    spans = OF_SPANS if config.positions else 1
    cells = CELL * spans * writers * (readers + 1)
    heads = (shape.slots + 3 * shape.heads) * shape.head_width + shape.heads * tokens  # products, q, k, v, patterns
    inner = shape.inner * (3 if shape.matrices == 3 else 1)
    logits = 4 * 4 * shape.vocabulary
    # Of weights that are narrower, a matrix or a layer's heads are made float32 where they are used.
    used = 0.0
    if shape.stored != "float32":
        used = max(4 * min(width * shape.inner, PIECE), 6 * shape.slots * shape.head_width * width)

    batch = min(SCORE_BATCH, limits.batch, split_sizes(config).train)
    rows = batch * tokens
    spread = writers if config.positions else 0  # those at the tokens of a span, side by side
    yield (
        4 * rows * width * (writers + spread + together) + cells,
        4 * rows * shape.layers * (2 * width + heads + inner) + batch * logits + used,
    )
    if config.method != "eap":
        batch = min(config.pruning.batch_size, limits.batch)
        rows = batch * tokens
        grads = 0 if config.device == "cpu" and kept_share(config) < SPARSE else writers
        yield (
            mix * width * ((rows + batch) * (writers + grads) + rows * readers) + cells,
            rows * shape.layers * (4 * (width + heads) + size * inner)
            + (mix == 2) * 4 * rows * shape.slots * width  # of a layer, to take the norms of
            + batch * logits
            + used,
        )
    batch = min(RUN_BATCH, limits.batch, max(1, split_sizes(config).test))  # of passes without gradients
    rows = batch * tokens
    yield (
        4 * width * ((rows + batch) * writers + rows * together),
        4 * rows * (4 * width + 2 * heads + 2 * inner) + batch * logits + used,
    )


def memory_on_cards(
    config: DiscoveryConfig, shape: Shape, tokens: float, layers: Sequence[int], limits: Limits | None = None
) -> list[dict[str, float]]:
    """`memory` of each card that has so many of the layers, in order.

    The two ends of the model are on the first. A card's deltas are those of all writers before the end of its layers.
    """
    held, done = list[dict[str, float]](), 0
    for count in layers:
        own = replace(shape, layers=count, vocabulary=0 if held else shape.vocabulary)
        held.append(memory(config, own, tokens, limits, before=done))
        done += count
    return held


def first_beyond(held: Mapping[str, float], room: float) -> str:
    """The first part that no longer fits, in words; empty if all do."""
    totals = zip(held, accumulate(held.values()), strict=True)
    return next((HELD[name] for name, total in totals if total > room), "")
