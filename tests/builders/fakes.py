"""Synthetic runs for tests of the app and the picture. Nothing here was measured; every name says so."""

from __future__ import annotations

from typing import Any

import numpy as np

from hap_engine.findings import CircuitRecord
from hap_engine.graph.circuit import Circuit, random_circuit
from hap_engine.graph.graph import Graph
from hap_engine.graph.ranking import rank_matrix, top_live
from hap_engine.runs.record import Run

ROLE_NAMES = ("s_inhibition", "name_mover", "induction", "duplicate_token", "previous_token")


def fake_run(graph: Graph | None = None, *, edges: int = 60, seed: int = 0, **changes: Any) -> Run:
    """A valid run with random scores: `edges` live edges a side, half of them shared.

    Roles go to heads of the ``hap`` circuit, S-inhibition first to those that ``eap`` lacks.
    """
    graph = graph or Graph(4, 4, 2)
    rng = np.random.default_rng(seed)
    edges = min(edges, graph.n_edges)
    found = random_circuit(graph, edges, rng)
    scores = np.where(graph.edge_mask, rng.normal(size=graph.edge_mask.shape) * 1e-3, 0)
    scores[found.kept & (rng.random(scores.shape) < 0.5)] *= 30
    eap = top_live(graph, scores, edges).live
    ranks = rank_matrix(graph, scores)
    gates = np.where(found.kept, rng.normal(3, 1, scores.shape), np.nan)
    missed = [str(h) for h in rng.permutation(sorted(found.heads - eap.heads))]
    shared = [str(h) for h in rng.permutation(sorted(found.heads & eap.heads))]
    described = (missed[:2] + shared[:1] + missed[2:4] + shared[1:3])[: len(ROLE_NAMES) + 2]
    names = ("s_inhibition", *ROLE_NAMES, ROLE_NAMES[1])
    run = {
        "id": f"synthetic-{seed}",
        "created": "2020-01-01T00:00:00+00:00",
        "command": "none: synthetic test data",
        "versions": {},
        "machine": {},
        "model": {"name": "synthetic-model", "source": "bundled"},
        "task": {"name": "synthetic-task", "title": "Synthetic task <b>&</b>"},
        "seed": seed,
        "settings": {"method": "hap", "sparsity": 1 - max(edges, 1) / (graph.n_edges + 1)},
        "graph": graph,
        "circuits": {
            "eap": _record(eap, scores, ranks, np.full(scores.shape, np.nan)),
            "hap": _record(found, scores, ranks, gates),
        },
        "metrics": {key: _metrics() for key in ("full", "empty", "random", "eap", "hap")},
        "seconds": {"total": 1.0},
        "prompts": {"train": [], "test": []},
        "roles": {
            "heads": {
                head: {"role": role, "evidence": {}, "sentence": f"Synthetic evidence for {head}<q> & co."}
                for head, role in zip(described, names, strict=False)
            }
        },
        "heads": {
            head: {
                "eap_rank": int(rng.integers(1, graph.n_edges)),
                "eap_edge": ["input", f"{head}<q>"],
                "eap_score": 0.0,
            }
            for head in graph.heads
        },
        "history": [{"step": i, "kl": 4 / (1 + i), "budget": 400 - 30 * i, "open": 410 - 30 * i} for i in range(10)],
    }
    return Run(**{**run, **changes})


def _record(circuit: Circuit, *values: np.ndarray) -> CircuitRecord:
    columns = dict(zip(("scores", "ranks", "gates"), values, strict=True))
    return CircuitRecord(circuit, len(circuit), {k: v[circuit.kept].astype(float) for k, v in columns.items()})


def _metrics() -> dict[str, Any]:
    keys = ("kl", "logit_diff", "faithfulness", "accuracy", "top1", "exact_match")
    return dict.fromkeys(keys, 0.5) | {"n_prompts": 4, "split": "test", "ablation": "resample"}
