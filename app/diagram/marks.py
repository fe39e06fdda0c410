"""The marks of which a figure is made: each function turns part of a `View` into Plotly traces.

Edges are drawn as a few traces, one per status and width step, each a single NaN-separated line:
one trace per edge would be ten times slower. The ``meta`` of such a trace lists its edges, in order,
each `layout.POINTS` points long plus the gap, so that whoever shows the figure can find an edge again.
Lines never catch the pointer (``hoverinfo="skip"``); the last trace, invisible, does: its
``customdata`` are node ids.

Boxes, rings and ports are polygons in data coordinates, so they grow with the zoom.
"""

from __future__ import annotations

import html
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import plotly.graph_objects as go

from app.diagram.layout import Points
from app.diagram.palette import ROLES, S_INHIBITION, Palette, role
from app.diagram.scene import Scene, SceneNode, short_name
from hap_engine.graph import Reader

FONT = "system-ui, 'Segoe UI', 'Source Sans', 'Liberation Sans', sans-serif"
GHOST = 0.18
# Width steps: share of the panel's edges up to this step, line width, opacity.
STEPS = ((0.05, 2.6, 0.95), (0.2, 1.6, 0.85), (0.5, 1.0, 0.65), (1.0, 0.7, 0.5))
DASHES = {"both": "solid", "left": "5px,3px", "right": "solid"}
LABELS, PORT_LABELS, TARGETS = "labels", "port labels", "targets"


@dataclass(frozen=True)
class View:
    """What one figure shows of a scene.

    Attributes:
        kept: the status of every node that is drawn solid; the rest are ghosts.
        buckets: indices into ``scene.edges`` by status and width step, in drawing order.
        names: what a status is called in the legend.
    """

    scene: Scene
    kept: Mapping[str, str]
    buckets: Mapping[tuple[str, int], Sequence[int]]
    names: Mapping[str, str]
    colours: Palette

    @cached_property
    def nodes(self) -> list[SceneNode]:
        """Nodes that are not folded away."""
        return [n for n in self.scene.nodes if not self.scene.layout.hidden(n.layer)]

    @cached_property
    def used_ports(self) -> list[Reader]:
        """The q, k and v inputs on which a drawn edge lands."""
        used = {self.scene.edges[i].reader for edges in self.buckets.values() for i in edges}
        return [r for r in self.scene.graph.readers if r.slot and r.name in used]

    def traces(self) -> Iterator[go.Scatter]:
        """All traces, from the background to the pointer targets."""
        yield from _background(self)
        yield from _ghosts(self)
        yield from _edges(self)
        yield from _brackets_and_ports(self)
        yield from _boxes(self)
        yield from _rings(self)
        yield from _texts(self)
        yield _targets(self)


def markup(text: str) -> str:
    """Plain text as Plotly's HTML subset: ``a5.h1<q>`` is a name, not a tag."""
    return html.escape(text, quote=False)


def hover_text(node: SceneNode) -> str:
    """A node's tooltip as Plotly markup."""
    first, *rest = (markup(line) for line in node.lines)
    return "<br>".join([f"<b>{first}</b>", *rest])


def _background(view: View) -> Iterator[go.Scatter]:
    """The residual stream in the gutter, and a thin line for each band of folded layers."""
    layout, colour = view.scene.layout, view.colours.text
    bottom, top = layout.boxes["input"].y, layout.boxes["logits"].y
    left, right = layout.boxes["a0.h0"].x - 0.5, layout.boxes["m0"].right
    x = layout.stream_x
    yield _lines([[(x, bottom), (x, top)]], {"width": 5, "color": colour}, opacity=0.1)
    if layout.bands:
        lines = [[(left, band.y), (right, band.y)] for band in layout.bands]
        yield _lines(lines, {"width": 1.5, "color": colour, "dash": "dot"}, opacity=GHOST)
        yield _text(
            [((left + right) / 2, band.y) for band in layout.bands],
            [band.text for band in layout.bands],
            {"size": 11, "color": view.colours.muted, "shadow": _halo(view)},
        )


