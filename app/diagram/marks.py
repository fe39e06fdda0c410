"""What a live intervention switched off or restored, told to the picture above it.

The marks are a component of their own without anything to see: it sits where the changes are made and
tells the picture's script, so that a change neither sends the scene again nor reruns the page. When
the panel goes, so do its marks.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import streamlit as st

from hap_engine.graph.edits import ARROW, Change
from hap_engine.picture.layout import Layout
from hap_engine.picture.scene import Scene
from hap_engine.words import beside

_mount = st.components.v2.component(
    "hap_marks", html="<span hidden></span>", js=beside(__file__, "web/marks.js"), isolate_styles=False
)


def show(scene: Scene, changes: Sequence[Change], base: str) -> None:
    """Mark `changes` to the circuit `base` in the picture of `scene`."""
    _mount(key="marks", data=[marks(scene, changes, base)])


def marks(scene: Scene, changes: Sequence[Change], base: str) -> dict[str, Any]:
    """Nodes and edges whose last change is off or on, and the panels that show what was changed.

    Those are the panels of the circuit `base`; both, if neither shows it (the full model).
    """
    last = {target: change.on for change in changes for target in change.targets}
    sides = [side for side in ("left", "right") if scene.panel(side).name == base]
    return {
        "sides": sides or ["left", "right"],
        "nodes": {target: on for target, on in last.items() if ARROW not in target},
        "edges": [
            {"on": on, "writer": writer, "reader": reader, "ends": _ends(scene.layout, writer, reader)}
            for target, on in last.items()
            if ARROW in target
            for writer, reader in [target.split(ARROW, 1)]
        ],
    }


def _ends(layout: Layout, writer: str, reader: str) -> list[float]:
    """The numbers of the edge's curve, whether or not a circuit of the scene keeps it."""
    row, column = layout.graph.edge(writer, reader)
    ends = layout.ends(np.array([row]), np.array([column]))[0]
    return [round(float(value), 3) for value in ends]
