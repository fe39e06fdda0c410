"""What the page says when something goes wrong that nobody foresaw."""

from __future__ import annotations

import streamlit as st

from app.widgets.markdown import plain
from hap_engine.crash_report import explain


def show_unforeseen(error: Exception) -> bool:
    """Show one sentence in the place of Streamlit's traceback, and a way on.

    Streamlit calls this when a page, a part of one or a widget's callback raises (then nothing else is drawn).
    True: it was shown.
    """
    st.error(plain(explain(error, f"page {st.context.url}")), icon=":material/error:")
    st.button("Draw the page again", icon=":material/refresh:", key=f"again-after-{id(error)}")  # a click reruns it
    return True
