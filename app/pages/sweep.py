"""The sweep page: many runs in one folder, while they are computed and after."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import streamlit as st

from app.classroom import rules
from app.stored import saved_runs
from app.sweep import choose, progress, results
from app.widgets.markdown import plain
from app.words import say
from hap_engine.errors import HapError
from hap_engine.sweeps.folder import Folder
from hap_engine.sweeps.table import read

EVERY = 4  # seconds between two looks at a folder that is not finished
READING = 2.0  # seconds of one look that reading takes: of a large sweep the first one is not all


def page(pages: Mapping[str, Any]) -> None:
    """Draw the page; ``?sweep=`` says which folder, by its name."""
    st.title("Sweep", anchor=False)
    if rules() is not None:
        st.info(say("sweep.class"))
        return
    st.caption(say("sweep.about"))
    path = choose.folder()
    if path is None:
        st.info(say("sweep.none"))
        return
    folder = Folder(path)
    if opened := st.session_state.pop("sweep-open", ""):
        _open(folder, opened, pages)
    try:
        status = folder.status()
        finished = not (status.running or status.waiting or status.failed or read(folder, READING).unread)
    except HapError as error:
        st.error(plain(str(error)), icon=":material/error:")
        return
    st.fragment(_look, run_every=None if finished else EVERY)(folder)


def _look(folder: Folder) -> None:
    """The state of the folder now. It stands in a part of the page that is drawn again by itself."""
    try:
        status, found = folder.status(), read(folder, READING)
    except HapError as error:  # removed meanwhile
        st.error(plain(str(error)), icon=":material/error:")
        return
    progress.show(status, folder.path)
    for name, why in found.damaged.items():
        st.warning(plain(f"{name}.json: {why}"), icon=":material/broken_image:")
    if found.unread:
        st.caption(say("sweep.unread", unread=found.unread))
    if found.found and (opened := results.show(found)):
        st.session_state["sweep-open"] = opened
        st.rerun()  # the whole page: from a part of it another one cannot be opened


def _open(folder: Folder, run_id: str, pages: Mapping[str, Any]) -> None:
    """Take a run of the sweep among the runs here and show it."""
    try:
        run, _ = saved_runs.import_run((folder.path / f"{run_id}.json").read_bytes())
    except (HapError, OSError) as error:
        st.error(plain(str(error)), icon=":material/error:")
        return
    st.switch_page(pages["explore"], query_params={"run": run.id})
