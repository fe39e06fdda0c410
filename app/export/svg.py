"""A circuit as an SVG file: the picture of the explorer as plain vector shapes, names included.

Drawn straight from the `Scene`, with no browser and no Plotly, so that it also works in a script and
in a document to print. Every node and edge is an element of its own with a ``<title>``, so that a
drawing program can pick it up and a browser names it under the pointer.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any, Literal

import numpy as np

from app.export.shapes import line, text
from hap_engine.picture.palette import LIGHT, ROLES, S_INHIBITION, Palette, role
from hap_engine.picture.scene import Scene, SceneEdge, SceneNode, Status

Which = Literal["left", "right", "overlay"]

FONT = "system-ui, 'Segoe UI', 'Liberation Sans', Arial, sans-serif"
# Share of the panel's edges up to this step, line width, opacity: the strongest stand out.
STEPS = ((0.05, 2.6, 0.95), (0.2, 1.6, 0.85), (0.5, 1.0, 0.65), (1.0, 0.7, 0.5))
DASHES = {"both": "", "left": "5 3", "right": ""}
GHOST = 0.18
FAINT = 0.35  # of an edge's opacity
CURVE = "M%.1f,%.1fC%.1f,%.1f %.1f,%.1f %.1f,%.1f"
TOP, BOTTOM, LEFT, RIGHT = (52, 62, 38, 14)  # margins around the plot area: title, legend, layer names


@dataclass(frozen=True)
class Canvas:
    """The plot area in pixels, and how the scene's units map to it."""

    scene: Scene
    which: Which
    colours: Palette
    width: float
    height: float

    def x(self, value: Any) -> Any:
        low, high = self.scene.layout.x_range
        return LEFT + (value - low) / (high - low) * (self.width - LEFT - RIGHT)

    def y(self, value: Any) -> Any:
        low, high = self.scene.layout.y_range
        return self.height - BOTTOM - (value - low) / (high - low) * (self.height - TOP - BOTTOM)

    def kept(self, node: SceneNode) -> bool:
        if self.which == "overlay":
            return node.status != "none"
        return node.kept_left if self.which == "left" else node.kept_right

    def place(self, edge: SceneEdge) -> int | None:
        """The edge's place among the edges of this picture, None if it is not in it."""
        sides = {"left": (0,), "right": (1,), "overlay": (0, 1)}[self.which]
        places = (edge.left_place, edge.right_place)
        shown = (self.scene.left.shown, self.scene.right.shown)
        drawn = [places[i] for i in sides if places[i] and places[i] <= shown[i]]  # type: ignore[operator]
        return drawn[0] if drawn else None

    @property
    def nodes(self) -> list[SceneNode]:
        return [node for node in self.scene.nodes if not self.scene.layout.hidden(node.layer)]


def svg(
    scene: Scene,
    which: Which = "right",
    colours: Palette = LIGHT,
    size: tuple[int, int] = (640, 760),
    background: bool = True,
) -> str:
    """One panel (or both laid over each other) as the text of an SVG file."""
    canvas = Canvas(scene, which, colours, *size)
    width, height = size
    title = _title(scene, which)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" '
        f'height="{height}" font-family="{FONT}" fill="{colours.text}" role="img" '
        f'aria-label="{escape(title)}">',
        f"<title>{escape(title)}</title>",
    ]
    if background:
        parts.append(f'<rect width="{width}" height="{height}" fill="{colours.background}"/>')
    parts += [
        text(LEFT, 24, title, size=16, weight=700, anchor="start"),
        text(LEFT, 41, _width_meaning(scene, which), size=11, fill=colours.muted, anchor="start"),
        *_axes(canvas),
        *_ghosts(canvas),
        *_edges(canvas),
        *_ports(canvas),
        *_boxes(canvas),
        *_legend(canvas),
        "</svg>",
    ]
    return "\n".join(parts)


def _title(scene: Scene, which: Which) -> str:
    if which == "overlay":
        return f"{scene.left.label} and {scene.right.label}"
    return scene.panel(which).title


def _judged(scene: Scene, which: Which) -> bool:
    """Whether the picture shows the circuit whose edges carry shares of searches."""
    return scene.judged is not None and which in ("overlay", scene.judged)


def _width_meaning(scene: Scene, which: Which) -> str:
    judged = _judged(scene, which) and any(edge.faint for edge in scene.edges)
    faint = ". Faint: fewer than half of the searches compared keep it" if judged else ""
    if which == "overlay":
        return f"One line width for all: the two circuits measure their edges in different units{faint}"
    return f"Line width: {scene.panel(which).measure}{faint}"


