"""Is there another circuit as good? What a price on this one's edges finds, and what both share."""

from __future__ import annotations

import math
from typing import Any

import plotly.graph_objects as go
import streamlit as st

from app import url
from app.questions import add_to_run
from app.widgets import charts
from app.words import say, widget
from app.work import opened_models
from hap_engine.picture.palette import Palette
from hap_engine.report.rivals import rival_verdict
from hap_engine.report.titles import RIVAL, circuit_title
from hap_engine.runs.record import Run


def show(run: Run, left: str, right: str, pins: list[str]) -> None:
    """The rival that was found, or a way to look for one."""
    if said := rival_verdict(run):
        _found(run, said)
    else:
        st.markdown(say("another.about", circuit=circuit_title(run.main)))
    if opened_models.button(run, **widget("another.search"), disabled=add_to_run.busy(run)):

        def add(masked: Any, run: Run) -> add_to_run.Revision:
            from hap_engine.workflows.rivals import find_rival

            return (yield from find_rival(masked, run))

        add_to_run.begin(run, add_to_run.with_model(run, add))
    st.code(f"python -m hap_engine rival {run.id}.json", language="bash")
    add_to_run.finish(run)


def _found(run: Run, said: str) -> None:
    words, picture = st.columns([2, 3], gap="large")
    words.markdown(f"**{said}**")
    look = widget("another.see", circuit=circuit_title(run.main))
    words.button(**look, on_click=url.put, kwargs={"left": run.main, "right": RIVAL})
    with picture:
        charts.show(figure(run, charts.colours_now()), **widget("another.figure"))
        st.caption(say("another.conditions", rival=run.rival, circuit=circuit_title(run.main)))


def figure(run: Run, colours: Palette) -> go.Figure:
    """KL of each short search against the edges that its circuit shares with the run's own."""
    tried = sorted(run.rival["tried"], key=lambda row: row["shared"])
    drawn = go.Figure(
        go.Scatter(
            x=[row["shared"] for row in tried],
            y=[row["kl"] for row in tried],
            text=[price_text(row["price"]) for row in tried],
            mode="lines+markers+text",
            textposition="top center",
            marker={"size": 9},
            line={"color": colours.right},
            hovertemplate="%{x:,} edges shared: KL %{y:.3f}<extra>%{text}</extra>",
        )
    )
    size = len(run.circuits[run.main].circuit)
    shown = {"title_text": say("another.axis", size=size), "range": [-0.05 * size, 1.1 * size]}
    drawn.update_xaxes(**shown, **charts.grid(colours))
    drawn.update_yaxes(title_text="KL", rangemode="tozero", **charts.grid(colours))
    return charts.framed(drawn, colours, 300, margin={"l": 8, "r": 24, "t": 24, "b": 8})


def price_text(price: float | None) -> str:
    """Null in a file, and infinity before it is written, forbid the edges."""
    if price is None or math.isinf(price):
        return "forbidden"
    return f"{price:.2g}" if price else "no price"
