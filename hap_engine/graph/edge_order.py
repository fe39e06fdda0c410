"""All edges in one order, best first: a nested circuit of every size.

A prefix of the order, without its dead edges, is a circuit; a longer prefix holds it. An edge that is live in a
prefix stays live in every longer one, so one number an edge says all: the live size at which it enters.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Float, Int

from hap_engine.errors import SettingsError
from hap_engine.graph.circuit import Circuit
from hap_engine.graph.graph import Graph
from hap_engine.graph.ranking import check_scores, ranking
from hap_engine.words import say


@dataclass(frozen=True, eq=False)
class EdgeOrder:
    """Edges of `graph`, the one that a method would keep longest first.

    Attributes:
        cells: ``writer x number of readers + reader`` of each edge; none twice. Edges that are left out come last.
    """

    graph: Graph
    cells: Int[np.ndarray, " edge"]

    @classmethod
    def by_score(cls, graph: Graph, scores: Float[np.ndarray, "writer reader"], source: str) -> EdgeOrder:
        """Largest absolute score first. Raises SettingsError, naming `source`, for scores that rank nothing."""
        check_scores(graph, scores, source)
        return cls(graph, np.ravel_multi_index(ranking(graph, scores), graph.edge_mask.shape))

    def then(self, others: EdgeOrder) -> EdgeOrder:
        """These edges, then those of `others` that are not among them."""
        return EdgeOrder(self.graph, np.concatenate([self.cells, others.cells[~np.isin(others.cells, self.cells)]]))

    @cached_property
    def enters(self) -> Int[np.ndarray, " edge"]:
        """Live edges of the shortest prefix in which each edge is live; 0 where it never is.

        Computed edge by edge: what an edge connects is connected once, so the whole takes as long as reading it.
        """
        growing = _Growing(self.graph)
        found = [0] * len(self.cells)
        width = len(self.graph.readers)
        for number, cell in enumerate(self.cells.tolist()):
            for entered in growing.add(number, *divmod(cell, width)):
                found[entered] = growing.live
        return np.array(found, dtype=np.int64)

    @property
    def sizes(self) -> Int[np.ndarray, " size"]:
        """The live sizes that there are, ascending: one more edge may bring several to life."""
        return np.unique(self.enters[self.enters > 0])

    @cached_property
    def nodes(self) -> dict[str, int]:
        """Size of the smallest circuit of the order that keeps each writer (a live edge in, and one out), if any does.

        The input needs no edge in.
        """
        graph = self.graph
        enters = np.full(graph.edge_mask.shape, np.inf)
        enters.flat[self.cells] = np.where(self.enters > 0, self.enters, np.inf)
        into = np.where(graph.feeds, enters.min(axis=0)[:, None], np.inf).min(axis=0)
        into[0] = 0
        both = np.maximum(into, enters.min(axis=1))
        sizes = zip(graph.writers, both, strict=True)
        return {writer.name: int(size) for writer, size in sizes if np.isfinite(size)}

    def prefix(self, count: int) -> Circuit:
        """The first `count` edges, dead ones included."""
        kept = np.zeros_like(self.graph.edge_mask)
        kept.flat[self.cells[:count]] = True
        return Circuit(self.graph, kept)

    def circuit(self, size: int) -> Circuit:
        """The largest circuit of the order with at most `size` live edges.

        Raises:
            SettingsError: for a size that no circuit can have.
        """
        if not 0 <= size <= self.graph.n_edges:
            raise SettingsError(say("graph.no_size", self=self, size=size))
        kept = np.zeros_like(self.graph.edge_mask)
        kept.flat[self.cells[(self.enters > 0) & (self.enters <= size)]] = True
        return Circuit(self.graph, kept)


class _Growing:
    """A circuit that edges are added to one at a time, which knows how many of them are live."""

    def __init__(self, graph: Graph) -> None:
        self.live = 0
        self._feeds = [np.flatnonzero(row).tolist() for row in graph.feeds]  # writers that a reader feeds
        self._fed_by = [np.flatnonzero(column).tolist() for column in graph.feeds.T]
        self._fed = [index == 0 for index in range(len(graph.writers))]
        self._useful = [index == len(graph.readers) - 1 for index in range(len(graph.readers))]
        self._out: list[list[tuple[int, int]]] = [[] for _ in graph.writers]  # (edge, reader)
        self._into: list[list[tuple[int, int]]] = [[] for _ in graph.readers]  # (edge, writer)

    def add(self, edge: int, writer: int, reader: int) -> list[int]:
        """The edges that live from now on."""
        self._out[writer].append((edge, reader))
        self._into[reader].append((edge, writer))
        entered = [edge] if self._fed[writer] and self._useful[reader] else []
        if self._fed[writer]:
            entered += _spread(reader, self._feeds, self._fed, self._out, self._useful)
        if self._useful[reader]:
            entered += _spread(writer, self._fed_by, self._useful, self._into, self._fed)
        self.live += len(entered)
        return entered


def _spread(
    start: int, feeds: list[list[int]], reached: list[bool], edges: list[list[tuple[int, int]]], ends: list[bool]
) -> list[int]:
    """Mark all that is reached from `start` on; the edges whose other end was reached from its side before.

    Forwards, a reader that gets something feeds writers, which others read; backwards, a writer that reaches the logits
    is fed by readers, which read others.
    """
    entered, waiting = [], [start]
    while waiting:
        for node in feeds[waiting.pop()]:
            if not reached[node]:
                reached[node] = True
                for edge, end in edges[node]:
                    waiting.append(end)
                    if ends[end]:
                        entered.append(edge)
    return entered
