"""The folder of the sweep that is shown."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

import streamlit as st

from app import url
from app.stored import recent_sweeps
from app.words import say, widget
from hap_engine.sweeps.folder import LIST

OTHER = "other"


def folder() -> Path | None:
    """The chosen one; None while there is none."""
    known = recent_sweeps.remembered()
    asked = st.query_params.get("sweep", OTHER)
    absent = [say("sweep.gone", name=asked[:80])] if asked not in (*known, OTHER) else []
    url.keep_saying("sweep", absent)
    chosen = url.select("sweep", [*known, OTHER], lambda name: say("sweep.other") if name == OTHER else name)
    if chosen in known:
        return known[chosen]
    typed = st.text_input(
        **widget("sweep.path"), persist_state="session", on_change=url.with_choice("sweep-path", _remember)
    )
    return _path(typed) if typed.strip() else None


def _remember(typed: str) -> None:
    """Callback: a folder that holds a sweep joins the list and is chosen there."""
    path = _path(typed)
    with suppress(OSError, ValueError):  # a character that no path has
        if (path / LIST).is_file():
            recent_sweeps.remember(path)
            known = recent_sweeps.remembered()
            st.query_params["sweep"] = next((name for name, other in known.items() if other == path), OTHER)


def _path(typed: str) -> Path:
    return Path(os.path.abspath(os.path.expanduser(typed.strip())))
