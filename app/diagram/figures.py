"""Scene → Plotly figures: one panel each for the left and the right circuit, and an overlay.

EAP scores and gates are different units, so each panel orders its edges by its own measure, draws
width by the place in that order and says so under the picture; the overlay uses one width for all.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from app.diagram.marks import FONT, STEPS, View, markup
from app.diagram.palette import LIGHT, Palette
from app.diagram.scene import Scene, SceneEdge, Side

PLAIN = 2  # the width step of the overlay


def panel_figure(scene: Scene, side: Side, colours: Palette = LIGHT) -> go.Figure:
    """One circuit of the comparison; what only the other one keeps stays a ghost."""
    panel = scene.panel(side)
    other = scene.panel("right" if side == "left" else "left")
    buckets: dict[tuple[str, int], list[int]] = {
        (status, step): [] for step in reversed(range(len(STEPS))) for status in ("both", side)
    }
    for index, edge in enumerate(scene.edges):
        place = _place(edge, side)
        if place and place <= panel.shown:
            buckets[edge.status, _step(place, panel.edges)].append(index)
    view = View(
        scene,
        {n.id: n.status for n in scene.nodes if n.status in ("both", side)},
        {key: edges for key, edges in buckets.items() if edges},
        {"both": "in both circuits", side: f"{panel.short}, not {other.short}"},
        colours,
    )
    return _figure(view, panel.title, f"Line width: {panel.measure}")


def overlay_figure(scene: Scene, colours: Palette = LIGHT) -> go.Figure:
    """Both circuits in one picture. Their measures have different units, so width means nothing."""
    buckets: dict[tuple[str, int], list[int]] = {
        (status, PLAIN): [] for status in ("both", "left", "right")
    }
    for index, edge in enumerate(scene.edges):
        places = ((edge.left_place, scene.left.shown), (edge.right_place, scene.right.shown))
        if any(place and place <= shown for place, shown in places):
            buckets[edge.status, PLAIN].append(index)
    left, right = scene.left.short, scene.right.short
    names = {"both": "both", "left": f"only {left}", "right": f"only {right}"}
    view = View(
        scene,
        {n.id: n.status for n in scene.nodes if n.status != "none"},
        {key: edges for key, edges in buckets.items() if edges},
        {status: f"{names[status]} · {len(edges):,}" for (status, _), edges in buckets.items()},
        colours,
    )
    title = f"{left} and {right}, overlaid"
    return _figure(view, title, "Line width has no meaning here")


def curve_figure(history: Sequence[Mapping[str, Any]], colours: Palette = LIGHT) -> go.Figure:
    """The pruning run so far: KL divergence above, edges left (log scale) below."""
    steps = [record["step"] for record in history]
    figure = make_subplots(rows=2, cols=1, shared_xaxes=True, vertical_spacing=0.12)
    curves = (
        (1, "kl", "KL", colours.right, "solid"),
        (2, "budget", "budget", colours.muted, "dash"),
        (2, "open", "open gates", colours.left, "solid"),
    )
    for row, key, name, colour, dash in curves:
        figure.add_trace(
            go.Scatter(
                x=steps,
                y=[record.get(key) for record in history],
                mode="lines",
                name=name,
                showlegend=row == 2,
                line={"color": colour, "width": 2, "dash": dash},
                hovertemplate="%{y:,.4~g}",
            ),
            row=row,
            col=1,
        )
    grid = _rgba(colours.text, 0.12)
    axis = {"gridcolor": grid, "linecolor": grid, "zeroline": False, "automargin": True}
    figure.update_xaxes(**axis)
    figure.update_yaxes(**axis)
    figure.update_xaxes(title_text="step", row=2, col=1)
    figure.update_yaxes(title_text="KL", rangemode="tozero", row=1, col=1)
    figure.update_yaxes(
        title_text="edges left", type="log", dtick="D2", tickformat=",", row=2, col=1
    )
    return figure.update_layout(
        height=360,
        margin={"l": 8, "r": 8, "t": 8, "b": 8},
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        font={"color": colours.text, "family": FONT},
        hovermode="x unified",
        hoverlabel={"bgcolor": colours.surface, "font": {"color": colours.text}},
        legend={"orientation": "h", "x": 1, "xanchor": "right", "y": 0.44, "yanchor": "bottom"},
    )


def _figure(view: View, title: str, width_meaning: str) -> go.Figure:
    """The traces of a view in a frame: fixed ranges, layer and head numbers, title and legend."""
    scene, layout, colours = view.scene, view.scene.layout, view.colours
    heads = range(0, scene.graph.n_heads, 1 if scene.graph.n_heads <= 16 else 2)
    layers = [layer for layer in layout.layer_y if not layout.hidden(layer)]
    layers = layers[:: 1 + len(layers) // 17]
    axis = {
        "showgrid": False,
        "zeroline": False,
        "ticks": "",
        "tickfont": {"size": 11, "color": colours.muted},
    }
    figure = go.Figure(list(view.traces()))
    return figure.update_layout(
        template=go.layout.Template(),  # Plotly's default one weighs more than the nodes
        title={
            "text": f"<b>{markup(title)}</b>",
            "x": 0,
            "xref": "paper",
            "y": 1,
            "yref": "container",
            "yanchor": "top",
            "pad": {"t": 14, "l": -24},
            "font": {"size": 16},
        },
        font={"family": FONT, "color": colours.text},
        paper_bgcolor=colours.background,
        plot_bgcolor=colours.background,
        margin={"l": 34, "r": 8, "t": 40, "b": 74},
        dragmode="pan",
        hovermode="closest",
        hoverdistance=14,
        hoverlabel={
            "align": "left",
            "namelength": 0,
            "bgcolor": colours.surface,
            "bordercolor": colours.muted,
            "font": {"family": FONT, "size": 12, "color": colours.text},
        },
        showlegend=True,
        legend={
            "orientation": "h",
            "x": 0,
            "xanchor": "left",
            "y": 0,
            "yref": "container",
            "yanchor": "bottom",
            "font": {"size": 12},
            "title": {"text": markup(width_meaning), "side": "top", "font": {"size": 12}},
            "bgcolor": "rgba(0,0,0,0)",
        },
        xaxis=axis
        | {
            "range": list(layout.x_range),
            "tickvals": [*heads, layout.boxes["m0"].x],
            "ticktext": [*(f"{head}" for head in heads), "MLP"],
        },
        yaxis=axis
        | {
            "range": list(layout.y_range),
            "tickvals": [layout.layer_y[layer] for layer in layers],
            "ticktext": [f"L{layer}" for layer in layers],
        },
    )


def _place(edge: SceneEdge, side: Side) -> int | None:
    return edge.left_place if side == "left" else edge.right_place


def _step(place: int, total: int) -> int:
    return next(i for i, (share, _, _) in enumerate(STEPS) if place <= max(1, share * total))


def _rgba(colour: str, opacity: float) -> str:
    red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return f"rgba({red},{green},{blue},{opacity})"
