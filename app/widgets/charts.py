"""Charts: the one look and the one way to show them, and those of a run in progress."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go
import streamlit as st
from plotly.subplots import make_subplots

from hap_engine.graph.circuit import Circuit
from hap_engine.picture.palette import LIGHT, Palette, palette

FONT = "system-ui, 'Segoe UI', 'Source Sans', 'Liberation Sans', sans-serif"
CLEAR = "rgba(0,0,0,0)"  # the page shows through


def colours_now() -> Palette:
    """The palette of the visitor's light or dark page."""
    return palette(st.context.theme.type)


def show(figure: go.Figure, key: str, alt: str) -> None:
    """Put a chart on the page, without Plotly's own buttons; `alt` is what those hear who do not see it."""
    st.plotly_chart(figure, key=key, alt=alt, config={"displayModeBar": False})


def framed(figure: go.Figure, colours: Palette, height: float, **layout: Any) -> go.Figure:
    """The look of every chart: the page's own colours, little margin. `layout` adds to it or changes it."""
    common = {"paper_bgcolor": CLEAR, "plot_bgcolor": CLEAR, "font": {"color": colours.text, "family": FONT}}
    margin = {"margin": {"l": 8, "r": 8, "t": 8, "b": 8}}
    return figure.update_layout(**{"height": round(height), **common, **margin, **layout})


def grid(colours: Palette) -> dict[str, Any]:
    """The lines of an axis: there, but quiet."""
    return {"gridcolor": colours.surface, "zerolinecolor": colours.muted}


def edges_per_component(circuit: Circuit) -> np.ndarray:
    """``[layer, head, norm writer (if there is one) or MLP (last column)]``: edges in and out of each component.

    An edge into a KV head counts for every query head of its group.
    """
    graph, kept = circuit.graph, circuit.kept
    touching = kept.sum(axis=1) + kept.sum(axis=0) @ graph.feeds
    return np.asarray(touching[1:].reshape(graph.n_layers, -1))


def preview_figure(circuit: Circuit, colours: Palette = LIGHT) -> go.Figure:
    """A heat map of `edges_per_component`, embedding side at the bottom."""
    counts = edges_per_component(circuit)
    labels = [f"h{head}" for head in range(circuit.graph.n_heads)]
    labels += [*["norm"] * circuit.graph.post_norm, "MLP"]
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
    title = {"text": f"{len(circuit):,} edges now", "font": {"size": 14}}
    return framed(figure, colours, 360, title=title, margin={"l": 8, "r": 8, "t": 36, "b": 8})


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
    grid = rgba(colours.text, 0.12)
    axis = {"gridcolor": grid, "linecolor": grid, "zeroline": False, "automargin": True}
    figure.update_xaxes(**axis)
    figure.update_yaxes(**axis)
    figure.update_xaxes(title_text="step", row=2, col=1)
    figure.update_yaxes(title_text="KL", rangemode="tozero", row=1, col=1)
    figure.update_yaxes(title_text="edges left", type="log", dtick="D2", tickformat=",", row=2, col=1)
    return framed(
        figure,
        colours,
        360,
        hovermode="x unified",
        hoverlabel={"bgcolor": colours.surface, "font": {"color": colours.text}},
        legend={"orientation": "h", "x": 1, "xanchor": "right", "y": 0.44, "yanchor": "bottom"},
    )


def rgba(colour: str, opacity: float) -> str:
    """A palette's colour, to be seen through."""
    red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return f"rgba({red},{green},{blue},{opacity})"
