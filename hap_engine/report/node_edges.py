"""What a run knows about the edges of one node, for a detail panel (no torch).

Sign: a negative EAP score means that corrupting the edge is expected to lower the logit difference,
so the edge *helps* the right answer; a positive one works *against* it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hap_engine.findings import Findings
from hap_engine.graph.edits import edges_of
from hap_engine.graph.graph import Graph
from hap_engine.report.titles import circuit_title


@dataclass(frozen=True)
class EdgeFacts:
    """One edge of a node: the other end, and what each circuit says about it.

    Attributes:
        into: it enters the node; else it leaves it.
        other: the node at the other end (for a k or v reader that feeds several heads, the first).
        slot: ``q``, ``k``, ``v`` or empty: the input on which the edge lands.
        score: EAP score, `rank` its rank, `gate` the log alpha after EP; NaN where unknown.
        circuits: keys of the circuits that keep the edge.
    """

    into: bool
    writer: str
    reader: str
    other: str
    slot: str
    score: float
    rank: float
    gate: float
    circuits: tuple[str, ...]

    @property
    def sign(self) -> str:
        """``helps``, ``against`` or, without a score, ``unknown``."""
        if math.isnan(self.score):
            return "unknown"
        return "helps" if self.score < 0 else "against"


def edges_at(run: Findings, node: str, circuits: Sequence[str]) -> list[EdgeFacts]:
    """The edges of `node` that any of `circuits` keeps, largest absolute EAP score first."""
    graph, facts = run.graph, []
    for cell in _touching(graph, node):
        keeping = tuple(key for key in circuits if run.circuits[key].circuit.kept[cell])
        if not keeping:
            continue
        writer, reader = graph.writers[cell[0]], graph.readers[cell[1]]
        into = writer.name != node
        fed = np.flatnonzero(graph.feeds[cell[1]])
        target = graph.writers[fed[0]].name if len(fed) else reader.name
        score, rank, gate = (_value(run, keeping, cell, key) for key in ("scores", "ranks", "gates"))
        facts.append(
            EdgeFacts(
                into, writer.name, reader.name, writer.name if into else target, reader.slot, score, rank, gate, keeping
            )
        )
    return sorted(facts, key=lambda e: (math.isnan(e.score), -abs(np.nan_to_num(e.score))))


def keepers(run: Findings, node: str) -> dict[str, bool]:
    """Which circuits keep a node: a live edge in and a live edge out (the ends: either)."""
    index, graph = run.graph.writer_index.get(node), run.graph
    kept = {}
    for key, record in run.circuits.items():
        live = record.circuit.live.kept
        if index is None:
            kept[key] = bool(live[:, graph.reader_index[node]].any())
        elif node == "input":
            kept[key] = bool(live[index].any())
        else:
            kept[key] = bool(live[index].any() and live[:, graph.feeds[:, index]].any())
    return kept


def edge_sentence(run: Findings, left: str, right: str, edge: tuple[str, str]) -> str:
    """Which circuit keeps the edge, and what EAP and Edge Pruning made of it."""
    kept: list[str] = []
    values: dict[str, float] = {}
    for side in dict.fromkeys((left, right)):
        record, title = run.circuits[side], circuit_title(side)
        names = record.circuit.names()
        kept.append(f"{title} {'keeps' if edge in names else 'drops'} it")
        if edge in names:
            index = names.index(edge)
            values |= {key: float(column[index]) for key, column in record.values.items()}
    parts = [" and ".join(kept)]
    score, rank, gate = (values.get(key, math.nan) for key in ("scores", "ranks", "gates"))
    if math.isfinite(score):
        effect = "lower" if score < 0 else "raise"
        parts.append(
            f"by EAP's estimate, corrupting it would {effect} the logit difference by {abs(score):.3g}"
            + (f" (rank {int(rank):,} of {run.graph.n_edges:,})" if math.isfinite(rank) else "")
        )
    if math.isfinite(gate):
        parts.append(f"Edge Pruning left its gate at log α = {gate:.1f}")
    return "; ".join(parts) + "."


def _touching(graph: Graph, node: str) -> list[tuple[int, int]]:
    if node in graph.writer_index:
        return edges_of(graph, node)
    column = graph.reader_index[node]
    return [(row, column) for row in range(int(graph.upstream[column]))]


def _value(run: Findings, keeping: Sequence[str], cell: tuple[int, int], key: str) -> float:
    """The first known value of an edge among the circuits that keep it."""
    for name in keeping:
        record = run.circuits[name]
        values = record.values.get(key)
        if values is None:
            continue
        kept = record.circuit.kept  # values are listed in matrix order
        place = int(kept[: cell[0]].sum()) + int(kept[cell[0], : cell[1]].sum())
        if not math.isnan(values[place]):
            return float(values[place])
    return math.nan
