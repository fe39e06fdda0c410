"""Under the picture: ask the model. One section at a time, so that a page draws only what is read."""

from __future__ import annotations

import streamlit as st

from app import url
from app.questions import choices
from hap_engine.runs.record import Run

SECTIONS = {
    "try": "What if …?",
    "tokens": "Where in the sentence?",
    "numbers": "How good is it?",
    "missed": "Why was it missed?",
    "prompts": "Which prompts fail?",
    "smaller": "Can it be smaller?",
}


def show(run: Run, left: str, right: str, pins: list[str]) -> None:
    """Draw the chosen section for this run, its two circuits and the pinned nodes."""
    st.subheader("Ask the model", anchor=False)
    names = list(SECTIONS)
    name = st.segmented_control(
        "Question",
        names,
        default=url.from_url("ask", names, names[0]),
        format_func=SECTIONS.__getitem__,
        key="ask",
        on_change=url.to_url,
        args=("ask", names[0]),
        required=True,
        label_visibility="collapsed",
    )
    choices.picker(run)
    _section(name or names[0], run, left, right, pins)


@st.fragment
def _section(name: str, run: Run, left: str, right: str, pins: list[str]) -> None:
    """Each question is imported when it is first opened: some need pandas, some torch."""
    url.remember()  # what was changed here
    match name:
        case "try":
            from app.questions import what_if

            ask = what_if.show
        case "tokens":
            from app.questions import where_in_sentence

            ask = where_in_sentence.show
        case "numbers":
            from app.questions import how_good

            ask = how_good.show
        case "missed":
            from app.questions import why_missed

            ask = why_missed.show
        case "prompts":
            from app.questions import which_prompts

            ask = which_prompts.show
        case "smaller":
            from app.questions import can_it_be_smaller

            ask = can_it_be_smaller.show
    ask(run, left, right, pins)
