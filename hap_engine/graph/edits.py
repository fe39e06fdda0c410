"""Changes to a circuit: nodes and edges switched off or restored, as text and as masks (no torch).

A `Change` is one click and one step of undo. Its text, ``-a9.h6,a11.h2`` or ``+input->a3.h1<q>``, is what
the address of the page holds.

* A **node** that is switched off writes what it wrote in the corrupted run: all edges out of it go.
* A node that is **restored** is joined to every node that the circuit holds: it may read from each of
  them that comes before it and write to each that comes after.
* An **edge** is switched off or restored alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from hap_engine.errors import SettingsError
from hap_engine.graph.circuit import Circuit
from hap_engine.graph.graph import Graph

ARROW = "->"
MAX_TARGETS = 400  # of all changes of a page; far more than anyone clicks


@dataclass(frozen=True)
class Change:
    """Some nodes or edges (``writer->reader``) switched off, or restored (`on`), at once."""

    on: bool
    targets: tuple[str, ...]

    @property
    def text(self) -> str:
        return ("+" if self.on else "-") + ",".join(self.targets)


def parse(text: str, graph: Graph) -> Change:
    """The inverse of `Change.text`.

    Raises:
        SettingsError: if it does not start with + or -.
        UnknownNameError: if the graph lacks a target.
    """
    targets = tuple(filter(None, text[1:].split(",")))
    if text[:1] not in ("+", "-") or not targets:
        raise SettingsError(f"Expected a change such as -a5.h1 or +a5.h1->m7, got {text[:80]!r}.")
    for target in targets:
        _cells(graph, target)
    return Change(text[0] == "+", targets)


def parse_all(texts: Iterable[str], graph: Graph) -> tuple[Change, ...]:
    """Several changes, in order. Raises as `parse` does, and for more than `MAX_TARGETS` targets."""
    changes = tuple(parse(text, graph) for text in texts)
    count = sum(len(change.targets) for change in changes)
    if count > MAX_TARGETS:
        raise SettingsError(f"Expected at most {MAX_TARGETS} changes, got {count:,}.")
    return changes


def apply(circuit: Circuit, changes: Sequence[Change]) -> Circuit:
    """`circuit` after all `changes`, in order; dead edges stay (take ``.live`` for the rest)."""
    kept = circuit.kept.copy()
    for change in changes:
        for target in change.targets:
            cells = _cells(circuit.graph, target)
            if not change.on:
                kept[cells] = False
            elif ARROW in target:
                kept[cells] = True
            else:
                kept |= _joined(Circuit(circuit.graph, kept), target)
    return Circuit(circuit.graph, kept)


def edges_of(graph: Graph, node: str) -> list[tuple[int, int]]:
    """Matrix cells of all edges into and out of a node, in graph order. Raises UnknownNameError."""
    row, _ = graph.edge(node, "logits")  # names the nearest writer when there is none
    touching = np.zeros_like(graph.edge_mask)
    touching[row], touching[:, _inputs(graph, row)] = True, True
    return [(int(w), int(r)) for w, r in np.argwhere(touching & graph.edge_mask)]


def _cells(graph: Graph, target: str) -> tuple[int, int] | int:
    """The matrix cell of an edge, or the row of a node."""
    if ARROW in target:
        return graph.edge(*target.split(ARROW, 1))
    graph.edge(target, "logits")  # names the nearest writer when there is none
    return graph.writer_index[target]


def _inputs(graph: Graph, row: int) -> np.ndarray:
    """The readers that are a node's own: those of a layer's heads are none of its norm writer's."""
    own: np.ndarray = graph.feeds[:, row] & (graph.writers[row].kind != "norm")
    return own


def _joined(circuit: Circuit, node: str) -> np.ndarray:
    """Every edge between `node` and the nodes that `circuit` holds."""
    graph, live = circuit.graph, circuit.live.kept
    row = graph.writer_index[node]
    writers = np.logical_or.reduce(live, axis=1)
    readers = np.logical_or.reduce(live, axis=0)
    writers[0] = readers[-1] = True
    edges = np.zeros_like(live)
    edges[row] = readers
    edges[:, _inputs(graph, row)] = writers[:, None]
    return edges & graph.edge_mask
