"""Is the circuit all of the mechanism, and is all of it needed? (Wang et al. 2022, completeness, minimality.)

Both ask what happens when the same parts are knocked out of the circuit C and of the model M. F is
the mean logit difference, and knocking a node out (a head or an MLP) corrupts all its outgoing edges.

* **Completeness**: for sets K of nodes, ``|F(C \\ K) - F(M \\ K)|`` should be small. If the model has a
  back-up that the circuit lacks, knocking out the main path tells: M falls less than C. The sets
  are the circuit's nodes of each measured role and random halves of all its nodes.
* **Minimality**: for each node v of C there should be some K with ``|F(C \\ (K + v)) - F(C \\ K)|`` large.
  Tried are K = nothing and K = the other nodes of v's role (redundant heads hide each other).

Effects are given as shares of ``F(M) - F(empty)``, so 0.01 is a hundredth of the task.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from hap_engine.evaluation.statistics import Values, bootstrap_interval
from hap_engine.graph.circuit import Circuit, full_circuit

RANDOM_SETS = 5  # besides the roles; Wang et al. add greedy search, which costs hundreds of passes
NEEDED = 0.01  # share of the task that a node must carry to count as needed


@dataclass(frozen=True)
class KnockOut:
    """Nodes that are removed together, and the name that the report gives them."""

    name: str
    nodes: tuple[str, ...]


def nodes_of(circuit: Circuit) -> tuple[str, ...]:
    """Heads and MLPs that have live edges in and out, in graph order (``input`` is no node)."""
    live = circuit.live.kept
    return tuple(writer.name for row, writer in enumerate(circuit.graph.writers) if row and live[row].any())


def without(circuit: Circuit, nodes: Iterable[str]) -> Circuit:
    """`circuit` with every outgoing edge of `nodes` corrupted."""
    kept = circuit.kept.copy()
    kept[[circuit.graph.writer_index[name] for name in nodes]] = False
    return Circuit(circuit.graph, kept)


def knock_outs(circuit: Circuit, roles: Mapping[str, str], seed: int) -> list[KnockOut]:
    """The circuit's nodes by role, and `RANDOM_SETS` random halves of all of them."""
    nodes = nodes_of(circuit)
    by_role: dict[str, list[str]] = {}
    for node in nodes:
        if node in roles:
            by_role.setdefault(roles[node], []).append(node)
    sets = [KnockOut(role, tuple(members)) for role, members in sorted(by_role.items())]
    rng = np.random.default_rng(seed)
    if len(nodes) > 1:
        for index in range(RANDOM_SETS):
            chosen = rng.permutation(len(nodes))[: len(nodes) // 2]
            half = tuple(nodes[i] for i in sorted(chosen))
            sets.append(KnockOut(f"random half {index + 1}", half))
    return sets


def completeness_circuits(circuit: Circuit, sets: Iterable[KnockOut]) -> dict[tuple[str, KnockOut], Circuit]:
    """The circuits to measure: C \\ K and M \\ K for each set."""
    sides = {"circuit": circuit, "model": full_circuit(circuit.graph)}
    return {(side, k): without(whole, k.nodes).live for k in sets for side, whole in sides.items()}


def completeness(
    sets: Iterable[KnockOut], logit_diff: Mapping[tuple[str, KnockOut], Values], span: float, seed: int
) -> dict[str, Any]:
    """The report from measured logit differences per prompt, keyed as `completeness_circuits` does."""
    rows: list[dict[str, Any]] = []
    for k in sets:
        ours, theirs = (logit_diff[side, k] for side in ("circuit", "model"))
        interval = bootstrap_interval(ours - theirs, seed)
        rows.append(
            {
                "name": k.name,
                "nodes": list(k.nodes),
                "circuit": float(ours.mean()),
                "model": float(theirs.mean()),
                "gap": float(abs(ours.mean() - theirs.mean()) / abs(span)),
                "interval": interval and sorted(end / span for end in interval),
            }
        )
    gaps = [row["gap"] for row in rows]
    summary = {"mean_gap": float(np.mean(gaps)), "max_gap": max(gaps)} if gaps else {}
    return {"sets": rows, **summary}


def minimality_sets(circuit: Circuit, roles: Mapping[str, str]) -> dict[str, list[tuple[str, ...]]]:
    """For each node the sets K that are tried: nothing, and the rest of its role."""
    nodes = nodes_of(circuit)
    tried: dict[str, list[tuple[str, ...]]] = {}
    for node in nodes:
        mates = tuple(other for other in nodes if other != node and node in roles and roles.get(other) == roles[node])
        tried[node] = [(), mates] if mates else [()]
    return tried


def minimality_circuits(circuit: Circuit, tried: Mapping[str, list[tuple[str, ...]]]) -> dict[frozenset[str], Circuit]:
    """The circuits to measure, each once: C \\ K and C \\ (K + v)."""
    return {
        frozenset(removed): without(circuit, removed).live
        for node, sets in tried.items()
        for removed in [part for k in sets for part in (k, (*k, node))]
    }


def minimality(
    tried: Mapping[str, list[tuple[str, ...]]], logit_diff: Mapping[frozenset[str], Values], span: float
) -> dict[str, Any]:
    """For each node its largest effect over the sets tried, and which set showed it."""
    rows: list[dict[str, Any]] = []
    for node, sets in tried.items():
        changes = (logit_diff[frozenset((*k, node))] - logit_diff[frozenset(k)] for k in sets)
        effects = [abs(float(change.mean() / span)) for change in changes]
        best = int(np.argmax(effects))
        rows.append({"node": node, "effect": effects[best], "given": list(sets[best])})
    rows.sort(key=lambda row: -row["effect"])
    return {"nodes": rows, "needed": sum(row["effect"] >= NEEDED for row in rows), "threshold": NEEDED}
