"""What the picture says, as plain data: two circuits of one run compared node by node, edge by edge.

Nothing here knows how it is drawn. Texts are plain: whoever turns one into markup escapes it.

An edge is ``both``, ``left`` or ``right``: in both circuits or in one of them. A node is *kept* by a
circuit when it has an edge in and an edge out there (``input`` needs only one out, ``logits`` one
in); the others are ghosts. EAP scores and gates are different units, so a panel orders its edges by
its own measure, and only the place in that order (1 = strongest) is ever compared or drawn.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import networkx as nx
import numpy as np

from app.diagram import palette
from app.diagram.layout import Layout, arrange, empty_layers, place
from hap_engine.graph import Graph, Reader
from hap_engine.runs import EDGE_VALUES as VALUES
from hap_engine.runs import CircuitRecord, Run

Status = Literal["both", "left", "right", "none"]
Side = Literal["left", "right"]

SHORT = {"eap": "EAP", "hap": "HAP", "ep": "EP"}
TITLES = {"eap": "EAP only", "hap": "HAP", "ep": "Edge Pruning only"}


@dataclass(frozen=True)
class Panel:
    """One side: which circuit, its size, how many of its strongest edges are drawn, and by what."""

    name: str
    label: str
    edges: int
    shown: int
    measure: str

    @property
    def short(self) -> str:
        return SHORT.get(self.name, self.name)

    @property
    def title(self) -> str:
        part = f", {self.shown:,} strongest shown" if self.shown < self.edges else ""
        return f"{self.label} · {self.edges:,} edges{part}"


@dataclass(frozen=True)
class SceneNode:
    """One node with its place, its status and its texts (`lines` is the tooltip)."""

    id: str
    kind: str
    layer: int
    head: int | None
    x: float
    y: float
    role: str
    role_label: str
    kept_left: bool
    kept_right: bool
    lines: tuple[str, ...]

    @property
    def status(self) -> Status:
        return _status(self.kept_left, self.kept_right)


@dataclass(frozen=True)
class SceneEdge:
    """One edge: its status, its values, and its place among each panel's edges (None: absent)."""

    writer: str
    reader: str
    status: Status
    score: float | None
    rank: int | None
    gate: float | None
    left_place: int | None
    right_place: int | None


@dataclass(frozen=True, eq=False)
class Scene:
    """Everything that the figures and the component draw."""

    graph: Graph
    layout: Layout
    left: Panel
    right: Panel
    nodes: tuple[SceneNode, ...]
    edges: tuple[SceneEdge, ...]

    def panel(self, side: Side) -> Panel:
        return self.left if side == "left" else self.right

    def missed(self) -> list[SceneNode]:
        """S-inhibition heads that the right circuit keeps and the left one lacks."""
        return [n for n in self.nodes if n.role == palette.S_INHIBITION and n.status == "right"]

    def to_dict(self) -> dict[str, Any]:
        """The scene as JSON-able data."""
        return {
            "graph": self.graph.to_dict(),
            "left": asdict(self.left),
            "right": asdict(self.right),
            "nodes": [asdict(n) | {"status": n.status} for n in self.nodes],
            "edges": [asdict(e) for e in self.edges],
            "ghosts": [n.id for n in self.nodes if n.status == "none"],
        }


def build(
    run: Run,
    left: str = "eap",
    right: str = "hap",
    *,
    fold: bool = False,
    strongest: int | None = None,
) -> Scene:
    """Compare two circuits of a run.

    Args:
        fold: draw layers that are empty in both circuits as thin bands.
        strongest: draw only so many edges a side; counts and statuses stay those of the circuits.
    """
    return compare(
        run.graph,
        (left, run.circuits[left]),
        (right, run.circuits[right]),
        roles=run.roles.get("heads", {}),
        heads=run.heads,
        fold=fold,
        strongest=strongest,
    )


def compare(
    graph: Graph,
    left: tuple[str, CircuitRecord],
    right: tuple[str, CircuitRecord],
    *,
    roles: Mapping[str, Mapping[str, Any]] | None = None,
    heads: Mapping[str, Mapping[str, Any]] | None = None,
    fold: bool = False,
    strongest: int | None = None,
) -> Scene:
    """Compare two named circuits on `graph`, as `build` does for those of a run.

    Args:
        roles: per head ``role`` and ``sentence`` (the evidence), as in a run.
        heads: per head ``eap_rank`` and ``eap_edge``, as in a run.
    """
    drawn = [record.circuit.to_networkx() for _, record in (left, right)]
    used = set(drawn[0]) | set(drawn[1])
    layout = arrange(graph, empty_layers(graph, used) if fold else ())
    left_graph, right_graph = (place(g, layout) for g in drawn)
    panels = [_panel(name, record, strongest) for name, record in (left, right)]
    nodes = tuple(
        _node(
            name,
            layout,
            panels,
            (left_graph, right_graph),
            (roles or {}).get(name, {}),
            (heads or {}).get(name, {}),
        )
        for name in (*(w.name for w in graph.writers), "logits")
    )
    return Scene(graph, layout, panels[0], panels[1], nodes, _edges(left[1], right[1]))


def targets(graph: Graph, reader: Reader) -> list[str]:
    """The nodes that a reader belongs to: one, or every head of a KV group."""
    column = graph.reader_index[reader.name]
    return [graph.writers[w].name for w in np.flatnonzero(graph.feeds[column])] or [reader.name]


def ends(scene: Scene) -> list[tuple[str, list[str]]]:
    """Per edge of the scene its writer and the nodes it feeds (every head of a KV group)."""
    readers = {reader.name: targets(scene.graph, reader) for reader in scene.graph.readers}
    return [(edge.writer, readers[edge.reader]) for edge in scene.edges]


