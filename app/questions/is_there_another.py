"""Is there another circuit as good, and does each prompt have its own? Rivals, and the circuits of single prompts."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import plotly.graph_objects as go
import streamlit as st

from app import url
from app.questions import add_to_run
from app.widgets import charts
from app.widgets.markdown import plain
from app.widgets.tables import Column, table
from app.words import say, widget
from app.work import opened_models
from hap_engine.graph.clusters import jaccard_distances
from hap_engine.picture.palette import Palette
from hap_engine.report.prompt_circuits import circuits, groups, told
from hap_engine.report.rivals import rival_verdict
from hap_engine.report.titles import RIVAL, circuit_title
from hap_engine.runs.record import Run
from hap_engine.settings import OWN_CIRCUITS
from hap_engine.tasks.forms import order_of


def show(run: Run, left: str, right: str, pins: list[str]) -> None:
    """The rival that was found, or a way to look for one."""
    if said := rival_verdict(run):
        _found(run, said)
    else:
        st.markdown(say("another.about", circuit=plain(circuit_title(run.main))))
    if opened_models.button(run, **widget("another.search"), disabled=add_to_run.busy(run)):

        def add() -> add_to_run.Add:
            from hap_engine.workflows.rivals import find_rival

            return find_rival

        add_to_run.begin(run, add_to_run.with_model(run, add))
    st.code(f"python -m hap_engine rival {run.id}.json", language=None)
    _by_prompt(run)
    add_to_run.finish(run)


def _by_prompt(run: Run) -> None:
    """The circuits of single prompts in their groups, or a way to them."""
    st.markdown(say("each.heading"))
    if not run.prompt_circuits:
        st.markdown(say("each.about", circuit=plain(circuit_title(run.main))))
    else:
        words, picture = st.columns([2, 3], gap="large")
        with words:
            for sentence in told(run):
                st.markdown(plain(sentence))
        with picture:
            charts.show(similar_figure(run, charts.colours_now()), **widget("each.figure"))
        _groups(run)
    count = min(OWN_CIRCUITS, len(run.prompts.get("test", ())))
    if opened_models.button(run, **widget("each.search", count=count), disabled=add_to_run.busy(run)):

        def add() -> add_to_run.Add:
            from hap_engine.workflows.search_again import per_prompt

            return per_prompt

        add_to_run.begin(run, add_to_run.with_model(run, add, prompts=count))
    st.code(f"python -m hap_engine per-prompt {run.id}.json --prompts {count}", language=None)


def _groups(run: Run) -> None:
    """What the prompts of each group have in common."""
    rows = []
    for number, group in enumerate(groups(run), 1):
        shares = [
            "; ".join(f"{count / len(group.prompts):.0%} {name}" for name, count in kinds.items())
            for kinds in (group.orders, group.templates)
        ]
        alike = "–" if group.alike is None else f"{group.alike:.2f}"
        rows.append(
            [str(number), f"{len(group.prompts)}", f"{group.core:,}", alike, *(share or "–" for share in shares)]
        )
    columns = [Column(*column) for column in say.parts("each.columns")]
    table(columns, rows, caption=say("each.caption"))


def similar_figure(run: Run, colours: Palette) -> go.Figure:
    """Jaccard of the circuits of each two prompts, group after group, lines between the groups."""
    rows, tests = run.prompt_circuits["prompts"], run.prompts["test"]
    order = sorted(range(len(rows)), key=lambda index: rows[index]["cluster"])
    alike = 1 - jaccard_distances(circuits(run))[np.ix_(order, order)]
    names = [f"{index + 1} · {order_of(tests[index].get('roles') or {})}" for index in order]
    look = {"colorscale": [[0, colours.surface], [1, colours.right]], "zmin": 0, "zmax": 1}
    drawn = go.Figure(go.Heatmap(z=alike, customdata=[[(a, b) for b in names] for a in names], **look))
    drawn.update_traces(hovertemplate="%{customdata[0]} and %{customdata[1]}: %{z:.2f}<extra></extra>", xgap=1, ygap=1)
    labels = [rows[index]["cluster"] for index in order]
    for end in (place + 0.5 for place, (one, two) in enumerate(pairwise(labels)) if one != two):
        drawn.add_hline(y=end, line={"color": colours.text, "width": 2})
        drawn.add_vline(x=end, line={"color": colours.text, "width": 2})
    drawn.update_xaxes(showticklabels=False)
    drawn.update_yaxes(tickvals=list(range(len(order))), ticktext=names, autorange="reversed", tickfont={"size": 9})
    return charts.framed(drawn, colours, 120 + 14 * len(order))


def _found(run: Run, said: str) -> None:
    words, picture = st.columns([2, 3], gap="large")
    words.markdown(f"**{plain(said)}**")
    look = widget("another.see", circuit=plain(circuit_title(run.main)))
    words.button(**look, on_click=url.put, kwargs={"left": run.main, "right": RIVAL})
    with picture:
        charts.show(figure(run, charts.colours_now()), **widget("another.figure"))
        st.caption(say("another.conditions", rival=run.rival, circuit=plain(circuit_title(run.main))))


def figure(run: Run, colours: Palette) -> go.Figure:
    """KL of each short search against the edges that its circuit shares with the run's own."""
    tried = sorted(run.rival["tried"], key=lambda row: row["shared"])
    drawn = go.Figure(
        go.Scatter(
            x=[row["shared"] for row in tried],
            y=[row["kl"] for row in tried],
            text=[price_text(row.get("price")) for row in tried],
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
