"""Presenter mode: large type for the back row, controls out of the way."""

from __future__ import annotations

import streamlit as st

from app import classroom, url
from app.words import say, widget
from hap_engine.words import beside

BUTTON, LARGE = beside(__file__, "presenter.html").split("\n\n")  # the second while it is on


def show() -> None:
    """The button at the top right, and the large type while it is on; kept over pages and in the URL."""
    asked = url.link().present
    on = st.session_state["presenting"] = asked or st.session_state.get("presenting", False)
    if on and not asked:
        url.put(present=True)  # another page was opened: the link there should say so too
    st.html(BUTTON + (LARGE if on else ""))
    with st.container(key="presenter"):
        st.button(**widget("present.on" if on else "present.off"), on_click=_switch, args=(not on,))
    if classroom.rules() is not None:
        st.caption(say("present.class"))


def _switch(on: bool) -> None:
    st.session_state["presenting"] = on
    url.put(present=on)
