"""What the file of a run of 1.6 million edges takes: ``python -m benchmarks.big_run``.

That is the graph of a 32-layer model whose 32 heads have keys and values of their own, such as Llama-2-7B;
Llama-3.1-8B, whose heads share them, has half as many.

The run is made up: random circuits of 2 % of the edges, orders of half of them, a replay of 40 %.
"""

from __future__ import annotations

import resource
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from hap_engine.findings import CircuitRecord
from hap_engine.graph.circuit import Circuit
from hap_engine.graph.graph import Graph
from hap_engine.picture.page import metric_rows
from hap_engine.picture.standalone import standalone
from hap_engine.runs.record import Run
from hap_engine.runs.run_file import load, save
from tests.builders.fakes import fake_run

LARGE = Graph(32, 32, 32)
METHODS = ("eap", "eap-ig-kl", "hap")
SHARES = (0.5, 0.2, 0.1, 0.06, 0.05, 0.04, 0.02, 0.01, 0.005, 0.002, 0.001)


def big_run(graph: Graph = LARGE) -> Run:
    """A valid run with three orders, circuits of 2 % of the edges and a replay of 40 %."""
    rng = np.random.default_rng(0)
    cells = np.flatnonzero(graph.edge_mask)
    orders = {name: rng.permutation(cells)[: len(cells) // 2] for name in METHODS}
    own = len(cells) // 50
    circuits = {name: _circuit(graph, orders[name][:own], rng) for name in METHODS}
    grid = [int(share * len(cells)) for share in SHARES]
    numbers = {key: [0.5] * len(grid) for key in ("kl", "logit_diff", "accuracy", "exact_match", "faithfulness")}
    row = {**numbers, "n_live": grid, "interval": [[0.4, 0.6]] * len(grid), "cpr": 0.9, "cmd": 0.1}
    sizes = {
        "version": 1,
        "n_prompts": 64,
        "split": "test",
        "ablation": "resample",
        "seed": 0,
        "grid": grid,
        "empty": 9.0,
    }
    sizes |= {"orders": {name: order.tolist() for name, order in orders.items()}}
    sizes |= {"metrics": dict.fromkeys((*METHODS, "random"), row)}
    edges = [
        (graph.writers[w].name, graph.readers[r].name)
        for w, r in zip(
            *np.unravel_index(np.sort(orders["eap-ig-kl"][: int(0.4 * len(cells))]), graph.edge_mask.shape), strict=True
        )
    ]
    replay = {"edges": edges, "last_open": rng.integers(1, 200, len(edges)).tolist()}
    small = fake_run(graph, edges=200)
    metrics = {**small.metrics, "eap-ig-kl": small.metrics["eap"]}
    return fake_run(graph, edges=200, circuits=circuits, sizes=sizes, replay=replay, metrics=metrics, id="made")


def _circuit(graph: Graph, cells: np.ndarray, rng: np.random.Generator) -> CircuitRecord:
    kept = np.zeros_like(graph.edge_mask)
    kept.flat[cells] = True
    circuit = Circuit(graph, kept).live
    values = {name: rng.normal(size=len(circuit)) for name in ("scores", "gates")}
    return CircuitRecord(circuit, len(cells), values | {"ranks": 1.0 + rng.permutation(len(circuit))})


def timed(what: str, work: Callable[[], Any]) -> Any:
    """Do it; say how many seconds of the processor it took."""
    started = time.process_time()
    found = work()
    print(f"{what:34} {time.process_time() - started:6.1f} s", flush=True)
    return found


def main() -> None:
    made = timed("make it up", big_run)
    print(f"{made.graph.n_edges:,} edges; " + ", ".join(f"{k} {len(v.circuit):,}" for k, v in made.circuits.items()))
    with tempfile.TemporaryDirectory() as place:
        path = Path(place) / "made.json"
        timed("save", lambda: save(made, path))
        print(f"{path.stat().st_size / 1e6:.1f} MB")
        run = timed("open", lambda: load(path))
    assert run.sizes["orders"] == made.sizes["orders"]
    timed("tables of the page", lambda: metric_rows(run, ["kl"]))
    page = timed("a picture in one file", lambda: standalone(run, *run.sides))
    print(f"{len(page) / 1e6:.1f} MB sent; {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.1f} GB at most")


if __name__ == "__main__":
    main()
