"""Under the picture: ask the model. One section at a time, so that a page draws only what is read."""

from __future__ import annotations

from collections.abc import Callable

import streamlit as st

from app import state
from app.views import chosen, intervene
from hap_engine.runs import Run

Section = Callable[[Run, str, str, list[str]], None]
SECTIONS: dict[str, tuple[str, Section]] = {
    "try": ("What happens if …?", lambda run, left, right, pins: intervene.show(run, pins)),
}


def show(run: Run, left: str, right: str, pins: list[str]) -> None:
    """Draw the chosen section for this run, its two circuits and the pinned nodes."""
    st.subheader("Ask the model", anchor=False)
    which, prompt = st.columns([3, 2], vertical_alignment="bottom")
    names = list(SECTIONS)
    with which:
        name = st.segmented_control(
            "Question",
            names,
            default=state.from_url("ask", names, names[0]),
            format_func=lambda key: SECTIONS[key][0],
            key="ask",
            on_change=state.to_url,
            args=("ask", names[0]),
            required=True,
        )
    with prompt:
        chosen.picker(run)
    _section(name or names[0], run, left, right, pins)


@st.fragment
def _section(name: str, run: Run, left: str, right: str, pins: list[str]) -> None:
    SECTIONS[name][1](run, left, right, pins)
