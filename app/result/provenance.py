"""How a run was made: its command, model, versions and settings; run it again, take it away."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import streamlit as st

from app.explore.model_and_task import OTHER
from hap_engine.errors import HapError
from hap_engine.models.catalog import BUNDLED, HUB_MODELS, resolve
from hap_engine.runs.record import Run
from hap_engine.runs.run_file import dumps


def show(run: Run) -> None:
    """Draw everything that a reader needs to trust the run, or to repeat it."""
    st.code(run.command, language="bash")
    seconds = " · ".join(f"{name} {value:,.1f} s" for name, value in run.seconds.items())
    st.caption(f"Seconds: {seconds}")
    model = run.model
    st.caption(
        f"Model: {model['name']} ({model['source']}), {model.get('architecture', '?')}, "
        f"{model.get('n_parameters', 0):,} parameters, SHA-256 {str(model.get('sha256', ''))[:16]}…"
    )
    st.caption("Versions: " + ", ".join(f"{name} {value}" for name, value in run.versions.items()))
    st.json(dict(run.settings), expanded=False)
    here = on_machine(run.model)
    st.button(
        "Compute it again with this model",
        disabled=not here,
        icon=":material/replay:",
        on_click=_choose_model,
        args=(run,),
        help="Chooses the model and the size on the left."
        if here
        else "The weights are not on this machine. Choose “A file, a folder or another Hub name” on "
        "the left and point to a copy, or take the model from the Hub there.",
    )
    st.download_button(
        "Download the run file",
        data=lambda: dumps(run),
        file_name=f"{run.id}.json",
        mime="application/json",
        icon=":material/download:",
        on_click="ignore",
    )


def on_machine(model: Mapping[str, Any]) -> bool:
    """Can this run's model be opened here by the name that the run knows?"""
    try:
        return resolve(str(model.get("reference", ""))).path is not None
    except HapError:
        return False


def _choose_model(run: Run) -> None:
    """Button callback: the sidebar takes the run's model; a path goes into its text field."""
    reference = run.model["reference"]
    known = [*BUNDLED, *HUB_MODELS]
    st.query_params["model"] = reference if reference in known else OTHER
    if reference not in known:
        st.session_state["reference"] = reference
