"""Can it be smaller? Go on from this run's circuit to a tighter budget, and see what every size costs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import plotly.graph_objects as go
import streamlit as st

from app import classroom, url
from app.explore import cost
from app.questions.what_if import ask_for_weights
from app.stored import related_runs, saved_runs
from app.stored.saved_runs import Listed
from app.widgets import charts
from app.widgets.markdown import plain
from app.words import say, widget
from app.work import opened_models
from hap_engine.errors import HapError
from hap_engine.graph.ranking import edge_budget
from hap_engine.models.locate import locate
from hap_engine.picture.palette import Palette
from hap_engine.report.titles import circuit_title
from hap_engine.runs.continue_run import further
from hap_engine.runs.record import Run


def show(run: Run, left: str, right: str, pins: list[str]) -> None:
    """Draw the sizes found so far on the left, the way to a smaller one on the right."""
    seen, onward = st.columns([3, 2], gap="large")
    with seen:
        _sizes_so_far(run)
    with onward:
        _onward(run)


def _onward(run: Run) -> None:
    """Choose a size and start; or say why there is no way on."""
    edges = len(run.circuits[run.main].circuit)
    try:
        sizes = related_runs.sizes(run)
    except HapError as error:
        st.info(plain(str(error)), icon=":material/block:")
        return
    if not sizes or classroom.rules():
        none = say("smaller.class") if sizes else say("smaller.least", edges=edges)
        st.info(none, icon=":material/block:")
        return
    st.markdown(say("smaller.about", circuit=plain(circuit_title(run.main)), edges=edges))
    share = st.select_slider(
        **widget("smaller.size", run=run.id),
        options=sizes[::-1],
        value=sizes[0],
        format_func=lambda share: f"{share:g} %",
    )
    target = edge_budget(run.graph, related_runs.sparsity_of(share))
    if opened_models.button(run, **widget("smaller.go", edges=target)):
        _start(run, share)
    if why := opened_models.remedy(run):
        ask_for_weights(run, why)
    else:
        source = locate(run.model, opened_models.given(run))
        cost.show(source, replace(further(run, related_runs.sparsity_of(share)), model=source.reference))


def _start(run: Run, share: float) -> None:
    try:
        st.query_params["job"] = opened_models.start_run(run, further(run, related_runs.sparsity_of(share)))
    except HapError as error:
        st.error(plain(str(error)), icon=":material/error:")
        return
    st.rerun()


def _sizes_so_far(run: Run) -> None:
    """KL at every size of this descent, and a way to each of its runs."""
    descent = [size for size in related_runs.chain(run, saved_runs.listed()[0]) if size.kl is not None]
    if len(descent) < 2:
        st.caption(say("smaller.one"))
        return
    charts.show(figure(descent, run, charts.colours_now()), **widget("smaller.figure"))
    for size in descent:
        told = f"{size.edges:,} edges, KL {size.kl:.3f}"
        if size.id == run.id:
            st.markdown(f"**{told}** · this run")
        elif st.button(told, key=f"size-{size.id}", type="tertiary", icon=":material/arrow_forward:"):
            url.go_to_run(size.id)
            st.rerun()


def figure(descent: Sequence[Listed], run: Run, colours: Palette) -> go.Figure:
    """KL against edges (log scale), of the descent and of EAP at the same sizes."""
    drawn = go.Figure()
    main: Any = (circuit_title(run.main), [size.kl for size in descent], colours.right)
    eap: Any = (circuit_title("eap"), [size.eap_kl for size in descent], colours.left)
    for (name, kl, colour), dash in ((eap, "dash"), (main, "solid")):
        drawn.add_scatter(
            x=[size.edges for size in descent],
            y=kl,
            name=name,
            mode="lines+markers",
            line={"color": colour, "dash": dash},
            marker={"size": 9},
            hovertemplate="%{x:,} edges: KL %{y:.3f}<extra>" + name + "</extra>",
        )
    sizes = [size.edges for size in descent]
    drawn.update_xaxes(title_text="edges kept", type="log", tickvals=sizes, ticktext=[f"{n:,}" for n in sizes])
    drawn.update_yaxes(title_text="KL", rangemode="tozero")
    legend = {"orientation": "h", "x": 1, "xanchor": "right", "y": 1.02, "yanchor": "bottom"}
    return charts.framed(drawn, colours, 300, legend=legend)
