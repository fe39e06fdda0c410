"""What came of a sweep: heat maps, curves, heads, and the runs behind each, which a click opens."""

from __future__ import annotations

from typing import Any

import streamlit as st
from pandas import DataFrame

from app.sweep import figures
from app.widgets import charts
from app.widgets.markdown import plain
from app.widgets.tables import grid
from app.words import say, widget
from hap_engine.report.titles import METRIC_TITLES, circuit_title
from hap_engine.sweeps.table import MEASURES, Results, curves, head_shares, heat, own_size, rows, varied

ANY, RANDOM = "all", "random"  # which would take all of the colours


def show(results: Results) -> str | None:
    """Draw all of it; the id of the run that was clicked on."""
    made = _alike(rows(results))
    model, task, measure = _choices(made)
    here = made[(made["model"] == model) & (made["task"] == task)]
    left, right = st.columns(2, gap="large")
    with left:
        picked = _map(own_size(here), "sparsity", "circuit", measure, plain(say("sweep.one", model=model, task=task)))
    with right:
        picked = _tasks(made, measure) or picked
    left, right = st.columns(2, gap="large")
    with left:
        _curves(here, measure)
    with right:
        ids = set(here["run"])
        _heads([one for name, one in results.found.items() if name in ids])
    return _runs(made, picked or ()) or None


def _alike(made: DataFrame) -> DataFrame:
    """The runs with the same settings but for those that the charts lay out: one is chosen of what else differs."""
    names = varied(made)
    for column, name in zip(st.columns(len(names)) if names else (), names, strict=True):
        label = say.parts("sweep.settings").get(name, name.replace("_", " "))
        values = sorted(set(made[name].dropna()))
        chosen = column.selectbox(label, values, key=f"sweep-by-{name}", format_func=_setting)
        made = made[made[name] == chosen]
    return made


def _setting(value: object) -> str:
    return str(value) or say("sweep.without")


def _choices(made: DataFrame) -> tuple[str, str, str]:
    columns = st.columns(3)
    model = columns[0].selectbox(**widget("sweep.model"), options=sorted(set(made["model"])))
    tasks = sorted(set(made[made["model"] == model]["task"]))
    task = columns[1].selectbox(**widget("sweep.task"), options=tasks)
    known = [name for name in MEASURES if made[name].notna().any()] or list(MEASURES)
    measure = columns[2].selectbox(**widget("sweep.measure"), options=known, format_func=METRIC_TITLES.__getitem__)
    return str(model), str(task), str(measure)


def _map(made: DataFrame, down: str, across: str, measure: str, caption: str) -> tuple[str, ...]:
    """A heat map; the runs of the cell that is clicked on."""
    names = say.parts("sweep.axes")
    title = say("sweep.map", measure=METRIC_TITLES[measure], down=names[down], across=names[across].lower())
    st.subheader(title, anchor=False)
    st.caption(caption)
    cells = heat(made[made["circuit"] != RANDOM], down, across, measure)
    if cells.empty:
        st.info(say("sweep.unmeasured"))
        return ()
    figure = figures.heat_map(cells, down, across, measure, charts.colours_now())
    key = f"sweep-{down}-{across}"
    clicked: Any = st.plotly_chart(
        figure, key=key, alt=title, on_select="rerun", selection_mode="points", config={"displayModeBar": False}
    )
    chosen = [point["point_index"] for point in clicked.selection.points if point.get("point_index", -1) >= 0]
    return tuple(cells["runs"].iloc[chosen[0]]) if chosen and chosen[0] < len(cells) else ()


def _tasks(made: DataFrame, measure: str) -> tuple[str, ...]:
    own = own_size(made)
    circuits = sorted(set(own["circuit"]) - {RANDOM}, key=lambda name: name not in set(own["method"]))
    columns = st.columns(2)
    circuit = columns[0].selectbox(**widget("sweep.circuit"), options=circuits, format_func=circuit_title)
    sparsity = columns[1].selectbox(**widget("sweep.sparsity"), options=[ANY, *sorted(set(own["sparsity"]))])
    own = own[own["circuit"] == circuit]
    own = own if sparsity == ANY else own[own["sparsity"] == sparsity]
    return _map(own, "task", "model", measure, say("sweep.every"))


def _curves(here: DataFrame, measure: str) -> None:
    st.subheader(say("sweep.curves"), anchor=False)
    points = curves(here, measure)
    if points.empty:
        st.info(say("sweep.no_curves"))
        return
    st.caption(say("sweep.band", runs=int(points["runs"].max())))
    charts.show(figures.curve(points, measure, charts.colours_now()), "sweep-curves", say("sweep.curves"))


def _heads(found: list[Any]) -> None:
    st.subheader(say("sweep.heads"), anchor=False)
    st.caption(say("sweep.heads_of", runs=len(found)))
    same = [one for one in found if one.shape == found[0].shape]
    charts.show(figures.head_map(head_shares(same), charts.colours_now()), "sweep-heads", say("sweep.heads"))


def _runs(made: DataFrame, picked: tuple[str, ...]) -> str:
    """The runs, those of the clicked cell alone if there is one; the id of the one to open."""
    st.subheader(say("sweep.runs"), anchor=False)
    mains = made[made["own_size"] & (made["circuit"] == made["method"])].drop_duplicates("run")
    shown = mains[mains["run"].isin(picked)] if picked else mains
    st.caption(say("sweep.picked" if picked else "sweep.click"))
    before, st.session_state["sweep-picked"] = st.session_state.get("sweep-picked"), picked
    if len(picked) == 1 and picked != before:  # once: a selection stays when the page is drawn again
        return picked[0]
    columns = ["model", "task", "method", "sparsity", "seed", "edges", "kl", "faithfulness", "seconds", "run"]
    event = grid(
        shown[columns],
        "sweep.columns",
        key=f"sweep-runs-{len(shown)}",
        on_select="rerun",
        selection_mode="single-row",
        height=min(420, 38 + 35 * max(1, len(shown))),
    )
    return next((str(shown["run"].iloc[row]) for row in event.selection.rows if row < len(shown)), "")
