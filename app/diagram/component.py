"""The linked comparison: one Streamlit component that holds both panels as Plotly pictures.

`comparison` is the only entry. The scene goes to the browser once; hover, pan, zoom, search and the
overlay happen there, and only the list of pinned nodes comes back. A click must not send the scene
again, so the data stays byte for byte the same while the browser is the one that changes pins, and
Streamlit then sends a reference of about a hundred bytes. Only when the *caller* asks for other pins
(a permalink, a row in a table) does a numbered command go along.

Plotly.js (4.8 MB) is served by Streamlit's media files from the installed plotly package: fetched
once per page load, whatever the working directory, from localhost and no CDN.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import plotly
import streamlit as st
from streamlit import runtime

from app.diagram.figures import overlay_figure, panel_figure
from app.diagram.layout import POINTS
from app.diagram.marks import hover_text, short_name
from app.diagram.palette import DARK, LIGHT, S_INHIBITION, twins
from app.diagram.scene import Scene, ends, search_text, spoken

HERE = Path(__file__).parent
PLOTLY = Path(plotly.__file__).parent / "package_data" / "plotly.min.js"
MAX_PINS = 8

_mount = st.components.v2.component(
    "hap_comparison",
    html=(HERE / "component.html").read_text(encoding="utf-8"),
    css=(HERE / "component.css").read_text(encoding="utf-8"),
    js="".join((HERE / name).read_text(encoding="utf-8") for name in ("panel.js", "component.js")),
    isolate_styles=False,
)


def comparison(
    scene: Scene, key: str = "comparison", pinned: Sequence[str] = (), height: int = 760
) -> list[str]:
    """Show both circuits of `scene`, linked, and return the nodes that are pinned.

    Args:
        scene: build it once and keep it (``st.cache_resource``): figures are cached by its identity.
        pinned: the caller's pins. Passing back what was returned last changes nothing; any other
            list is shown in the browser. Names that the graph lacks are dropped.
        height: of each panel in pixels.
    """
    memory = st.session_state.setdefault(
        f"{key}:pins", {"serial": 0, "command": [], "asked": [], "returned": []}
    )
    wanted = valid_pins(scene, pinned)
    reported = _reported(key)
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
    _mount(key=key, data=data, on_pinned_change=_ignore)
    return current


def valid_pins(scene: Scene, pinned: Any) -> list[str]:
    """The known names among `pinned`, in order, without repeats, at most `MAX_PINS`."""
    known = {node.id for node in scene.nodes}
    names = pinned if isinstance(pinned, list | tuple) else []
    return list(dict.fromkeys(n for n in names if isinstance(n, str) and n in known))[-MAX_PINS:]


@lru_cache(maxsize=8)
def payload(scene: Scene) -> str:
    """The scene as the JSON text that ``component.js`` reads.

    Figures are made in light colours; ``dark`` maps each to its dark twin, so that a change of
    theme needs no message at all. Tooltips are sent once, not with every figure.
    """
    figures = {
        "left": panel_figure(scene, "left"),
        "right": panel_figure(scene, "right"),
        "overlay": overlay_figure(scene),
    }
    for figure in figures.values():
        figure.data[-1].text = None
    nodes = [
        {
            "id": node.id,
            "name": spoken(node),
            "search": search_text(node),
            "hover": hover_text(node),
            "text": " · ".join(node.lines),
            "status": node.status,
            "short": short_name(node),
            "ring": node.role == S_INHIBITION,
            "kind": node.kind,
            "box": [round(value, 4) for value in vars(scene.layout.boxes[node.id]).values()],
            "hidden": scene.layout.hidden(node.layer),
        }
        for node in scene.nodes
    ]
    rest = {
        "nodes": nodes,
        "edges": ends(scene),
        "statuses": [edge.status for edge in scene.edges],
        "points": POINTS,
        "maxPins": MAX_PINS,
        "light": LIGHT.colours,
        "dark": twins(LIGHT, DARK),
    }
    drawn = ",".join(f'"{side}":{figure.to_json()}' for side, figure in figures.items())
    return json.dumps(rest, separators=(",", ":"))[:-1] + f',"figures":{{{drawn}}}}}'


def plotly_url() -> str:
    """Address of the installed Plotly.js on this server."""
    base = str(st.get_option("server.baseUrlPath") or "").strip("/")
    url = runtime.get_instance().media_file_mgr.add(
        _plotly_source(), "text/javascript", coordinates="hap-plotly"
    )
    return f"/{base}{url}" if base else url


@lru_cache(maxsize=1)
def _plotly_source() -> bytes:
    return PLOTLY.read_bytes()


def _reported(key: str) -> Any:
    """The pins that the browser last reported, or None before its first report."""
    state = st.session_state.get(key)
    return state.get("pinned") if state is not None else None


def _ignore() -> None:
    """Streamlit keeps a component's state only if it has a callback."""
