"""The explore page: settings on the left; a run in progress or a finished one on the right."""

from __future__ import annotations

import streamlit as st

from app import url
from app.explore import settings_form
from app.result import result
from app.stored import saved_runs
from app.widgets.markdown import plain
from hap_engine.errors import HapError


def page() -> None:
    with st.sidebar:
        settings_form.show()
    job_id = st.query_params.get("job")
    if job_id:
        if _watch(job_id):
            return
    else:
        url.keep_saying("job", [])  # what became of an earlier one, until it is dismissed
    run_id = st.query_params.get("run") or saved_runs.example()
    if run_id is None:
        st.info("No run yet. Choose a sparsity on the left and press **Find the circuit**.")
        return
    try:
        run = saved_runs.open_run(run_id)
    except HapError as error:
        st.error(plain(str(error)), icon=":material/error:")
        if st.button("Show the example"):
            st.query_params.clear()
            st.rerun()
        return
    result.show(run)


def _watch(job_id: str) -> bool:
    from app.explore import run_progress  # draws charts, which a first visit need not load

    return run_progress.show(job_id)
