"""Faithfulness against size: the standard grid, and its two areas CPR and CMD (Mueller et al. 2025, MIB).

For each share k of the grid, the circuit of the best k of a ranking's edges is evaluated. With
f(k) its normalised faithfulness ``(m(C) - m(empty)) / (m(full) - m(empty))``,

* CPR (circuit performance ratio) = area under f over k: larger is better, and it can exceed 1;
* CMD (circuit-model distance) = area under |1 - f| over k: 0 is best.

Both are trapezoids between the ten shares of `GRID` on a linear axis, as MIB's leaderboard computes them. A circuit
stands at the share of edges that it may have, not at that of its live ones. Where a ranking is evaluated, that many of
its best edges are chosen, and dead ones among them are removed (`grid_circuits`); where circuits of all sizes are, each
has no more edges than its share, and the whole model stands for all of them (`areas_at`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from hap_engine.errors import SettingsError
from hap_engine.evaluation.metrics import faithfulness
from hap_engine.evaluation.statistics import Values
from hap_engine.graph.circuit import Circuit
from hap_engine.graph.edge_order import EdgeOrder
from hap_engine.words import say

GRID = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)


def area(shares: Sequence[float], values: Sequence[float]) -> float:
    """Trapezoid area of `values` over `shares`; NaN if a value is undefined.

    Raises:
        SettingsError: for fewer than two points, or shares that do not rise.
    """
    if len(shares) != len(values) or len(shares) < 2 or any(np.diff(shares) <= 0):
        raise SettingsError(say("evaluation.area", shares=len(shares), values=len(values)))
    return float(np.trapezoid(values, shares))


def areas(shares: Sequence[float], faith: Sequence[float]) -> dict[str, float]:
    """CPR and CMD of faithfulness at some shares."""
    return {"cpr": area(shares, faith), "cmd": area(shares, [abs(1 - f) for f in faith])}


def share_of(n_edges: int, share: float) -> int:
    """Edges that a share of a model's edges allows."""
    return int(share * n_edges + 1e-9)


def areas_at(faith: Mapping[int, float], n_edges: int) -> dict[str, float]:
    """CPR and CMD of circuits of all sizes.

    Args:
        faith: faithfulness by the edges that a circuit may have. Where it may not even have a path's two, it is 0.
    """
    sizes = [share_of(n_edges, share) for share in GRID]
    return areas(GRID, [1.0 if size == n_edges else faith[size] if size >= 2 else 0.0 for size in sizes])


def by_closing(edges: Sequence[Sequence[str]], last_open: Sequence[int], rest: EdgeOrder) -> EdgeOrder:
    """Pruning's own nested ranking: edges in the order in which their gates closed, last first.

    Edge Pruning learns one size; on its way down it passes through the larger ones, and the run
    stores when each edge was last open. Ties, and the edges that EP never saw, follow `rest`.
    """
    graph = rest.graph
    when = np.zeros(graph.edge_mask.shape, dtype=np.int64)
    for (writer, reader), step in zip(edges, last_open, strict=True):
        when[graph.edge(writer, reader)] = step
    return EdgeOrder(graph, rest.cells[np.argsort(-when.flat[rest.cells], kind="stable")])


def grid_circuits(order: EdgeOrder, grid: Sequence[float] = GRID) -> dict[float, Circuit]:
    """The live circuit of the first ``share x edges`` of an ordering, for every share of the grid."""
    return {share: order.prefix(share_of(order.graph.n_edges, share)).live for share in grid}


def curve(
    circuits: Mapping[float, Circuit], outcomes: Mapping[float, Mapping[str, Values]], full: float, empty: float
) -> dict[str, Any]:
    """Means at each share of the grid, with the two areas (NaN when the metric never moves).

    Args:
        full, empty: the mean logit difference of the whole model and with everything corrupted.
    """
    shares = sorted(circuits)
    faith = [faithfulness(float(outcomes[share]["logit_diff"].mean()), full, empty) for share in shares]
    return {
        "shares": shares,
        "faithfulness": faith,
        "kl": [float(outcomes[share]["kl"].mean()) for share in shares],
        "n_live": [len(circuits[share]) for share in shares],
        **areas(shares, faith),
    }
