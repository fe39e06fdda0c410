"""The runs page: open, import, and set two runs side by side."""

from __future__ import annotations

from typing import Any

import pandas as pd
import streamlit as st

from app import state
from app.diagram import scene
from app.diagram.component import comparison
from hap_engine.errors import HapError
from hap_engine.runs import Run, loads, runs_folder, save


def page(explore: Any) -> None:
    """Draw the page; `explore` is the `st.Page` that opens a run."""
    st.title("Runs", anchor=False)
    runs, damaged = state.listed()
    for message in damaged:
        st.warning(message, icon=":material/broken_image:")
    _table(runs, explore)
    _import()
    if len(runs) > 1:
        _two(runs)


def _table(runs: list[state.Listed], explore: Any) -> None:
    if not runs:
        st.info("No run yet. Start one on the Explore page.")
        return
    frame = pd.DataFrame(
        [
            {
                "Run": run.title, "Model": run.model, "Task": run.task, "Edges": run.edges,
                "Sparsity": run.sparsity, "Seed": run.seed, "Computed": run.created[:16],
                "Source": "example" if run.shipped else "yours",
            }
            for run in runs
        ]
    )  # fmt: skip
    st.caption("Select a run to open it.")
    event = st.dataframe(
        frame,
        hide_index=True,
        on_select="rerun",
        selection_mode="single-row",
        key="runs-table",
        column_config={"Sparsity": st.column_config.NumberColumn(format="percent")},
    )
    rows = event.selection.rows
    if rows and st.button("Open this run", type="primary", icon=":material/open_in_new:"):
        st.switch_page(explore, query_params={"run": runs[rows[0]].id})


def _import() -> None:
    with st.expander("Import a run file", icon=":material/upload:"):
        file = st.file_uploader(
            "A .json file written by the explorer or by `discover`", type="json"
        )
        if file is None:
            return
        try:
            run = loads(file.getvalue())
        except HapError as error:
            st.error(str(error), icon=":material/error:")
            return
        save(run, runs_folder() / f"{run.id}.json")
        st.success(f"Imported {run.title}.")


def _two(runs: list[state.Listed]) -> None:
    st.subheader("Two runs side by side", anchor=False)
    labels = {run.id: f"{run.title} · seed {run.seed} · {run.id}" for run in runs}
    ids = list(labels)
    one, two = st.columns(2)
    first = one.selectbox(
        "Left", ids, format_func=labels.__getitem__, key="left", bind="query-params"
    )
    second = two.selectbox(
        "Right", ids, index=1, format_func=labels.__getitem__, key="right", bind="query-params"
    )
    try:
        left, right = state.open_run(first), state.open_run(second)
    except HapError as error:
        st.error(str(error), icon=":material/error:")
        return
    if left.graph == right.graph:
        picture = _picture(f"{left.id}{left.created}", f"{right.id}{right.created}", left, right)
        comparison(picture, key=f"two-{left.id}-{right.id}", height=640)
        shared = left.circuits[left.main].circuit & right.circuits[right.main].circuit
        st.caption(f"The two circuits share {len(shared):,} edges.")
        return
    st.caption("These runs are of different models, so each has its own picture.")
    for run in (left, right):
        st.markdown(f"**{run.title}**")
        sides = ("eap" if "eap" in run.circuits else run.main, run.main)
        own = state.picture(f"{run.id}-{run.created}", *sides, True, 400, run)
        comparison(own, key=f"own-{run.id}", height=520)


@st.cache_resource(max_entries=8, show_spinner=False)
def _picture(left_key: str, right_key: str, _left: Run, _right: Run) -> scene.Scene:
    return scene.compare(
        _left.graph,
        (_left.main, _left.circuits[_left.main]),
        (_right.main, _right.circuits[_right.main]),
        roles=_left.roles.get("heads"),
        heads=_left.heads,
    )
