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
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from hap_engine.findings import EDGE_VALUES, CircuitRecord, Findings
from hap_engine.graph.circuit import Circuit
from hap_engine.graph.graph import Graph, Reader
from hap_engine.picture import palette
from hap_engine.picture.at_sizes import AtSizes, at_sizes
from hap_engine.picture.edge_order import first, measure, values
from hap_engine.picture.layout import Layout, arrange, empty_layers
from hap_engine.report.test_sentences import HALF
from hap_engine.report.token_places import OnSentence, on_sentence

Status = Literal["both", "left", "right", "none"]
Side = Literal["left", "right"]

SHORT = {"eap": "EAP", "hap": "HAP", "ep": "EP", "rival": "Rival"}
TITLES = {"eap": "EAP only", "hap": "HAP", "ep": "Edge Pruning only", "rival": "Rival"}

Curve = tuple[tuple[int, float], ...]  # (edges, faithfulness), wherever it was measured


@dataclass(frozen=True)
class Panel:
    """One side: which circuit, its size, how many of its strongest edges are drawn, and by what."""

    name: str
    label: str
    edges: int
    shown: int
    measure: str
    curve: Curve = ()

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
    seeds: float | None = None  # share of the searches that were compared (of seeds, of samples) that keep it

    @property
    def faint(self) -> bool:
        """Fewer than half of the searches that were compared keep it."""
        return self.seeds is not None and self.seeds < HALF


@dataclass(frozen=True, eq=False)
class Scene:
    """Everything that the figures and the component draw."""

    graph: Graph
    layout: Layout
    left: Panel
    right: Panel
    nodes: tuple[SceneNode, ...]
    edges: tuple[SceneEdge, ...]
    at_sizes: AtSizes | None = None  # both circuits at every size, where the run has them
    judged: Side | None = None  # whose edges carry shares of searches: that of the run's own circuit
    sentence: OnSentence | None = None  # where the heads act and look, where the run stores it

    def panel(self, side: Side) -> Panel:
        return self.left if side == "left" else self.right


def build(
    run: Findings, left: str = "eap", right: str = "hap", *, fold: bool = False, strongest: int | None = None
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
        curves={name: _curve(run, name) for name in (left, right)},
        seeds=_seeds(run),
        judged="right" if right == run.main else "left" if left == run.main else None,
        sizes=at_sizes(run, left, right),
        sentence=on_sentence(run, left, right),
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
    curves: Mapping[str, Curve] | None = None,
    seeds: Mapping[tuple[str, str], float] | None = None,
    judged: Side | None = None,
    sizes: AtSizes | None = None,
    sentence: OnSentence | None = None,
    fold: bool = False,
    strongest: int | None = None,
) -> Scene:
    """Compare two named circuits on `graph`, as `build` does for those of a run.

    Args:
        roles: per head ``role`` and ``sentence`` (the evidence), as in a run.
        heads: per head ``eap_rank`` and ``eap_edge``, as in a run.
        curves: per circuit its faithfulness where it was measured.
        seeds: per edge the share of searches that keep it, as in a run's stability; `judged`: whose edges these are.
        sizes: both circuits at every size; a layer is empty that holds nothing at any.
        sentence: where heads act and look on prompts.
    """
    degrees = [_degrees(record.circuit) for _, record in (left, right)]
    wider = [_degrees(Circuit(graph, sizes.shown(side))) for side in (0, 1)] if sizes else []
    used = {name for side in (*degrees, *wider) for name, ends in side.items() if any(ends)}
    layout = arrange(graph, empty_layers(graph, used) if fold else ())
    panels = [_panel(name, record, strongest, (curves or {}).get(name, ())) for name, record in (left, right)]
    names = [*(writer.name for writer in graph.writers), "logits"]
    nodes = tuple(
        _node(
            name,
            layout,
            panels,
            [side[name] for side in degrees],
            (roles or {}).get(name, {}),
            (heads or {}).get(name, {}),
        )
        for name in names
    )
    edges = _edges(left[1], right[1], seeds or {})
    return Scene(graph, layout, panels[0], panels[1], nodes, edges, sizes, judged, sentence)


def targets(graph: Graph, reader: Reader) -> list[str]:
    """The nodes that a reader belongs to: one, or every head that it feeds (usually those of a KV group)."""
    fed = (graph.writers[row] for row in np.flatnonzero(graph.feeds[graph.reader_index[reader.name]]))
    return [writer.name for writer in fed if writer.kind != "norm"] or [reader.name]


def search_text(node: SceneNode) -> str:
    """What the search box matches: ``a9.h9 9.9 s-inhibition``, ``m0 mlp 0``."""
    short = {
        "head": f"{node.layer}.{node.head} head",
        "mlp": f"mlp {node.layer} mlp{node.layer}",
        "norm": f"norm {node.layer} norm writer",
    }
    return f"{node.id} {short.get(node.kind, '')} {node.role} {node.role_label}".lower()


def spoken(node: SceneNode) -> str:
    """A full name for screen readers, with the role."""
    names = {"input": "Input embedding", "logits": "Logits", "mlp": f"MLP {node.layer}"}
    names["norm"] = f"Norm writer {node.layer}"
    name = names.get(node.kind, f"Head {node.layer}.{node.head}")
    return f"{name}, {node.role_label}" if node.role_label else name