def search_text(node: SceneNode) -> str:
    """What the search box matches: ``a9.h9 9.9 s-inhibition``, ``m0 mlp 0``."""
    short = {"head": f"{node.layer}.{node.head} head", "mlp": f"mlp {node.layer} mlp{node.layer}"}
    return f"{node.id} {short.get(node.kind, '')} {node.role} {node.role_label}".lower()


def spoken(node: SceneNode) -> str:
    """A full name for screen readers, with the role."""
    names = {"input": "Input embedding", "logits": "Logits", "mlp": f"MLP {node.layer}"}
    name = names.get(node.kind, f"Head {node.layer}.{node.head}")
    return f"{name}, {node.role_label}" if node.role_label else name


def short_name(node: SceneNode) -> str:
    """``9.6``, ``mlp 3``, ``input`` or ``logits``."""
    return {"head": f"{node.layer}.{node.head}", "mlp": f"mlp {node.layer}"}.get(node.kind, node.id)


def _panel(name: str, record: CircuitRecord, strongest: int | None) -> Panel:
    edges = len(record.circuit)
    shown = edges if strongest is None else min(edges, strongest)
    return Panel(name, TITLES.get(name, name), edges, shown, _measure(record)[0])


def _measure(record: CircuitRecord) -> tuple[str, np.ndarray]:
    """What orders the edges of a circuit, and that value per edge, strongest = largest."""
    gates, ranks = record.values.get("gates"), record.values.get("ranks")
    if gates is not None and np.isfinite(gates).any():
        return "learned gate (log α), widest = most open", np.nan_to_num(gates, nan=-np.inf)
    if ranks is not None and np.isfinite(ranks).any():
        return "EAP rank, widest = largest |score|", -np.nan_to_num(ranks, nan=np.inf)
    return "nothing: all edges alike", np.zeros(len(record.circuit))


def _edges(left: CircuitRecord, right: CircuitRecord) -> tuple[SceneEdge, ...]:
    sides = [_values(left), _values(right)]
    out = []
    for writer, reader in (left.circuit | right.circuit).names():
        here = [side.get((writer, reader), {}) for side in sides]
        known = {key: _first(values.get(key) for values in here) for key in VALUES}
        out.append(
            SceneEdge(
                writer,
                reader,
                _status(*(bool(values) for values in here)),
                score=known["scores"],
                rank=None if known["ranks"] is None else int(known["ranks"]),
                gate=known["gates"],
                left_place=here[0].get("place"),
                right_place=here[1].get("place"),
            )
        )
    return tuple(out)


def _values(record: CircuitRecord) -> dict[tuple[str, str], dict[str, Any]]:
    strength = _measure(record)[1]
    places = np.empty(len(strength), dtype=int)
    places[np.argsort(-strength, kind="stable")] = np.arange(1, len(strength) + 1)
    columns = {
        key: [_finite(v) for v in record.values[key]] if key in record.values else None
        for key in VALUES
    }
    return {
        names: {"place": int(places[i])}
        | {key: None if column is None else column[i] for key, column in columns.items()}
        for i, names in enumerate(record.circuit.names())
    }


def _first(values: Iterable[float | None]) -> float | None:
    return next((value for value in values if value is not None), None)


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def _status(left: bool, right: bool) -> Status:
    if left and right:
        return "both"
    return "left" if left else "right" if right else "none"


def _node(
    name: str,
    layout: Layout,
    panels: list[Panel],
    graphs: tuple[nx.MultiDiGraph, nx.MultiDiGraph],
    role_record: Mapping[str, Any],
    head_record: Mapping[str, Any],
) -> SceneNode:
    graph = layout.graph
    writer = graph.writers[graph.writer_index[name]] if name != "logits" else None
    role = palette.role(role_record.get("role"))
    degrees = [_degrees(g, name) for g in graphs]
    kept = [
        (into > 0 or name == "input") and (out > 0 or name == "logits") for into, out in degrees
    ]
    box = layout.boxes[name]
    node = SceneNode(
        id=name,
        kind=writer.kind if writer else "logits",
        layer=writer.layer if writer else graph.n_layers,
        head=writer.head if writer else None,
        x=box.x,
        y=box.y,
        role=role.key if role else "",
        role_label=role.label if role else "",
        kept_left=kept[0],
        kept_right=kept[1],
        lines=(),
    )
    lines = [f"{spoken(node)}  ({name})"]
    lines += textwrap.wrap(str(role_record.get("sentence") or ""), 58)
    for panel, here, (into, out) in zip(panels, kept, degrees, strict=True):
        lines.append(f"{panel.short}: " + (f"kept, {into} in, {out} out" if here else "not kept"))
    if head_record.get("eap_rank") is not None:
        lines.append(
            f"Best EAP rank {int(head_record['eap_rank']):,} of {graph.n_edges:,}"
            + (f"  ({_edge_name(head_record['eap_edge'])})" if "eap_edge" in head_record else "")
        )
    return replace(node, lines=tuple(lines))


def _edge_name(edge: Any) -> str:
    return " → ".join(map(str, edge)) if isinstance(edge, list | tuple) else str(edge)


def _degrees(graph: nx.MultiDiGraph, name: str) -> tuple[int, int]:
    """Edges in and out; an edge into a KV head that several heads share counts once."""
    if name not in graph:
        return 0, 0
    return graph.in_degree(name), len({r for _, _, r in graph.out_edges(name, data="reader")})
