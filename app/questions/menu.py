"""Under the picture: ask the model. One section at a time, so that a page draws only what is read."""

from __future__ import annotations

from collections.abc import Callable

import streamlit as st

from app import url
from app.questions import chosen_prompt
from hap_engine.runs.record import Run

Show = Callable[[Run, str, str, list[str]], None]  # (run, left circuit, right circuit, pinned nodes)


# Each question is imported when it is first opened: some need pandas, some torch.


def _what_if() -> Show:
    from app.questions import what_if

    return what_if.show


def _where_in_sentence() -> Show:
    from app.questions import where_in_sentence

    return where_in_sentence.show


def _how_good() -> Show:
    from app.questions import how_good

    return how_good.show


def _why_missed() -> Show:
    from app.questions import why_missed

    return why_missed.show


def _which_prompts() -> Show:
    from app.questions import which_prompts

    return which_prompts.show


def _can_it_be_smaller() -> Show:
    from app.questions import can_it_be_smaller

    return can_it_be_smaller.show


SECTIONS: dict[str, tuple[str, Callable[[], Show]]] = {
    "try": ("What if …?", _what_if),
    "tokens": ("Where in the sentence?", _where_in_sentence),
    "numbers": ("How good is it?", _how_good),
    "missed": ("Why was it missed?", _why_missed),
    "prompts": ("Which prompts fail?", _which_prompts),
    "smaller": ("Can it be smaller?", _can_it_be_smaller),
}


def show(run: Run, left: str, right: str, pins: list[str]) -> None:
    """Draw the chosen section for this run, its two circuits and the pinned nodes."""
    st.subheader("Ask the model", anchor=False)
    names = list(SECTIONS)
    name = st.segmented_control(
        "Question",
        names,
        default=url.from_url("ask", names, names[0]),
        format_func=lambda key: SECTIONS[key][0],
        key="ask",
        on_change=url.to_url,
        args=("ask", names[0]),
        required=True,
        label_visibility="collapsed",
    )
    chosen_prompt.picker(run)
    _section(name or names[0], run, left, right, pins)


@st.fragment
def _section(name: str, run: Run, left: str, right: str, pins: list[str]) -> None:
    url.remember()  # what was changed here
    SECTIONS[name][1]()(run, left, right, pins)
