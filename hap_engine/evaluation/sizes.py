"""One order of the edges, measured at every size: where does a method lose the model?

The circuits of a grid of sizes, of every order that a run has and of random control circuits, are measured in one pass
over held-out prompts. CPR and CMD (Mueller et al. 2025, MIB) come from the same numbers.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from typing import Any

import numpy as np

from hap_engine.evaluation.curves import areas_at, share_of
from hap_engine.evaluation.evaluate import Setting
from hap_engine.evaluation.measure import Outcome, measure
from hap_engine.evaluation.metrics import faithfulness
from hap_engine.evaluation.statistics import bootstrap_interval
from hap_engine.graph.circuit import Circuit, empty_circuit, random_circuit
from hap_engine.graph.edge_order import EdgeOrder
from hap_engine.graph.graph import Graph
from hap_engine.masked.masked_pass import MaskedModel
from hap_engine.progress import Progress, relabelled
from hap_engine.runs.schema import ADDED_VERSION
from hap_engine.settings import AT_SIZES, GRID
from hap_engine.tasks.pair import EncodedPair

SHOWN = ("kl", "logit_diff", "accuracy", "exact_match")


def grid(graph: Graph, target: int) -> list[int]:
    """Live edges at the shares of `GRID` and at the run's own size, descending, none under a path's two edges."""
    sizes = {share_of(graph.n_edges, share) for share in GRID} | {target}
    return sorted((size for size in sizes if size >= 2), reverse=True)


def measure_sizes(
    masked: MaskedModel,
    pairs: Sequence[EncodedPair],
    orders: Mapping[str, EdgeOrder],
    target: int,
    setting: Setting,
    batch_size: int,
) -> Generator[Progress, None, dict[str, Any]]:
    """The run file's ``sizes``: every order with its circuits' metrics at every size of the grid.

    Args:
        orders: by the name of the method or scorer; `random` is added.
        target: live edges of the run's own circuit.
    """
    graph, few = masked.graph, pairs[:AT_SIZES]
    sizes = grid(graph, target)
    rng = np.random.default_rng(setting.seed)
    circuits: dict[tuple[str, int], Circuit] = {("empty", 0): empty_circuit(graph)}
    for size in sizes:
        circuits |= {(name, size): order.circuit(size) for name, order in orders.items()}
        circuits["random", size] = random_circuit(graph, size, rng)
    work = measure(masked, few, circuits, batch_size, setting.kind)
    full, outcomes = yield from relabelled(work, message="Testing the circuits of every size")
    ends = float(full["logit_diff"].mean()), float(outcomes["empty", 0]["logit_diff"].mean())
    return {
        "version": ADDED_VERSION,
        "n_prompts": len(few),
        "split": setting.split,
        "ablation": setting.ablation,
        "seed": setting.seed,
        "grid": sizes,
        "empty": float(outcomes["empty", 0]["kl"].mean()),
        "orders": {name: _stored(order, sizes[0]) for name, order in orders.items()},
        "metrics": {
            name: _row(
                {size: circuits[name, size] for size in sizes},
                [outcomes[name, size] for size in sizes],
                ends,
                setting.seed,
            )
            for name in [*orders, "random"]
        },
    }


def _stored(order: EdgeOrder, loosest: int) -> list[int]:
    """The cells of the shortest prefix with all circuits up to `loosest` edges."""
    return order.cells[: int(np.flatnonzero(order.enters <= loosest)[-1]) + 1].tolist()


def _row(
    circuits: Mapping[int, Circuit], outcomes: Sequence[Outcome], ends: tuple[float, float], seed: int
) -> dict[str, Any]:
    """One number a size in each list."""
    full, empty = ends
    means = {key: [float(outcome[key].mean()) for outcome in outcomes] for key in SHOWN}
    row = {
        "n_live": [len(circuit) for circuit in circuits.values()],
        **means,
        "interval": [bootstrap_interval(outcome["kl"], seed) for outcome in outcomes],
    }
    faith = [faithfulness(value, full, empty) for value in means["logit_diff"]]
    if not np.isfinite(faith).all():  # corruption does not move the logit difference: no share is defined
        return row
    n_edges = next(iter(circuits.values())).graph.n_edges
    return {**row, "faithfulness": faith, **areas_at(dict(zip(circuits, faith, strict=True)), n_edges)}
