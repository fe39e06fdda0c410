"""A circuit: the edges of a graph that are kept; all others carry the corrupt run.

Under resample ablation an edge changes the logits only if it lies on a path of kept edges from
``input`` to ``logits``. The others are *dead*: `Circuit.live` drops them, and two sizes are always
told apart, the raw count (edges chosen) and the live count (edges that matter).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Bool

from hap_engine.graph.graph import Graph, Reader, Writer

if TYPE_CHECKING:
    import networkx as nx


@dataclass(frozen=True, eq=False)
class Circuit:
    """Kept edges ``kept[writer, reader]`` on `graph`; only real edges may be kept."""

    graph: Graph
    kept: Bool[np.ndarray, "writer reader"]

    def __post_init__(self) -> None:
        if self.kept.shape != self.graph.edge_mask.shape or self.kept.dtype != bool:
            raise ValueError(
                f"Expected a boolean matrix {self.graph.edge_mask.shape}, got {self.kept.dtype} {self.kept.shape}."
            )
        if (self.kept & ~self.graph.edge_mask).any():
            raise ValueError("A circuit can keep only edges whose writer comes before its reader.")

    @classmethod
    def from_names(cls, graph: Graph, names: Iterable[tuple[str, str]]) -> Circuit:
        """The circuit of ``(writer, reader)`` names. Raises UnknownNameError for a wrong name."""
        kept = np.zeros_like(graph.edge_mask)
        for writer, reader in names:
            kept[graph.edge(writer, reader)] = True
        return cls(graph, kept)

    def __len__(self) -> int:
        return int(self.kept.sum())

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Circuit) and self.graph == other.graph and bool((self.kept == other.kept).all())

    def __hash__(self) -> int:
        return hash((self.graph, self.kept.tobytes()))

    def __or__(self, other: Circuit) -> Circuit:
        return Circuit(self.graph, self.kept | other.kept)

    def __and__(self, other: Circuit) -> Circuit:
        return Circuit(self.graph, self.kept & other.kept)

    def __sub__(self, other: Circuit) -> Circuit:
        return Circuit(self.graph, self.kept & ~other.kept)

    def edges(self) -> Iterator[tuple[Writer, Reader]]:
        """The kept edges in writer order."""
        for w, r in np.argwhere(self.kept):
            yield self.graph.writers[w], self.graph.readers[r]

    def names(self) -> list[tuple[str, str]]:
        return [(writer.name, reader.name) for writer, reader in self.edges()]

    @property
    def sparsity(self) -> float:
        """Share of the graph's real edges that are removed."""
        return 1 - len(self) / self.graph.n_edges

    @cached_property
    def live(self) -> Circuit:
        """The circuit without dead edges (no path from ``input``, or none to ``logits``)."""
        return Circuit(self.graph, self.graph.live(self.kept))

    @cached_property
    def heads(self) -> frozenset[str]:
        """The heads that the circuit keeps: with a live edge in and a live edge out.

        An edge into a KV head counts for every query head of its group.
        """
        live = self.live.kept
        reached = self.graph.feeds[live.any(axis=0)].any(axis=0)
        present = np.logical_and(reached, live.any(axis=1))
        return frozenset(
            writer.name
            for writer, here in zip(self.graph.writers, present, strict=True)
            if here and writer.kind == "head"
        )

    def collapsed(self) -> Circuit:
        """The circuit without spans that keeps what is kept at any."""
        return Circuit(self.graph.whole, self.graph.over_spans(self.kept.astype(float)) > 0)

    def to_networkx(self) -> nx.MultiDiGraph:
        """Nodes are ``input``, heads, MLPs and ``logits``; parallel edges are keyed by q, k or v, and their span.

        Only nodes that an edge touches appear. An edge into a slot points at every head that it feeds (of a KV
        head, all of its group); its attribute ``reader`` names the slot. The heads of a layer point at its norm writer.
        """
        import networkx as nx  # a first visit of the explorer need not wait for it

        out = nx.MultiDiGraph()
        for writer, reader in self.edges():
            _add_node(out, writer.name, writer.kind, writer.layer, writer.head)
            column = self.graph.reader_index[reader.name]
            fed = (self.graph.writers[row] for row in np.flatnonzero(self.graph.feeds[column]))
            targets = [target for target in fed if target.kind != "norm"]
            if not targets:
                _add_node(out, "logits", "logits", self.graph.n_layers, None)
                out.add_edge(writer.name, "logits", key="", reader="logits")
            for target in targets:
                _add_node(out, target.name, target.kind, target.layer, target.head)
                key = reader.slot + reader.name.removeprefix(reader.place)
                out.add_edge(writer.name, target.name, key=key, reader=reader.name)
        for writer in self.graph.writers:
            heads = [f"a{writer.layer}.h{head}" for head in range(self.graph.n_heads)]
            if writer.kind == "norm" and writer.name in out:
                out.add_edges_from((head, writer.name, "", {"reader": writer.name}) for head in heads if head in out)
        return out


