"""The background workers of this process, which all sessions share."""

from __future__ import annotations

import streamlit as st

from app.work.background import Background
from app.work.jobs import Jobs


@st.cache_resource
def background() -> Background:
    """Short work of this process: tests of edited circuits, effects of single edges."""
    return Background()


@st.cache_resource
def _models() -> Background:
    """Opened models; two are enough to compare runs and may take gigabytes."""
    return Background(remember=2)


@st.cache_resource
def jobs() -> Jobs:
    """The one registry of background runs of this process."""
    return Jobs()
