"""A line of text kept in the visitor's browser, so that a lesson can go on another day.

Nothing of it reaches the server's disk: in a class, each browser remembers its own reader.
"""

from __future__ import annotations

import streamlit as st

from hap_engine.words import beside

_mount = st.components.v2.component("hap_memory", html="<span hidden></span>", js=beside(__file__, "browser_memory.js"))


def remembered(name: str, write: str | None) -> str | None:
    """Keep `write` under `name` in the browser; with None, read what is kept there.

    Reading answers None on the first drawing of a page, and the text as soon as the browser replied.
    """
    result = _mount(
        key=f"memory-{name}-{write is None}",
        data=[{"name": name, "write": write}],
        height=1,
        on_saved_change=lambda: None,
    )
    saved = getattr(result, "saved", None)
    return saved[:200] if isinstance(saved, str) else None
