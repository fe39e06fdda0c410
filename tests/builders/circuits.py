"""Graphs of several shapes, and circuits on them, for the picture."""

from __future__ import annotations

import numpy as np

from hap_engine.findings import CircuitRecord
from hap_engine.graph.circuit import Circuit
from hap_engine.graph.graph import Graph

SHAPES = [Graph(4, 8, 8), Graph(12, 12, 12), Graph(30, 9, 3), Graph(48, 25, 25), Graph(1, 1, 1)]


def record(graph: Graph, *edges: tuple[str, str], **values: list[float]) -> CircuitRecord:
    """A record of live edges; edges and values in matrix order, as in a run."""
    arrays = {key: np.array(value, dtype=float) for key, value in values.items()}
    return CircuitRecord(Circuit.from_names(graph, edges), len(edges), arrays)
