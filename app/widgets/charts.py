"""A small picture of a circuit that is still shrinking: edges per component, layer by layer."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from hap_engine.graph.circuit import Circuit
from hap_engine.picture.palette import LIGHT, Palette


def edges_per_component(circuit: Circuit) -> np.ndarray:
    """``[layer, head or MLP (last column)]``: edges in and out of each component.

    An edge into a KV head counts for every query head of its group.
    """
    graph, kept = circuit.graph, circuit.kept
    touching = kept.sum(axis=1) + kept.sum(axis=0) @ graph.feeds
    return np.asarray(touching[1:].reshape(graph.n_layers, graph.n_heads + 1))


def preview_figure(circuit: Circuit, colours: Palette = LIGHT) -> go.Figure:
    """A heat map of `edges_per_component`, embedding side at the bottom."""
    counts = edges_per_component(circuit)
    labels = [f"h{head}" for head in range(circuit.graph.n_heads)] + ["MLP"]
    figure = go.Figure(
        go.Heatmap(
            z=np.where(counts > 0, np.log10(np.maximum(counts, 1)) + 0.3, 0),
            x=labels,
            y=[f"L{layer}" for layer in range(circuit.graph.n_layers)],
            customdata=counts,
            hovertemplate="%{y} %{x}: %{customdata} edges<extra></extra>",
            colorscale=[[0, colours.surface], [1, colours.right]],
            showscale=False,
            xgap=2,
            ygap=2,
        )
    )
    return figure.update_layout(
        title={"text": f"{len(circuit):,} edges now", "font": {"size": 14}},
        height=360,
        margin={"l": 8, "r": 8, "t": 36, "b": 8},
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        font={"color": colours.text},
    )


FONT = "system-ui, 'Segoe UI', 'Source Sans', 'Liberation Sans', sans-serif"


def markup(text: str) -> str:
    """Plain text as Plotly's HTML subset: ``a5.h1<q>`` is a name, not a tag."""
    return html.escape(text, quote=False)


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
    figure.update_yaxes(title_text="edges left", type="log", dtick="D2", tickformat=",", row=2, col=1)
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


def _rgba(colour: str, opacity: float) -> str:
    red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return f"rgba({red},{green},{blue},{opacity})"