def short_name(node: SceneNode) -> str:
    """``9.6``, ``mlp 3``, ``norm 3``, ``input`` or ``logits``."""
    names = {"head": f"{node.layer}.{node.head}", "mlp": f"mlp {node.layer}", "norm": f"norm {node.layer}"}
    return names.get(node.kind, node.id)


def _curve(run: Findings, name: str) -> Curve:
    """Faithfulness wherever it was measured: of the circuit itself, then along its order of edges."""
    whole = len(run.circuits[name].circuit), run.metrics.get(name, {}).get("faithfulness")
    stored = run.statistics.get("curves", {}).get(name, {})
    points = zip(stored.get("shares", ()), stored.get("faithfulness", ()), strict=False)
    sizes = [whole, *((int(share * run.graph.n_edges + 1e-9), faith) for share, faith in points)]
    return tuple((n, float(f)) for n, f in sizes if n and f is not None and math.isfinite(f))


def _panel(name: str, record: CircuitRecord, strongest: int | None, curve: Curve) -> Panel:
    edges = len(record.circuit)
    shown = edges if strongest is None else min(edges, strongest)
    return Panel(name, TITLES.get(name, name), edges, shown, measure(record)[0], curve)


def _seeds(run: Findings) -> dict[tuple[str, str], float]:
    """Each edge of the main circuit with the share of searches that keep it, where some were compared."""
    return dict(zip(run.circuits[run.main].circuit.names(), run.stability.get("edges", ()), strict=False))


def _edges(left: CircuitRecord, right: CircuitRecord, seeds: Mapping[tuple[str, str], float]) -> tuple[SceneEdge, ...]:
    sides = [values(left), values(right)]
    out = []
    for writer, reader in (left.circuit | right.circuit).names():
        here = [side.get((writer, reader), {}) for side in sides]
        known = {key: first(found.get(key) for found in here) for key in EDGE_VALUES}
        out.append(
            SceneEdge(
                writer,
                reader,
                _status(*(bool(found) for found in here)),
                score=known["scores"],
                rank=None if known["ranks"] is None else int(known["ranks"]),
                gate=known["gates"],
                left_place=here[0].get("place"),
                right_place=here[1].get("place"),
                seeds=seeds.get((writer, reader)),
            )
        )
    return tuple(out)


def _status(left: bool, right: bool) -> Status:
    if left and right:
        return "both"
    return "left" if left else "right" if right else "none"


def _node(
    name: str,
    layout: Layout,
    panels: list[Panel],
    degrees: Sequence[tuple[int, int]],
    role_record: Mapping[str, Any],
    head_record: Mapping[str, Any],
) -> SceneNode:
    graph = layout.graph
    writer = graph.writers[graph.writer_index[name]] if name != "logits" else None
    role = palette.role(role_record.get("role"))
    kept = [(into > 0 or name == "input") and (out > 0 or name == "logits") for into, out in degrees]
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
    if writer and writer.kind == "norm":
        lines += textwrap.wrap("Carries what the norm of this layer's heads adds when their sum changes its size.", 58)
    if writer and writer.head is not None and graph.coupled:
        lines += textwrap.wrap(_coupling(graph, writer.head), 58)
    lines += textwrap.wrap(str(role_record.get("sentence") or ""), 58)
    for panel, here, (into, out) in zip(panels, kept, degrees, strict=True):
        lines.append(f"{panel.short}: " + (f"kept, {into} in, {out} out" if here else "not kept"))
    if head_record.get("eap_rank") is not None:
        lines.append(
            f"Best EAP rank {int(head_record['eap_rank']):,} of {graph.n_edges:,}"
            + (f"  ({_edge_name(head_record['eap_edge'])})" if "eap_edge" in head_record else "")
        )
    return replace(node, lines=tuple(lines))


def _coupling(graph: Graph, head: int) -> str:
    """Which other heads a head's own slots act on inside attention, in models where they do."""
    group = graph.n_heads // graph.n_kv_heads
    rows = {
        "query": head,
        "key": graph.n_heads + head // group,
        "value": graph.n_heads + graph.n_kv_heads + head // group,
    }
    wide = [slot for slot, row in rows.items() if len(graph.coupled[row]) > (1 if slot == "query" else group)]
    return f"Inside attention its {' and '.join(wide)} also changes other heads of the layer." if wide else ""


def _edge_name(edge: Any) -> str:
    return " → ".join(map(str, edge)) if isinstance(edge, list | tuple) else str(edge)


def _degrees(circuit: Circuit) -> dict[str, tuple[int, int]]:
    """Edges into and out of every node. An edge into a KV head counts for each head that shares it."""
    graph, kept = circuit.graph, circuit.kept
    into = kept.sum(axis=0)
    reached, sent = into @ graph.feeds, kept.sum(axis=1)
    ends = {writer.name: (int(reached[row]), int(sent[row])) for row, writer in enumerate(graph.writers)}
    return ends | {"logits": (int(into[graph.reader_index["logits"]]), 0)}
