"""Under the picture: ask the model. One section at a time, so that a page draws only what is read."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module

import streamlit as st

from app import url
from app.diagram import component, marks
from app.questions import choices
from app.words import say
from hap_engine.runs.record import Run

SECTIONS: Mapping[str, str] = say.parts("ask.sections")  # by the name in the address
MODULES = {
    "try": "what_if",
    "sentence": "type_a_sentence",
    "sizes": "every_size",
    "numbers": "how_good",
    "missed": "why_missed",
    "prompts": "which_prompts",
    "smaller": "can_it_be_smaller",
    "another": "is_there_another",
}


def show(run: Run, left: str, right: str, pins: list[str]) -> None:
    """Draw the chosen section for this run, its two circuits and the pinned nodes."""
    st.header("Ask the model", anchor=False)
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
    _mark(run, left, right)
    import_module(f"app.questions.{MODULES[name]}").show(run, left, right, pins)


def _mark(run: Run, left: str, right: str) -> None:
    """Tell the picture what is switched off, whatever is asked: a click here reruns only the section."""
    from app.questions.what_if import current

    marks.show(component.picture(run.fingerprint, left, right, url.link().fold, run), current(run))