def _ghosts(view: View) -> Iterator[go.Scatter]:
    absent = [n for n in view.nodes if n.id not in view.kept]
    yield from _outlines(view, absent, {"width": 1, "color": view.colours.text}, opacity=GHOST)


def _edges(view: View) -> Iterator[go.Scatter]:
    scene = view.scene
    writers = np.array([scene.graph.writer_index[e.writer] for e in scene.edges], dtype=int)
    readers = np.array([scene.graph.reader_index[e.reader] for e in scene.edges], dtype=int)
    for (status, step), indices in view.buckets.items():
        _, width, opacity = STEPS[step]
        x, y = scene.layout.curves(writers[indices], readers[indices])
        yield go.Scatter(
            x=_gapped(x),
            y=_gapped(y),
            mode="lines",
            hoverinfo="skip",
            line={"width": width, "color": view.colours.colours[status], "dash": DASHES[status]},
            opacity=opacity if status == "both" else min(1.0, opacity + 0.15),
            legendgroup=status,
            showlegend=False,
            meta={"edges": list(indices)},
        )
    for status in dict.fromkeys(status for status, _ in view.buckets):
        yield go.Scatter(
            x=[None],
            y=[None],
            mode="lines",
            line={"width": 2.5, "color": view.colours.colours[status], "dash": DASHES[status]},
            name=markup(view.names[status]),
            legendgroup=status,
            legendrank=("both", "left", "right").index(status) + 1,
        )


def _gapped(points: np.ndarray) -> np.ndarray:
    """Rows of points as one line with a gap after each row."""
    return np.pad(points, ((0, 0), (0, 1)), constant_values=np.nan).ravel()


def _brackets_and_ports(view: View) -> Iterator[go.Scatter]:
    """Brackets under heads that share a used KV head, and a tick on every used port."""
    layout, colour = view.scene.layout, view.colours.other
    if layout.group > 1:
        shared = {(r.layer, r.head or 0) for r in view.used_ports if r.slot != "q"}
        brackets = [layout.bracket(layer, head) for layer, head in sorted(shared)]
        yield from _some_lines(brackets, {"width": 1, "color": colour}, opacity=0.55)
    ports = [layout.port(reader) for reader in view.used_ports]
    ticks = [[(x, y - 0.08), (x, y + 0.08)] for x, y in ports]
    yield from _some_lines(ticks, {"width": 2, "color": colour})


def _boxes(view: View) -> Iterator[go.Scatter]:
    for status in ("both", "left", "right"):
        yield from _outlines(
            view,
            [n for n in view.nodes if view.kept.get(n.id) == status],
            {"width": 1, "color": view.colours.background},
            fill="toself",
            fillcolor=view.colours.colours[status],
        )


def _rings(view: View) -> Iterator[go.Scatter]:
    """A thick double ring around S-inhibition heads; dotted where this circuit lacks the head."""
    heads = [n for n in view.nodes if n.role == S_INHIBITION]
    ring = {"width": 2.2, "color": view.colours.s_inhibition}
    for name, line, members in (
        ("S-inhibition head", ring, [n for n in heads if n.id in view.kept]),
        ("S-inhibition, missed", ring | {"dash": "2px,3px"},
         [n for n in heads if n.id not in view.kept]),
    ):  # fmt: skip
        twice = [view.scene.layout.outline(n.id, grow) for n in members for grow in (3.5, 8.0)]
        yield from _some_lines(twice, line, name=name, showlegend=True)


