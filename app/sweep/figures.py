"""The charts of a sweep."""

from __future__ import annotations

from itertools import cycle
from typing import Any

import numpy as np
import plotly.graph_objects as go
from pandas import DataFrame

from app.widgets.charts import framed, grid, markup, rgba
from hap_engine.picture.palette import Palette
from hap_engine.report.titles import METRIC_TITLES, circuit_title

ROW, HEAD = 44, 18  # pixels of a row of a map, and of one of heads
ROOM = 110  # pixels for the axis below
RANDOM = "random"
SHARES = (50, 20, 10, 5, 2, 1, 0.5, 0.2, 0.1)  # marks of the axis, in percent


def heat_map(cells: DataFrame, down: str, across: str, measure: str, colours: Palette) -> go.Figure:
    """Means as `hap_engine.sweeps.table.heat` gives them. The second trace has a mark on each, which can be clicked."""
    at = {name: sorted(set(cells[name])) for name in (down, across)}
    names = {name: [_label(name, value) for value in values] for name, values in at.items()}
    x, y = ([_label(name, value) for value in cells[name]] for name in (across, down))
    told = [f"{name.replace('_', ' ')} {{}}" for name in (down, across)]
    hover = [
        f"{told[0].format(b)}, {told[1].format(a)}<br>{markup(METRIC_TITLES[measure])} {row.mean:.3g} "
        f"({row.low:.3g} to {row.high:.3g})<br>runs: {len(row.runs)}"
        for a, b, row in zip(x, y, cells.itertuples(), strict=True)
    ]
    low, high = cells["mean"].min(), cells["mean"].max()
    heat = go.Heatmap(
        x=x,
        y=y,
        z=cells["mean"],
        zmin=low,
        zmax=high if high > low else low + 1,  # one value: the quietest colour
        texttemplate="%{z:.3g}",  # Plotly writes it so that it can be read on its colour
        colorscale=[[0, colours.surface], [1, colours.right]],
        showscale=False,
        xgap=3,
        ygap=3,
        hoverinfo="skip",
    )
    mark = {"symbol": "square", "size": ROW - 8, "opacity": 0}
    marks = go.Scatter(x=x, y=y, mode="markers", marker=mark, hovertext=hover, hoverinfo="text")
    figure = go.Figure([heat, marks])
    common: dict[str, Any] = {"type": "category", "showgrid": False, "automargin": True}
    figure.update_xaxes(**common, categoryorder="array", categoryarray=names[across])
    figure.update_yaxes(**common, categoryorder="array", categoryarray=names[down][::-1])
    return framed(figure, colours, ROOM + ROW * len(names[down]), clickmode="event+select", dragmode=False)


def curve(points: DataFrame, measure: str, colours: Palette) -> go.Figure:
    """Means over the runs at each size, the lowest and highest as a band."""
    figure = go.Figure()
    known = {"eap": colours.left, "hap": colours.right, RANDOM: colours.muted}  # as in the pictures
    others = [name for name in dict.fromkeys(points["circuit"]) if name not in known]
    known |= dict(zip(others, cycle((colours.mover, colours.s_inhibition, colours.repeat, colours.both)), strict=False))
    for circuit, at in points.groupby("circuit", sort=False):
        colour = known[str(circuit)]
        name, x = markup(circuit_title(str(circuit))), 100 * at["kept"]
        seen: dict[str, Any] = {"legendgroup": name}
        if circuit == RANDOM:  # far above the others: a click on its name brings it
            seen["visible"] = "legendonly"
        edge = {**seen, "mode": "lines", "line": {"width": 0}, "hoverinfo": "skip", "showlegend": False}
        figure.add_scatter(x=x, y=at["low"], **edge)
        figure.add_scatter(x=x, y=at["high"], fill="tonexty", fillcolor=rgba(colour, 0.15), **edge)
        line = {"color": colour, "width": 2}
        figure.add_scatter(x=x, y=at["mean"], name=name, line=line, hovertemplate="%{y:.3g}", **seen)
    axis = {**grid(colours), "automargin": True}
    figure.update_xaxes(**axis, type="log", autorange="reversed", title_text="% of the edges kept", tickvals=SHARES)
    figure.update_yaxes(**axis, title_text=METRIC_TITLES[measure], rangemode="tozero")
    hover = {"bgcolor": colours.surface, "font": {"color": colours.text}}
    legend = {"orientation": "h", "y": 1.02, "yanchor": "bottom"}
    return framed(figure, colours, 380, hovermode="x unified", hoverlabel=hover, legend=legend)


def head_map(shares: np.ndarray, colours: Palette) -> go.Figure:
    """``[layer, head]``: in what share of the cells each is kept; the embedding's side at the bottom."""
    layers, heads = shares.shape
    figure = go.Figure(
        go.Heatmap(
            z=100 * shares,
            x=[f"h{head}" for head in range(heads)],
            y=[f"L{layer}" for layer in range(layers)],
            colorscale=[[0, colours.surface], [1, colours.right]],
            zmin=0,
            zmax=100,
            xgap=2,
            ygap=2,
            colorbar={"ticksuffix": " %", "thickness": 12, "outlinewidth": 0},
            hovertemplate="%{y} %{x}: in %{z:.0f} % of the runs<extra></extra>",
        )
    )
    return framed(figure, colours, ROOM + HEAD * max(8, layers), dragmode=False)


def _label(name: str, value: Any) -> str:
    if name == "sparsity":
        return f"{value:.4g}"
    return markup(circuit_title(str(value)) if name in ("circuit", "method") else str(value))
