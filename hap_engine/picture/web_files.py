"""The files of ``web/``, which draw a scene in a browser, and Plotly.js, which they draw with."""

from __future__ import annotations

from hap_engine.files import assets
from hap_engine.words import beside

PLOTLY = assets() / "vendor" / "plotly" / "plotly-basic.min.js"  # the basic bundle, with its LICENSE beside it
SCRIPTS = (  # one module, in this order
    "geometry.js",
    "choice.js",
    "sizes.js",
    "curves.js",
    "figure.js",
    "marked.js",
    "layer.js",
    "folded.js",
    "matrix.js",
    "sentence.js",
    "spans.js",
    "panel.js",
    "tables.js",
    "words.js",
    "lead.js",
    "cuts.js",
    "drawer.js",
    "story.js",
    "own.js",
    "animation.js",
    "view.js",
    "component.js",
)
STYLES = ("component.css", "lead.css", "story.css")


def web(*names: str) -> str:
    """The text of these files, one after the other."""
    return "\n".join(beside(__file__, f"web/{name}") for name in names)