def _texts(view: View) -> Iterator[go.Scatter]:
    """Names inside boxes, ports and roles; the component hides those that do not fit the zoom."""
    layout, colours = view.scene.layout, view.colours
    inside = [n for n in view.nodes if n.id in view.kept and n.kind in ("head", "mlp")]
    named = [n for n in view.nodes if n.role and (n.id in view.kept or n.role == S_INHIBITION)]
    bars = [n for n in view.nodes if n.kind in ("input", "logits")]
    readable = layout.readable
    yield _text(
        [(n.x, n.y) for n in inside],
        [short_name(n) for n in inside],
        {"size": 11, "color": colours.background},
        name=LABELS,
        visible=readable,
    )
    yield _text(
        [layout.port(r) for r in view.used_ports],
        [r.slot for r in view.used_ports],
        {"size": 11, "color": colours.text, "shadow": _halo(view)},
        name=PORT_LABELS,
        visible=False,
        textposition="bottom center",
    )
    yield _text(
        [layout.above(n.id, 10 if n.role == S_INHIBITION else 2) for n in named],
        [f"{_mark(n)} {short_name(n)}" for n in named],
        {
            "size": 12 if readable else 11,
            "weight": 700,
            "color": [colours.colours[_role_colour(n)] for n in named],
            "shadow": _halo(view),
        },
        textposition="top center",
    )
    yield _text(
        [(n.x, n.y) for n in bars],
        [short_name(n) for n in bars],
        {"size": 11 if readable else 9, "color": colours.background},
    )


def _targets(view: View) -> go.Scatter:
    """Invisible markers that catch the pointer; wide bars get several."""
    places: list[tuple[float, float, SceneNode]] = []
    for node in view.nodes:
        box = view.scene.layout.boxes[node.id]
        count = {"head": 1, "mlp": 5}.get(node.kind, 21)
        across = np.linspace(-0.9, 0.9, count) if count > 1 else [0.0]
        places += [(box.x + float(share) * box.half_width, box.y, node) for share in across]
    return go.Scatter(
        x=np.array([x for x, _, _ in places], dtype=np.float32),
        y=np.array([y for _, y, _ in places], dtype=np.float32),
        mode="markers",
        marker={"symbol": "square", "size": 12, "opacity": 0},
        customdata=[node.id for _, _, node in places],
        text=[hover_text(node) for _, _, node in places],
        hoverinfo="text",
        name=TARGETS,
        showlegend=False,
    )


def _outlines(
    view: View, nodes: Sequence[SceneNode], line: Mapping[str, Any], **options: Any
) -> Iterator[go.Scatter]:
    yield from _some_lines([view.scene.layout.outline(n.id) for n in nodes], line, **options)


def _some_lines(
    shapes: Sequence[Points], line: Mapping[str, Any], **options: Any
) -> Iterator[go.Scatter]:
    """`_lines`, or no trace where there is nothing to draw."""
    if shapes:
        yield _lines(shapes, line, **options)


def _lines(shapes: Iterable[Points], line: Mapping[str, Any], **options: Any) -> go.Scatter:
    """Several lines or polygons as one trace."""
    gap = (np.nan, np.nan)
    points = np.array([p for shape in shapes for p in (*shape, gap)], dtype=np.float32)
    return go.Scatter(
        x=points[:, 0],
        y=points[:, 1],
        mode="lines",
        line={"simplify": False, **line},
        hoverinfo="skip",
        **{"showlegend": False, **options},
    )


def _text(
    points: Points, texts: Sequence[str], textfont: Mapping[str, Any], **options: Any
) -> go.Scatter:
    return go.Scatter(
        x=np.array([x for x, _ in points], dtype=np.float32),
        y=np.array([y for _, y in points], dtype=np.float32),
        text=[markup(text) for text in texts],
        mode="text",
        textfont={"family": FONT, **textfont},
        hoverinfo="skip",
        showlegend=False,
        **options,
    )


def _mark(node: SceneNode) -> str:
    known = role(node.role)
    return known.mark if known else ""


def _role_colour(node: SceneNode) -> str:
    return ROLES[node.role].colour if node.role in ROLES else "other"


def _halo(view: View) -> str:
    """A soft edge in the colour of the page keeps texts readable over lines."""
    return ", ".join([f"0 0 3px {view.colours.background}"] * 3)
