"""How a run was made: its command, model, versions and settings; run it again, take it away."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import streamlit as st

from app import url
from app.explore.model_and_task import OTHER
from app.widgets.markdown import plain
from app.words import say, widget
from hap_engine.errors import HapError
from hap_engine.models.catalog import BUNDLED, HUB_MODELS, resolve
from hap_engine.report.titles import attention_ways
from hap_engine.runs.record import Run
from hap_engine.runs.run_file import dumps


def show(run: Run) -> None:
    """Draw everything that a reader needs to trust the run, or to repeat it."""
    st.code(run.command, language=None)
    seconds = " · ".join(f"{name} {value:,.1f} s" for name, value in run.seconds.items())
    st.caption(plain(f"Seconds: {seconds}"))
    architecture, parameters = run.model.get("architecture", "?"), run.model.get("n_parameters", 0)
    weights = {"architecture": architecture, "parameters": parameters, "hash": str(run.model.get("sha256", ""))[:16]}
    st.caption(plain(say("made.model", model=run.model, **weights)))
    if ways := attention_ways(run.model):
        st.caption(plain(ways), help=say("made.ways"))
    st.caption(plain("Versions: " + ", ".join(f"{name} {value}" for name, value in run.versions.items())))
    st.json(dict(run.settings), expanded=False)
    here = on_machine(run.model)
    explained = say("made.here" if here else "made.absent")
    st.button(**widget("made.again"), disabled=not here, on_click=_choose_model, args=(run,), help=explained)
    st.download_button(**widget("made.download"), data=lambda: dumps(run), file_name=f"{run.id}.json")


def on_machine(model: Mapping[str, Any]) -> bool:
    """Can this run's model be opened here by the name that the run knows?"""
    try:
        return resolve(str(model.get("reference", ""))).path is not None
    except HapError:
        return False


def _choose_model(run: Run) -> None:
    """Button callback: the panel of a new run takes the run's model; a path goes into its text field."""
    url.open_panel()
    reference = run.model["reference"]
    known = [*BUNDLED, *HUB_MODELS]
    st.query_params["model"] = reference if reference in known else OTHER
    if reference not in known:
        st.session_state["reference"] = reference
