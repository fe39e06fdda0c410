"""Under the picture: ask the model. One section at a time, so that a page draws only what is read."""

from __future__ import annotations

from importlib import import_module

import streamlit as st

from app import state
from app.views import chosen
from hap_engine.runs import Run

# Each section is a module with show(run, left, right, pins), imported when it is first opened.
SECTIONS = {
    "try": ("What if …?", "intervene"),
    "tokens": ("Where in the sentence?", "positions"),
    "numbers": ("How good is it?", "faithfulness"),
    "missed": ("Why was it missed?", "why_missed"),
    "prompts": ("Which prompts fail?", "outcome_table"),
    "smaller": ("Can it be smaller?", "smaller"),
}


def show(run: Run, left: str, right: str, pins: list[str]) -> None:
    """Draw the chosen section for this run, its two circuits and the pinned nodes."""
    st.subheader("Ask the model", anchor=False)
    names = list(SECTIONS)
    name = st.segmented_control(
        "Question",
        names,
        default=state.from_url("ask", names, names[0]),
        format_func=lambda key: SECTIONS[key][0],
        key="ask",
        on_change=state.to_url,
        args=("ask", names[0]),
        required=True,
        label_visibility="collapsed",
    )
    chosen.picker(run)
    _section(name or names[0], run, left, right, pins)


@st.fragment
def _section(name: str, run: Run, left: str, right: str, pins: list[str]) -> None:
    import_module(f"app.views.{SECTIONS[name][1]}").show(run, left, right, pins)