def _add_node(out: nx.MultiDiGraph, name: str, kind: str, layer: int, head: int | None) -> None:
    out.add_node(name, kind=kind, layer=layer, head=head)


def full_circuit(graph: Graph) -> Circuit:
    return Circuit(graph, graph.edge_mask.copy())


def empty_circuit(graph: Graph) -> Circuit:
    return Circuit(graph, np.zeros_like(graph.edge_mask))


def random_circuit(graph: Graph, live: int, rng: np.random.Generator) -> Circuit:
    """A random control: `live` random edges, all of them on a path from ``input`` to ``logits``.

    Plain random edge sets of a sparse size are almost always wholly dead, so they say nothing. Here
    each drawn edge is joined to the circuit: its writer to a random writer that is already fed, its
    reader to a random reader that already reaches the logits. A draw that would overshoot is
    dropped, so the size is exact; it is 0 where even the shortest path has more edges.
    """
    kept, at = np.zeros_like(graph.edge_mask), graph.reader_spans
    spans = at.tolist()
    fed = np.zeros((len(graph.writers), len(graph.spans)), dtype=bool)
    useful = np.zeros(len(graph.readers), dtype=bool)
    fed[0] = differs = [span.differs for span in graph.spans]
    useful[-1] = True

    def one(among: np.ndarray) -> int:
        """The number of a random one; -1 where there is none."""
        return int(rng.choice(np.flatnonzero(among))) if among.any() else -1

    def joined(writer: int, reader: int) -> list[tuple[int, int]]:
        """An edge with what joins it to the circuit; nothing where the circuit is not that far yet."""
        path = [(writer, reader)]
        if not fed[writer, spans[reader]]:
            into = one(graph.inputs(writer, spans[reader]))
            path.append((one(fed[:, spans[into]] & graph.edge_mask[:, into]), into))
        if not useful[reader]:
            to, span = divmod(one(graph.fed_by(reader)), len(graph.spans))
            path.append((to, one(useful & graph.edge_mask[to] & (at == span))))
        return path if min(map(min, path)) >= 0 else []

    rows, columns = np.nonzero(graph.edge_mask)
    size, live = 0, min(live, graph.n_edges)
    while size < live:
        before = size
        for draw in rng.permutation(len(rows)):
            path = [edge for edge in joined(int(rows[draw]), int(columns[draw])) if not kept[edge]]
            if size + len(path) > live:
                continue
            for writer, reader in path:
                kept[writer, reader] = True
                fed |= graph.fed_by(reader)
                useful |= graph.inputs(writer, spans[reader])
            size += len(path)
            if size == live:
                break
        if not size:  # no path is so short
            break
        if size == before:  # only paths of two or more edges are left: start over
            kept[:], fed[:], useful[:], size = False, False, False, 0
            fed[0], useful[-1] = differs, True
    return Circuit(graph, kept)
