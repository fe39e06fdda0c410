"""At every size: where does each method lose the model, and where each head that has a role?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import plotly.graph_objects as go
import streamlit as st
from plotly.subplots import make_subplots

from app.widgets import charts
from app.widgets.tables import Column, table
from app.words import say
from hap_engine.picture.palette import Palette
from hap_engine.report.every_size import Survival, removed, size_verdict, survivals
from hap_engine.report.titles import circuit_title, role_title
from hap_engine.report.titles import say as sentence
from hap_engine.runs.record import Run

ROW = 18  # pixels for the lines of one head


def show(run: Run, left: str, right: str, pins: list[str]) -> None:
    """The sentence, KL against size with every head's life below it, and the areas; or how to get them."""
    if not run.orders:
        st.info(say("sizes.absent", one=removed(run, len(run.circuits[run.main].circuit))))
        return
    st.markdown(f"**{size_verdict(run)}**" if size_verdict(run) else say("sizes.no_roles"))
    charts.show(figure(run, survivals(run), charts.colours_now()), f"sizes-{run.id}", say("sizes.alt"))
    st.caption(say("sizes.conditions", sizes=run.sizes))
    rows = run.sizes["metrics"]
    areas = [name for name in rows if "cpr" in rows[name]]
    if areas:
        columns = [Column("Method"), Column("CPR", say("sizes.cpr")), Column("CMD", say("sizes.cmd"))]
        cells = [[circuit_title(name), *(f"{rows[name][key]:.3f}" for key in ("cpr", "cmd"))] for name in areas]
        strong = {place: name == run.main for place, name in enumerate(areas)}
        table(columns, cells, caption=say("sizes.areas"), strong=strong)
        st.caption(sentence("areas.reading"))


def figure(run: Run, lives: Sequence[Survival], colours: Palette) -> go.Figure:
    """KL of every order against the edges it keeps (fewer to the right), then one row for each head with a role."""
    rows = {"random": run.sizes["metrics"]["random"], **run.sizes["metrics"]}
    height = 2 * ROW + ROW * len(lives)
    shares = [340, height] if lives else [1]
    drawn = make_subplots(len(shares), 1, shared_xaxes=True, vertical_spacing=0.03, row_heights=shares)
    for name, row in rows.items():
        _curve(drawn, run, name, row, colours)
    for name, shift in zip(run.sides if lives else (), (-0.18, 0.18), strict=False):
        if name in run.orders:
            _lives(drawn, run, name, lives, shift, _look(run, name, colours)[0])
    grid = run.sizes["grid"]
    drawn.update_xaxes(type="log", autorange="reversed", tickvals=grid, showticklabels=False, **charts.grid(colours))
    told = {"title_text": say("sizes.axis"), "ticktext": [removed(run, size) for size in grid], "tickangle": -45}
    drawn.update_xaxes(**told, showticklabels=True, automargin=True, row=len(shares), col=1)
    drawn.update_yaxes(title_text="KL", rangemode="tozero", row=1, col=1, **charts.grid(colours))
    if lives:
        names = [f"{one.head} · {role_title(one.role)}" for one in lives]
        rows_at = {"range": [len(lives) - 0.4, -0.6], "tickvals": list(range(len(lives))), "ticktext": names}
        drawn.update_yaxes(**rows_at, automargin=True, showgrid=False, zeroline=False, row=2, col=1)
    legend = {"orientation": "h", "x": 1, "xanchor": "right", "y": 1.01, "yanchor": "bottom"}
    return charts.framed(drawn, colours, 460 + height * bool(lives), legend=legend, hovermode="closest")


def _look(run: Run, name: str, colours: Palette) -> tuple[str, str]:
    """Colour and dash of a method: those that it has in the picture."""
    known = {"random": (colours.both, "dashdot"), run.sides[0]: (colours.left, "dash")}
    return {**known, run.main: (colours.right, "solid")}.get(name, (colours.mover, "dot"))


def _curve(drawn: go.Figure, run: Run, name: str, row: Mapping[str, Any], colours: Palette) -> None:
    """One method's KL at each size, and a band for its interval."""
    (colour, dash), sizes, title = _look(run, name, colours), row["n_live"], circuit_title(name)
    pairs = [(size, ends) for size, ends in zip(sizes, row["interval"], strict=True) if ends]
    around = [(size, max(0, low)) for size, (low, _) in pairs] + [(size, high) for size, (_, high) in reversed(pairs)]
    band = {"x": [x for x, _ in around], "y": [y for _, y in around], "fill": "toself", "hoverinfo": "skip"}
    common = {"legendgroup": name, "row": 1, "col": 1}
    drawn.add_scatter(**band, **common, fillcolor=charts.rgba(colour, 0.16), mode="none", showlegend=False)
    drawn.add_scatter(
        x=sizes,
        y=row["kl"],
        customdata=[removed(run, size) for size in sizes],
        name=title,
        mode="lines+markers",
        line={"color": colour, "dash": dash},
        hovertemplate="%{x:,} edges, %{customdata} removed: KL %{y:.3f}<extra>" + title + "</extra>",
        **common,
    )


def _lives(drawn: go.Figure, run: Run, name: str, lives: Sequence[Survival], shift: float, colour: str) -> None:
    """A line for each head from the loosest size to the last that keeps it, as far as sizes were measured."""
    loosest, *_, tightest = run.sizes["grid"]
    ends = [one.smallest.get(name) for one in lives]
    last = [max(end, tightest) if end else loosest for end in ends]
    y = [place + shift for place in range(len(lives))]
    common = {"legendgroup": name, "showlegend": False, "row": 2, "col": 1}
    drawn.add_scatter(
        x=[at for end in last for at in (loosest, end, None)],
        y=[at for row in y for at in (row, row, None)],
        line={"color": colour, "width": 2},
        **{"mode": "lines", "hoverinfo": "skip", **common},
    )
    said = [say("sizes.to", end=end, share=removed(run, end)) if end else say("sizes.never") for end in ends]
    marks = [("circle" if end >= tightest else "triangle-right") if end else "x-thin-open" for end in ends]
    drawn.add_scatter(
        x=last,
        y=y,
        text=[f"{one.head}: {what}" for one, what in zip(lives, said, strict=True)],
        mode="markers",
        marker={"color": colour, "size": 7, "symbol": marks},
        hovertemplate="%{text}<extra>" + circuit_title(name) + "</extra>",
        **common,
    )
