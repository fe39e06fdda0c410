"""The explore page: settings on the left; a run in progress or a finished one on the right."""

from __future__ import annotations

from typing import Literal

import streamlit as st

from app import url
from app.classroom import rules
from app.explore import settings_form
from app.result import result
from app.stored import saved_runs
from app.widgets.markdown import plain
from app.words import widget
from hap_engine.errors import HapError


def panel() -> Literal["collapsed", "expanded", "auto"]:
    """Whether the panel of a new run is there: closed until it is asked for, here or by a link; open for a class."""
    asked = st.session_state.setdefault("new-run", int("new" in st.query_params or rules() is not None))
    return ("expanded", "auto")[asked % 2 - 1] if asked else "collapsed"  # the browser obeys what is new to it


def page() -> None:
    with st.container(key="new-run-button"):
        st.button(**widget("settings.new"), on_click=url.open_panel)
    with st.sidebar:
        settings_form.show()
    job_id = st.query_params.get("job")
    if job_id:
        if _watch(job_id):
            return
    else:
        st.empty()  # where a run is watched (`run_progress.show`): what follows keeps its place
        url.keep_saying("job", [])  # what became of an earlier one, until it is dismissed
    run_id = st.query_params.get("run") or saved_runs.example()
    if run_id is None:
        st.info("No run yet. Press **New run**, then **Find the circuit**.")
        return
    try:
        run = saved_runs.open_run(run_id)
    except HapError as error:
        st.error(plain(str(error)), icon=":material/error:")
        if st.button("Show the example"):
            st.query_params.clear()
            st.rerun()
        from app.pages import runs

        runs.cards(saved_runs.listed()[0], st.session_state["pages"])
        return
    result.show(run)


def _watch(job_id: str) -> bool:
    from app.explore import run_progress  # draws charts, which a first visit need not load

    return run_progress.show(job_id)
