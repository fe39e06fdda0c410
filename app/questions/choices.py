"""What a question is about: the test prompt of the whole page, which stands in the address, and a circuit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import streamlit as st

from app import url
from app.widgets.markdown import plain
from app.words import widget
from hap_engine.report.titles import circuit_title
from hap_engine.runs.record import Run


def prompt(run: Run) -> int:
    """Index of the chosen test prompt; 0 unless the address names one that the run has."""
    return url.link().valid(run).prompt


def prompts(run: Run) -> range:
    """The chosen prompt alone, for a bench of it."""
    return range(prompt(run), prompt(run) + 1)


def choose(index: int) -> None:
    """Load a test prompt everywhere."""
    url.put(prompt=index)


def picker(run: Run) -> int:
    """A select box of all test prompts; returns the index of the chosen one."""
    tests = run.prompts.get("test", [])
    if not tests:
        return 0
    key = f"prompt-of-{run.id}"
    st.session_state[key] = prompt(run)
    return st.selectbox(
        **widget("ask.prompt"),
        options=range(len(tests)),
        format_func=lambda index: label(index, tests[index]),
        key=key,
        on_change=url.with_choice(key, choose),
    )


def label(index: int, test: Mapping[str, Any]) -> str:
    """``3 · Later, Mary and John … gave a ring to → Mary`` (select boxes show plain text)."""
    return f"{index + 1} · {test.get('clean', '')} → {str(test.get('answer', '')).strip()}"


def shown(name: str) -> str:
    """A circuit's title where Markdown is read."""
    return plain(circuit_title(name))


def circuit(names: Sequence[str], run: Run, key: str) -> str:
    """One of the run's circuits, at first the one that it set out to find."""
    first = run.main if run.main in names else names[0]
    chosen = st.segmented_control(
        "Circuit", names, default=first, format_func=shown, key=key, required=True, persist_state="session"
    )
    return chosen or first
