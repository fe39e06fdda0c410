"""What the pages share: cached access to runs and jobs, and typed access to the URL."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import streamlit as st

from app.diagram import scene
from app.jobs import Jobs
from hap_engine.catalog import ASSETS
from hap_engine.errors import HapError
from hap_engine.runs import Run, load, runs_folder

SHIPPED = ASSETS / "runs"


@dataclass(frozen=True)
class Listed:
    """A run file that can be opened."""

    id: str
    path: Path
    shipped: bool
    title: str
    created: str
    model: str
    task: str
    edges: int
    sparsity: float
    seed: int


@st.cache_resource
def jobs() -> Jobs:
    """The one registry of background runs of this process."""
    return Jobs()


def open_run(run_id: str) -> Run:
    """A shipped or saved run by id. Raises HapError if there is none or it is damaged."""
    for folder in (runs_folder(), SHIPPED):
        path = folder / f"{run_id}.json"
        if path.name == f"{run_id}.json" and path.parent == folder and path.is_file():
            return _load(path, path.stat().st_mtime_ns)
    raise HapError(
        f"There is no run {run_id[:64]!r} on this machine. Open one from the list, "
        "or import its file on the Runs page."
    )


@st.cache_resource(max_entries=8, show_spinner=False)
def _load(path: Path, modified: int) -> Run:
    return load(path)


@st.cache_resource(max_entries=16, show_spinner=False)
def picture(path_key: str, left: str, right: str, fold: bool, strongest: int | None, _run: Run):  # type: ignore[no-untyped-def]
    """The scene of two circuits; kept, because the browser's copy is keyed by its identity."""
    return scene.build(_run, left, right, fold=fold, strongest=strongest)


def listed() -> tuple[list[Listed], list[str]]:
    """All runs, newest saved first and shipped last, and a message for each damaged file."""
    found, damaged = [], []
    saved = sorted(
        runs_folder().glob("*.json"), key=lambda path: path.stat().st_mtime, reverse=True
    )
    for path in [*saved, *sorted(SHIPPED.glob("*.json"), reverse=True)]:
        try:
            run = _load(path, path.stat().st_mtime_ns)
        except HapError as error:
            damaged.append(f"{path.name}: {error}")
            continue
        found.append(
            Listed(
                run.id, path, path.parent == SHIPPED, run.title, run.created, run.model["name"],
                run.task["title"], len(run.circuits[run.main].circuit), run.sparsity, run.seed,
            )
        )  # fmt: skip
    return found, damaged


def default_run() -> str | None:
    """Id of the run that a first visit shows: the shipped real model, else any other."""
    runs = [run for run in listed()[0] if run.shipped]
    real = [run for run in runs if run.model != "hap-mini"]
    return (real or runs)[0].id if runs else None


def is_shipped(run: Run) -> bool:
    return (SHIPPED / f"{run.id}.json").is_file()


T = TypeVar("T")


def from_url(key: str, options: Sequence[T], default: T) -> T:
    """The option that the URL names, else `default`. (Streamlit's own binding puts labels there.)"""
    named = st.query_params.get(key)
    return next((option for option in options if str(option) == named), default)


def to_url(key: str, default: object) -> None:
    """Widget callback: put the widget's value into the URL, defaults left out."""
    value = st.session_state[key]
    if value == default or value is None:
        st.query_params.pop(key, None)
    else:
        st.query_params[key] = str(value)


def go_to_run(run_id: str) -> None:
    """Show a run; a finished job leaves the URL."""
    st.query_params["run"] = run_id
    st.query_params.pop("job", None)
