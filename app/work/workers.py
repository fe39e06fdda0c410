"""The workers of this process, which all sessions share: one queue each for runs, opened models and short work."""

from __future__ import annotations

import streamlit as st
from streamlit.runtime.scriptrunner import get_script_run_ctx

from app.work import discoveries
from app.work.worker import Worker


def visitor() -> str:
    """Who looks at the page: a session of a browser; empty for who sits at this machine."""
    context = get_script_run_ctx()
    return "" if context is None or st.context.ip_address is None else context.session_id


@st.cache_resource
def runs() -> Worker:
    """Whole discoveries."""
    return Worker(discoveries.REMEMBERED)


@st.cache_resource
def models() -> Worker:
    """Opened models; two are enough to compare runs and may take gigabytes."""
    return Worker(remember=2)


@st.cache_resource
def short_work() -> Worker:
    """What a visitor waits for: tests of edited circuits, effects of single edges, questions about prompts."""
    return Worker(remember=24)
