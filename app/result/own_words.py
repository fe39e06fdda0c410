"""The reader's own words on a run: notes on heads and named groups of heads, in the run file and in the address."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import streamlit as st

from app import url
from app.link import MAX_PINS, MAX_WORDS, Link
from app.stored import saved_runs
from app.widgets.markdown import plain
from hap_engine.errors import HapError
from hap_engine.runs.record import Run
from hap_engine.runs.schema import ADDED_VERSION

NOTE, NAME = 200, 40  # characters


def of(run: Run, link: Link) -> dict[str, Any]:
    """What is said of `run`: in its file, and in a link, which counts more."""
    linked = {
        kind: dict(text.split(":", 1) for text in getattr(link, kind) if ":" in text) for kind in ("notes", "groups")
    }
    groups = {name: members.split(",") for name, members in linked["groups"].items()}
    return _clean(
        run,
        {
            "heads": {**run.notes.get("heads", {}), **linked["notes"]},
            "groups": {**run.notes.get("groups", {}), **groups},
        },
    )


def as_text(run: Run, link: Link) -> str:
    return json.dumps(of(run, link), ensure_ascii=False)


def keep(run: Run, told: Mapping[str, Any]) -> None:
    """Put what the picture says into the address and, where runs may be changed here, into the run's file."""
    said = _clean(run, told)
    try:
        saved_runs.keep(replace(run, notes={"version": ADDED_VERSION, **said}), run)
    except HapError as error:
        st.toast(plain(str(error)))
    url.put(
        notes=tuple(f"{head}:{text}" for head, text in said["heads"].items()),
        groups=tuple(f"{name}:{','.join(heads)}" for name, heads in said["groups"].items()),
    )


def _clean(run: Run, told: Mapping[str, Any]) -> dict[str, Any]:
    """Only of heads that the run has, of bounded length, each head in one group."""
    known, free = set(run.graph.heads), set(run.graph.heads)
    notes = {str(node): _line(text, NOTE) for node, text in dict(told.get("heads") or {}).items() if node in known}
    groups: dict[str, list[str]] = {}
    for name, heads in dict(told.get("groups") or {}).items():
        members = [head for head in dict.fromkeys(map(str, heads)) if head in known & free]
        if _line(name, NAME) and len(members) > 1:
            groups[_line(name, NAME).replace(":", " ")] = members[: MAX_PINS**2]
            free -= set(members)
    kept = {node: text for node, text in notes.items() if text}
    return {"heads": dict(list(kept.items())[:MAX_WORDS]), "groups": dict(list(groups.items())[:MAX_WORDS])}


def _line(text: object, most: int) -> str:
    return " ".join("".join(c if c.isprintable() else " " for c in str(text)).split())[:most]
