"""What is switched off or restored on this page, told to the picture above it, and what the model says to it.

Components of their own without anything to see: they sit where the changes are made and tell the picture's
script, so that a change neither sends the scene again nor reruns the page.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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


def show(scene: Scene, changes: Sequence[Change]) -> None:
    """Mark `changes` in the picture of `scene`."""
    _mount(key="marks", data=[{"hapMarks": marks(scene, changes)}])


def promoted(node: str, up: Sequence[tuple[str, float]], down: Sequence[tuple[str, float]]) -> None:
    """Say which words a node promotes and holds back, with the change of their probability."""
    said = {"promotes": list(map(list, up)), "holds": list(map(list, down))}
    _mount(key=f"promoted-{node}", data=[{f"hapPromoted {node}": said}])


def answer(changes: Sequence[Change], probabilities: Mapping[str, Sequence[float]]) -> None:
    """Say the answer's probability before and after `changes`, a side of the picture."""
    _mount(key="answer", data=[{"hapAnswer": {"changes": [change.text for change in changes], **probabilities}}])


def marks(scene: Scene, changes: Sequence[Change]) -> dict[str, Any]:
    """The changes as text, and the curves of those edges whose last change is off or on."""
    last = {target: change.on for change in changes for target in change.targets}
    return {
        "changes": [change.text for change in changes],
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
