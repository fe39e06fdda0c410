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

        An edge lives from the prefix on that holds it, a path from the input to its writer and one from its reader to
        the logits. A path is there when its last edge is, so one pass over the graph each way finds the earliest.
        """
        graph, never = self.graph, len(self.cells)
        at, spans = graph.reader_spans, range(len(graph.spans))
        numbers = np.full(graph.edge_mask.shape, never)
        numbers.flat[self.cells] = np.arange(never)
        fed, useful = np.full((len(graph.writers), len(spans)), never), np.full(len(graph.readers), never)
        fed[0, [span.differs for span in graph.spans]] = useful[-1] = -1
        for writers, readers, feeds in graph.stages:
            reached = np.maximum(numbers[: writers.start, readers], fed[: writers.start, at[readers]]).min(axis=0)
            fed[writers] = np.where(feeds, reached[:, None, None], never).min(axis=0)
        wanted = np.full_like(fed, never)
        for writers, readers, feeds in reversed(graph.stages):
            later = np.maximum(numbers[writers, readers.stop :], useful[readers.stop :])
            for span in spans:
                wanted[writers, span] = later[:, at[readers.stop :] == span].min(axis=1, initial=never)
            useful[readers] = np.where(feeds, wanted[writers], never).min(axis=(1, 2))
        rows, columns = np.unravel_index(self.cells, numbers.shape)
        lives = np.maximum(np.arange(never), np.maximum(fed[rows, at[columns]], useful[columns]))
        return np.where(lives < never, np.searchsorted(np.sort(lives), lives, side="right"), 0)

    @cached_property
    def sizes(self) -> Int[np.ndarray, " size"]:
        """The live sizes that there are, ascending: one more edge may bring several to life."""
        return np.flatnonzero(np.bincount(self.enters)[1:]) + 1

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
