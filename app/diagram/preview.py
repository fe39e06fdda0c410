"""A small picture of a circuit that is still shrinking: edges per component, layer by layer."""

from __future__ import annotations

import numpy as np
import plotly.graph_objects as go

from app.diagram.palette import LIGHT, Palette
from hap_engine.circuit import Circuit


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
