"""A circuit file of the MIB benchmark (Mueller et al. 2025), a JSON of EAP-IG: read as its evaluation counts it.

The leaderboard takes one file whose edges have scores, or nine circuits, each a file that says which edges are in it
(`hap_engine.runs.mib_folder`). It counts edges on a graph without grouped queries, where k and v belong to query
heads. So do we: an edge is listed once for each query head, and a circuit keeps a shared one if any of them does.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from hap_engine.errors import RunFileError
from hap_engine.graph.circuit import Circuit
from hap_engine.graph.eapig_file import file_edges, file_graph, named_edges, read_json
from hap_engine.graph.graph import Graph
from hap_engine.words import say

PICKLES = (".pt", ".pth", ".pkl", ".bin")


@dataclass(frozen=True, eq=False)
class MibFile:
    """What one file says of the edges that it lists.

    Attributes:
        cells: ``writer x number of readers + reader`` of each; a shared one as often as it is listed.
        scores: NaN where it has none.
        inside: whether it is in the circuit.
    """

    path: Path
    graph: Graph
    cells: Int[np.ndarray, " edge"]
    scores: Float[np.ndarray, " edge"]
    inside: Bool[np.ndarray, " edge"]

    @property
    def kept(self) -> Circuit:
        """The live edges of those that are in the circuit."""
        return self._circuit(self.cells[self.inside])

    def best(self, count: int, ranks: Float[np.ndarray, " edge"]) -> Circuit:
        """The live edges of the `count` with the largest `ranks`."""
        return self._circuit(self.cells[np.argsort(-ranks, kind="stable")[:count]])

    def _circuit(self, cells: Int[np.ndarray, " edge"]) -> Circuit:
        kept = np.zeros_like(self.graph.edge_mask)
        kept.flat[cells] = True
        return Circuit(self.graph, kept).live

    def check_scores(self) -> None:
        """Raises RunFileError unless every edge of the model has a score, and they differ."""
        scored, every = int(np.isfinite(self.scores).sum()), file_edges(self.graph)
        if scored < every or not np.ptp(self.scores):
            raise RunFileError(say("mib.unscored", path=self.path, scored=scored, every=every))


def read_mib(path: Path, graph: Graph, model: str) -> MibFile | None:
    """A circuit file of a model; None if it says that it is of another.

    Args:
        model: its name, for messages.

    Raises:
        RunFileError: for what is no such file, or names nodes or edges that the model lacks.
    """
    if path.suffix in PICKLES:
        raise RunFileError(say("mib.pickle", path=path))
    if graph.post_norm or graph.coupled:
        raise RunFileError(say("mib.unlike", model=model))
    data = read_json(path)
    nodes, edges = (data.get(key) if isinstance(data, Mapping) else None for key in ("nodes", "edges"))
    if not isinstance(nodes, Mapping) or not isinstance(edges, Mapping):
        raise RunFileError(say("mib.no_circuit", path=path))
    group = graph.n_heads // graph.n_kv_heads
    heads = data["cfg"].get("n_heads") if isinstance(data.get("cfg"), Mapping) else None
    if file_graph(data, heads // group if type(heads) is int and heads % group == 0 else None) != graph:
        return None
    if foreign := nodes.keys() - graph.writer_index.keys() - {"logits"}:
        raise RunFileError(say("mib.foreign", path=path, node=min(foreign)[:60], model=model, graph=graph))
    if not edges or any(isinstance(node, Mapping) and "neurons" in node for node in nodes.values()):
        raise RunFileError(say("mib.no_edges", path=path))
    cells, scores, inside = zip(
        *((cell, *_said(path, name, edge)) for name, cell, edge in named_edges(graph, edges)), strict=True
    )
    return MibFile(path, graph, np.array(cells), np.array(scores, dtype=float), np.array(inside, dtype=bool))


def _said(path: Path, name: str, edge: Any) -> tuple[float, bool]:
    """Score (NaN without one) and membership (False where nothing is said) of an edge."""
    entry: Mapping[str, Any] = edge if isinstance(edge, Mapping) else {"in_graph": None}
    score: Any = entry.get("score", math.nan)
    inside: Any = entry.get("in_graph", False)
    if type(score) not in (int, float) or math.isinf(score) or type(inside) is not bool:
        raise RunFileError(say("mib.bad_edge", path=path, name=name[:60], score=score, inside=inside))
    return float(score), inside
