"""The linked comparison: one Streamlit component that holds both panels.

`comparison` is the only entry. The scene goes to the browser once; hover, pan, zoom, search, the
overlay and the choice of edges happen there (``web/``), and only the pinned nodes and the selected
edge come back. A click must not send the scene again, so the data stays byte for byte the same while
the browser is the one that changes pins, and Streamlit then sends a reference of about a hundred
bytes. Only when the *caller* asks for other pins (a permalink, a row in a table) does a numbered
command go along.

Plotly.js is the basic bundle in ``assets/vendor``, served by Streamlit's media files: fetched once
per page load, from localhost and no CDN. The first frame does not wait for it.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

import streamlit as st
from streamlit import runtime
from streamlit.runtime.media_file_manager import MediaFileManager

from app.link import KEYS
from hap_engine.picture import finding, scene
from hap_engine.picture.scene import Scene
from hap_engine.picture.web_files import PLOTLY, SCRIPTS, STYLES, web
from hap_engine.picture.wire import MAX_PINS, VIEWS, payload, replay, replayable
from hap_engine.report.titles import circuit_title
from hap_engine.runs.record import Run

FIRST = 60  # edges drawn of each circuit at first: as many as can be told apart
# What the browser reports.
STATES = ("pinned", "edge", "view", "drawn", "size", "replay", "painted", "changes", "notes")
CLICKS = ("measure", "show")  # and asks for, once: what it reports next may stop the run that would have answered


_mount = st.components.v2.component(
    "hap_comparison", html=web("component.html"), css=web(*STYLES), js=web(*SCRIPTS), isolate_styles=False
)


@dataclass(frozen=True)
class Shown:
    """What the browser reports of a comparison, checked against its scene."""

    edge: tuple[str, str] | None  # the selected one, as (writer, reader)
    view: str  # one of VIEWS
    drawn: int  # edges drawn of each circuit, 0: all
    size: int  # edges that both circuits keep, 0: as many as in the run
    measure: int  # size that shall be measured now, 0: none
    changes: tuple[str, ...] | None  # what is switched off or restored, as `Change.text`; None: nothing was, here
    stamp: float  # tells one change from the same made again
    live: bool  # whether the model must say what follows from these changes
    notes: Mapping[str, Any] | None  # the reader's own words, where some were written here
    show: Mapping[str, Any]  # what else shall be shown: ``left`` and ``right``, circuits by name, or ``fold``
    painted: bool  # whether the first frame is there, so that what is below may follow


def comparison(
    scene: Scene,
    key: str = "comparison",
    pinned: Sequence[str] = (),
    height: str = "max(760px, 62vh)",
    *,
    view: str = "pair",
    drawn: int = 0,
    size: int = 0,
    run: Run | None = None,
    finding: str = "",
    folded: bool | None = None,
    present: bool | None = None,
    notes: str = "",
) -> list[str]:
    """Show both circuits of `scene`, linked, and return the nodes that are pinned.

    Args:
        scene: build it once and keep it (``st.cache_resource``): its text is cached by its identity.
        pinned: the caller's pins. Passing back what was returned last changes nothing; any other
            list is shown in the browser. Names that the graph lacks are dropped.
        height: of each panel, as CSS writes it.
        view, drawn, size: how the comparison first looks; later the browser decides (see `shown`).
        run: whose pruning can be replayed.
        finding: what stands above and beside the pictures, as `told` makes it; nothing does without.
        folded: whether empty layers are thin lines now; None: the page cannot change it.
        present: whether the run is told as a story, on the whole screen; None: the picture has a button for it.
        notes: the reader's own words, as JSON: ``heads`` and ``groups``.
    """
    memory = st.session_state.setdefault(
        f"{key}:pins",
        {"serial": 0, "command": [], "asked": [], "returned": [], "view": view, "drawn": drawn, "size": size},
    )
    wanted = valid_pins(scene, pinned)
    reported = _reported(key, "pinned")
    current = memory["returned"] if reported is None else valid_pins(scene, reported)
    if wanted not in (memory["asked"], memory["returned"], current):
        memory["serial"] += 1
        memory["command"] = current = wanted
    memory |= {"asked": wanted, "returned": current}
    if run and _reported(key, "replay") and memory.get("replayed") is not scene:
        memory |= {"replay": replay(run, scene), "replayed": scene}
    data = {
        "key": key,
        "height": height,
        "plotly": plotly_url(),
        "command": {"serial": memory["serial"], "pinned": memory["command"]},
        "start": {"view": memory["view"], "drawn": memory["drawn"], "size": memory["size"]},
        "replayable": run is not None and replayable(run),
        "replay": memory.get("replay"),
        "measurable": run is not None,
        "circuits": [[name, circuit_title(name)] for name in run.circuits] if run else [],
        "folded": folded,
        "present": present,
        "notes": notes,
        "address": {"pins": KEYS["pins"], "view": KEYS["view"]} if present is not None else None,
        "scene": payload(scene),
        "finding": finding,
    }
    # In a list: Streamlit searches the values of a mapping for data frames, and imports pandas for it.
    callbacks: dict[str, Any] = {f"on_{name}_change": _ignore for name in STATES}
    callbacks |= {f"on_{name}_change": partial(_note, key, name) for name in CLICKS}
    _mount(key=key, data=[data], **callbacks)
    return current


def shown(scene: Scene, key: str = "comparison") -> Shown:
    """What the browser last reported of the comparison with this key."""
    memory = st.session_state.get(f"{key}:pins", {"view": "pair", "drawn": 0, "size": 0})
    names = ("edge", "view", "drawn", "size", "changes", "notes")
    edge, view, drawn, size, changed, notes = (_reported(key, name) for name in names)
    measure, wanted = (st.session_state.get(f"{key}:{name}") for name in CLICKS)
    asked = changed if isinstance(changed, Mapping) else {}
    known = {(e.writer, e.reader) for e in scene.edges}
    pair = tuple(edge) if isinstance(edge, list | tuple) else ()
    return Shown(
        edge=(pair[0], pair[1]) if pair in known else None,
        view=view if view in VIEWS else memory["view"],
        drawn=drawn if isinstance(drawn, int) and drawn >= 0 else memory["drawn"],
        size=size if isinstance(size, int) and size >= 0 else memory["size"],
        measure=measure if isinstance(measure, int) else 0,
        changes=tuple(map(str, asked["list"])) if isinstance(asked.get("list"), list) else None,
        stamp=float(stamp) if isinstance(stamp := asked.get("stamp"), int | float) else 0.0,
        live=bool(asked.get("live")),
        notes=notes if isinstance(notes, Mapping) else None,
        show=wanted if isinstance(wanted, Mapping) else {},
        # Where there is no browser (Streamlit's test runner) there is nothing to wait for.
        painted=bool(_reported(key, "painted")) or not len(st.context.headers),
    )


def answered(key: str, click: str) -> None:
    """What was asked for by a click is done: one of `CLICKS`."""
    st.session_state.pop(f"{key}:{click}", None)


def valid_pins(scene: Scene, pinned: Any) -> list[str]:
    """The known names among `pinned`, in order, without repeats, at most `MAX_PINS`."""
    known = {node.id for node in scene.nodes}
    names = pinned if isinstance(pinned, list | tuple) else []
    return list(dict.fromkeys(n for n in names if isinstance(n, str) and n in known))[-MAX_PINS:]


def plotly_url() -> str:
    """Address of Plotly.js on this server."""
    base = str(st.get_option("server.baseUrlPath") or "").strip("/")
    url = _keep_plotly(runtime.get_instance().media_file_mgr)
    return f"/{base}{url}" if base else url


@lru_cache(maxsize=1)
def _keep_plotly(files: MediaFileManager) -> str:
    """Put Plotly.js among the server's media files from a thread of its own.

    A session's files go when it turns to another page, perhaps before the browser has asked for them. What
    no session put there stays as long as the server does.
    """
    warned = logging.getLogger("streamlit.runtime.scriptrunner_utils.script_run_context")
    warned.disabled = True  # that the thread has no session is the point
    try:
        with ThreadPoolExecutor(1) as outside:
            done = outside.submit(files.add, PLOTLY.read_bytes(), "text/javascript", "hap-plotly")
            return str(done.result())
    finally:
        warned.disabled = False


def _reported(key: str, name: str) -> Any:
    """What the browser last reported, or None before its first report."""
    state = st.session_state.get(key)
    return state.get(name) if state is not None else None


def _note(key: str, click: str) -> None:
    """Keep what a click asks for until it is `answered`; of several the last word counts."""
    asked = _reported(key, click)
    if isinstance(asked, Mapping):
        asked = {**st.session_state.get(f"{key}:{click}", {}), **asked}
    if asked is not None:
        st.session_state[f"{key}:{click}"] = asked


def _ignore() -> None:
    """Streamlit keeps a component's state only if it has a callback."""


@st.cache_resource(max_entries=16, show_spinner=False)
def picture(path_key: str, left: str, right: str, fold: bool, _run: Run):  # type: ignore[no-untyped-def]
    """The scene of two circuits; kept, because the browser's copy is keyed by its identity."""
    return scene.build(_run, left, right, fold=fold)


@st.cache_resource(max_entries=32, show_spinner=False)
def told(path_key: str, left: str, right: str, prompt: int, _run: Run) -> str:
    """What stands above and beside the picture of two circuits, on a test prompt."""
    return json.dumps(finding.finding(_run, left, right, prompt), separators=(",", ":"), allow_nan=False)
