"""Presenter mode: large type for the back row, controls out of the way."""

from __future__ import annotations

import streamlit as st

from app import classroom, url

BUTTON = """<style>
.st-key-presenter { position: fixed; top: .55rem; right: 1rem; z-index: 999991; width: auto; }
@media (max-width: 640px) { .st-key-presenter { display: none; } }
</style>"""
LARGE = """<style>
html { font-size: 21px; }
[data-testid="stSidebar"], [data-testid="stSidebarCollapsedControl"], [data-testid="stExpandSidebarButton"] { display:
none; }
.stMainBlockContainer { padding-left: 2rem; padding-right: 2rem; }
.hap { font-size: 19px; }
.hap-search input, .hap-legend, .hap-status, .hap-tip { font-size: 17px; }
.hap-title { font-size: 22px; }
</style>"""


def show() -> None:
    """The button at the top right, and the large type while it is on; kept over pages and in the URL."""
    asked = url.link().present
    on = st.session_state["presenting"] = asked or st.session_state.get("presenting", False)
    if on and not asked:
        url.put(present=True)  # another page was opened: the link there should say so too
    st.html(BUTTON + (LARGE if on else ""))
    with st.container(key="presenter"):
        st.button(
            "Normal type" if on else "Present",
            icon=":material/format_size:" if on else ":material/present_to_all:",
            on_click=_switch,
            args=(not on,),
            help=(
                "Large type, and the settings out of the way." if not on else "Back to the settings and to normal type."
            ),
        )
    if classroom.rules() is not None:
        st.caption(":material/groups: Class mode: look, compare, export, and start runs with the presets.")


def _switch(on: bool) -> None:
    st.session_state["presenting"] = on
    url.put(present=on)
