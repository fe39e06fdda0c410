"""The files of ``web/``, which draw a scene in a browser, and Plotly.js, which they draw with."""

from __future__ import annotations

from pathlib import Path

from hap_engine.files import assets

WEB = Path(__file__).parent / "web"
PLOTLY = assets() / "vendor" / "plotly" / "plotly-basic.min.js"  # the basic bundle, with its LICENSE beside it
SCRIPTS = (  # one module, in this order
    "geometry.js",
    "choice.js",
    "figure.js",
    "marked.js",
    "layer.js",
    "folded.js",
    "matrix.js",
    "panel.js",
    "tables.js",
    "words.js",
    "view.js",
    "component.js",
)


def web(*names: str) -> str:
    """The text of these files, one after the other."""
    return "\n".join((WEB / name).read_text(encoding="utf-8") for name in names)