def _axes(canvas: Canvas) -> Iterator[str]:
    """The residual stream in the gutter, folded bands, and the numbers of layers and heads."""
    layout, colours = canvas.scene.layout, canvas.colours
    x = canvas.x(layout.stream_x)
    low, high = canvas.y(layout.boxes["input"].y), canvas.y(layout.boxes["logits"].y)
    yield line([(x, low), (x, high)], colours.text, 5, opacity=0.1)
    for band in layout.bands:
        y = canvas.y(band.y)
        yield line([(LEFT, y), (canvas.width - RIGHT, y)], colours.text, 1.5, "2 4", GHOST)
        yield text(canvas.x(layout.boxes["input"].x), y - 3, band.text, size=11, fill=colours.muted)
    layers = [layer for layer in layout.layer_y if not layout.hidden(layer)]
    for layer in layers[:: 1 + len(layers) // 17]:
        yield text(LEFT - 6, canvas.y(layout.layer_y[layer]) + 4, f"L{layer}", 11, colours.muted, "end")
    step = 1 if layout.graph.n_heads <= 16 else 2
    below = canvas.height - BOTTOM + 14
    for head in range(0, layout.graph.n_heads, step):
        yield text(canvas.x(head), below, str(head), 11, colours.muted)
    yield text(canvas.x(layout.boxes["m0"].x), below, "MLP", 11, colours.muted)


def _ghosts(canvas: Canvas) -> Iterator[str]:
    yield f'<g fill="none" stroke="{canvas.colours.text}" opacity="{GHOST}">'
    yield from (_box(canvas, node) for node in canvas.nodes if not canvas.kept(node))
    yield "</g>"


def _edges(canvas: Canvas) -> Iterator[str]:
    """One group per status and width step, the strongest last, so that they lie on top."""
    scene = canvas.scene
    total = max(1, scene.panel(canvas.which).edges if canvas.which != "overlay" else 1)
    judged = _judged(scene, canvas.which)
    groups: dict[tuple[int, bool, Status], list[int]] = {}
    for index, edge in enumerate(scene.edges):
        place = canvas.place(edge)
        if place is None:
            continue
        step = 2 if canvas.which == "overlay" else _step(place, total)
        groups.setdefault((-step, not (judged and edge.faint), edge.status), []).append(index)
    for (step, sure, status), indices in sorted(groups.items()):
        _, width, opacity = STEPS[-step]
        dash = f' stroke-dasharray="{DASHES[status]}"' if DASHES[status] else ""
        yield (
            f'<g fill="none" stroke="{canvas.colours.colours[status]}" stroke-width="{width}" '
            f'opacity="{opacity * (1 if sure else FAINT):.3g}"{dash}>'
        )
        yield from _curves(canvas, indices)
        yield "</g>"


def _step(place: int, total: int) -> int:
    return next(i for i, (share, _, _) in enumerate(STEPS) if place <= max(1, share * total))


def _curves(canvas: Canvas, indices: Sequence[int]) -> Iterator[str]:
    scene, graph = canvas.scene, canvas.scene.graph
    writers = np.array([graph.writer_index[scene.edges[i].writer] for i in indices])
    readers = np.array([graph.reader_index[scene.edges[i].reader] for i in indices])
    xs, ys = scene.layout.controls(writers, readers)
    points = np.stack([canvas.x(xs), canvas.y(ys)], 2).reshape(len(indices), 8).tolist()
    for i, places in zip(indices, points, strict=True):
        edge = scene.edges[i]
        yield f'<path d="{CURVE % tuple(places)}"><title>{escape(_edge_text(edge))}</title></path>'


def _edge_text(edge: SceneEdge) -> str:
    parts = [f"{edge.writer} → {edge.reader}"]
    if edge.rank is not None:
        parts.append(f"EAP rank {edge.rank:,}")
    if edge.gate is not None:
        parts.append(f"gate {edge.gate:.1f}")
    return " · ".join(parts)


def _ports(canvas: Canvas) -> Iterator[str]:
    """Ticks where edges land, and the brackets of KV groups that are used."""
    layout, graph = canvas.scene.layout, canvas.scene.graph
    used = {edge.reader for edge in canvas.scene.edges if canvas.place(edge)}
    readers = [reader for reader in graph.readers if reader.slot and reader.name in used]
    yield f'<g fill="none" stroke="{canvas.colours.other}">'
    shared = {(r.layer, r.head or 0) for r in readers if r.slot != "q"} if layout.group > 1 else set()
    for layer, head in sorted(shared):
        points = [(canvas.x(x), canvas.y(y)) for x, y in layout.bracket(layer, head)]
        yield line(points, "", 1, opacity=0.55)
    for reader in readers:
        x, y = layout.port(reader)
        yield line([(canvas.x(x), canvas.y(y - 0.08)), (canvas.x(x), canvas.y(y + 0.08))], "", 2)
    yield "</g>"


def _boxes(canvas: Canvas) -> Iterator[str]:
    """Kept nodes with their names, rings around S-inhibition heads, and the roles."""
    colours = canvas.colours
    for node in canvas.nodes:
        kept = canvas.kept(node)
        if node.role == S_INHIBITION:
            yield from (_ring(canvas, node, grow, kept) for grow in (3.5, 8.0))
        if not kept:
            continue
        words = escape("\n".join(node.lines))
        yield f"<g><title>{words}</title>{_box(canvas, node, colours.colours[node.status])}"
        if _fits(canvas, node):
            yield text(canvas.x(node.x), canvas.y(node.y) + 4, _short(node), 11, colours.background)
        yield "</g>"
    for node in canvas.nodes:
        known = role(node.role)
        if known and (canvas.kept(node) or node.role == S_INHIBITION):
            box = canvas.scene.layout.boxes[node.id]
            above = canvas.y(box.y + box.half_height) - (14 if node.role == S_INHIBITION else 5)
            colour = colours.colours[ROLES[node.role].colour if node.role in ROLES else "other"]
            yield text(
                canvas.x(box.x), above, f"{known.mark} {_short(node)}", 12, colour, weight=700, halo=colours.background
            )


def _short(node: SceneNode) -> str:
    return {"head": f"{node.layer}.{node.head}", "mlp": f"mlp {node.layer}"}.get(node.kind, node.id)


def _fits(canvas: Canvas, node: SceneNode) -> bool:
    box = canvas.scene.layout.boxes[node.id]
    wide = canvas.x(box.x + box.half_width) - canvas.x(box.x - box.half_width)
    high = canvas.y(box.y - box.half_height) - canvas.y(box.y + box.half_height)
    return wide >= 6.2 * len(_short(node)) and high >= 12


def _box(canvas: Canvas, node: SceneNode, fill: str = "", grow: float = 0.0) -> str:
    box = canvas.scene.layout.boxes[node.id]
    left, top = canvas.x(box.x - box.half_width) - grow, canvas.y(box.y + box.half_height) - grow
    wide = canvas.x(box.x + box.half_width) + grow - left
    high = canvas.y(box.y - box.half_height) + grow - top
    corner = 0.0 if node.kind == "head" and not grow else 0.3 * high
    paint = f' fill="{fill}"' if fill else ""
    return (
        f'<rect x="{left:.1f}" y="{top:.1f}" width="{max(0.0, wide):.1f}" '
        f'height="{max(0.0, high):.1f}" rx="{corner:.1f}"{paint}/>'
    )


def _ring(canvas: Canvas, node: SceneNode, grow: float, kept: bool) -> str:
    dash = "" if kept else ' stroke-dasharray="2 3"'
    ring = _box(canvas, node, "none", grow)
    return ring.replace("/>", f' stroke="{canvas.colours.s_inhibition}" stroke-width="2.2"{dash}/>')


def _legend(canvas: Canvas) -> Iterator[str]:
    """What colours and dashes mean, with counts, in the order of their use."""
    scene, colours = canvas.scene, canvas.colours
    left, right = scene.left.short, scene.right.short
    names = {"both": "in both circuits", "left": f"only {left}", "right": f"only {right}"}
    drawn = [edge.status for edge in scene.edges if canvas.place(edge)]
    x, y = float(LEFT), canvas.height - 26
    for status in ("both", "left", "right"):
        if status not in drawn:
            continue
        words = f"{names[status]} · {drawn.count(status):,}"
        yield line([(x, y), (x + 26, y)], colours.colours[status], 2.5, DASHES[status])
        yield text(x + 32, y + 4, words, 12, anchor="start")
        x += 46 + 6 * len(words)
    if any(node.role == S_INHIBITION for node in canvas.nodes):
        words = "S-inhibition head (dotted: not kept)"
        if x + 6 * len(words) > canvas.width:
            x, y = float(LEFT), y + 19
        ring = f'fill="none" stroke="{colours.s_inhibition}" stroke-width="2.2"'
        yield f'<rect x="{x:.0f}" y="{y - 6:.0f}" width="12" height="12" rx="3" {ring}/>'
        yield text(x + 18, y + 4, words, 12, anchor="start")
