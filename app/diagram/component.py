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

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import streamlit as st
from streamlit import runtime

from app.diagram.scene import Scene
from app.diagram.wire import MAX_PINS, payload
from hap_engine.catalog import ASSETS

WEB = Path(__file__).parent / "web"
PLOTLY = ASSETS / "vendor" / "plotly" / "plotly-basic.min.js"
SCRIPTS = ("geometry.js", "figure.js", "layer.js", "panel.js", "component.js")  # one module


def _web(*names: str) -> str:
    return "".join((WEB / name).read_text(encoding="utf-8") for name in names)


_mount = st.components.v2.component(
    "hap_comparison",
    html=_web("component.html"),
    css=_web("component.css"),
    js=_web(*SCRIPTS),
    isolate_styles=False,
)


def comparison(
    scene: Scene, key: str = "comparison", pinned: Sequence[str] = (), height: int = 760
) -> list[str]:
    """Show both circuits of `scene`, linked, and return the nodes that are pinned.

    Args:
        scene: build it once and keep it (``st.cache_resource``): its text is cached by its identity.
        pinned: the caller's pins. Passing back what was returned last changes nothing; any other
            list is shown in the browser. Names that the graph lacks are dropped.
        height: of each panel in pixels.
    """
    memory = st.session_state.setdefault(
        f"{key}:pins", {"serial": 0, "command": [], "asked": [], "returned": []}
    )
    wanted = valid_pins(scene, pinned)
    reported = _reported(key, "pinned")
    current = memory["returned"] if reported is None else valid_pins(scene, reported)
    if wanted not in (memory["asked"], memory["returned"], current):
        memory["serial"] += 1
        memory["command"] = current = wanted
    memory |= {"asked": wanted, "returned": current}
    data = {
        "key": key,
        "height": height,
        "plotly": plotly_url(),
        "command": {"serial": memory["serial"], "pinned": memory["command"]},
        "scene": payload(scene),
    }
    # In a list: Streamlit searches the values of a mapping for data frames and imports pandas to do it.
    _mount(
        key=key,
        data=[data],
        on_pinned_change=_ignore,
        on_edge_change=_ignore,
        on_painted_change=_ignore,
    )
    return current


def selected_edge(scene: Scene, key: str = "comparison") -> tuple[str, str] | None:
    """The edge that was clicked last in this comparison, as (writer, reader); None if there is none."""
    chosen = _reported(key, "edge")
    if not isinstance(chosen, list | tuple) or len(chosen) != 2:
        return None
    known = {(edge.writer, edge.reader) for edge in scene.edges}
    return (chosen[0], chosen[1]) if tuple(chosen) in known else None


def painted(key: str = "comparison") -> bool:
    """Whether the browser shows this comparison already, so that what is below may follow.

    The browser says so after its first frame, which reruns the page. Where there is no browser
    (Streamlit's test runner) there is nothing to wait for.
    """
    return bool(_reported(key, "painted")) or not len(st.context.headers)


def valid_pins(scene: Scene, pinned: Any) -> list[str]:
    """The known names among `pinned`, in order, without repeats, at most `MAX_PINS`."""
    known = {node.id for node in scene.nodes}
    names = pinned if isinstance(pinned, list | tuple) else []
    return list(dict.fromkeys(n for n in names if isinstance(n, str) and n in known))[-MAX_PINS:]


def plotly_url() -> str:
    """Address of Plotly.js on this server."""
    base = str(st.get_option("server.baseUrlPath") or "").strip("/")
    url = runtime.get_instance().media_file_mgr.add(
        _plotly_source(), "text/javascript", coordinates="hap-plotly"
    )
    return f"/{base}{url}" if base else url


@lru_cache(maxsize=1)
def _plotly_source() -> bytes:
    return PLOTLY.read_bytes()


def _reported(key: str, name: str) -> Any:
    """What the browser last reported, or None before its first report."""
    state = st.session_state.get(key)
    return state.get(name) if state is not None else None


def _ignore() -> None:
    """Streamlit keeps a component's state only if it has a callback."""
