"""A synthetic run with orders of its edges: circuits of every size, without a model."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from hap_engine.graph.edge_order import EdgeOrder
from hap_engine.graph.graph import Graph
from hap_engine.runs.record import Run
from tests.builders.fakes import fake_run


def sized_run(graph: Graph | None = None, **fake: Any) -> Run:
    """A `fake_run` whose circuits are prefixes of orders that go on to half of the edges."""
    run = fake_run(graph, **fake)
    graph = run.graph
    own = len(run.circuits[run.main].circuit)
    grid = sorted({graph.n_edges // 2, own, own // 2, own // 4, 3}, reverse=True)
    orders = {}
    for seed, (name, record) in enumerate(run.circuits.items()):
        rng = np.random.default_rng(seed)
        kept = rng.permutation(np.flatnonzero(record.circuit.kept))
        rest = rng.permutation(np.flatnonzero(graph.edge_mask & ~record.circuit.kept))
        orders[name] = EdgeOrder(graph, np.concatenate([kept, rest]))
    metrics = {name: _row(grid, place) for place, name in enumerate((*orders, "random"))}
    sizes = {
        "version": 1,
        "n_prompts": 4,
        "split": "test",
        "ablation": "resample",
        "seed": 0,
        "grid": grid,
        "empty": 9.0,
    }
    stored = {name: order.cells.tolist() for name, order in orders.items()}
    return replace(run, sizes={**sizes, "orders": stored, "metrics": metrics})


def _row(grid: list[int], place: int) -> dict[str, Any]:
    kl = [round(1 + place + 2 / size, 3) for size in grid]
    numbers = {key: [0.5] * len(grid) for key in ("logit_diff", "accuracy", "exact_match", "faithfulness")}
    return {**numbers, "n_live": grid, "kl": kl, "interval": [[k - 0.1, k + 0.1] for k in kl], "cpr": 0.9, "cmd": 0.1}
