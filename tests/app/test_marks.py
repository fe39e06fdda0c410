"""What a live intervention tells the picture."""

from __future__ import annotations

import numpy as np

from app.diagram.marks import marks
from hap_engine.graph.edits import parse_all
from hap_engine.picture import scene
from tests.builders.fakes import fake_run

RUN = fake_run()
SCENE = scene.build(RUN)


def told(*changes: str) -> dict[str, object]:
    return marks(SCENE, parse_all(changes, RUN.graph))


def test_the_last_change_of_each_target_counts() -> None:
    found = told("-a1.h1,a2.h2", "+a1.h1", "-input->a1.h0<q>")
    assert found["changes"] == ["-a1.h1,a2.h2", "+a1.h1", "-input->a1.h0<q>"]
    (edge,) = found["edges"]  # type: ignore[misc]
    assert (edge["on"], edge["writer"], edge["reader"]) == (False, "input", "a1.h0<q>")


def test_an_edge_lies_where_the_picture_draws_it_whether_or_not_a_circuit_keeps_it() -> None:
    graph = RUN.graph
    row, column = graph.edge("input", "logits")
    (edge,) = told("+input->logits")["edges"]  # type: ignore[misc]
    wanted = SCENE.layout.ends(np.array([row]), np.array([column]))[0]
    np.testing.assert_allclose(edge["ends"], wanted, atol=1e-3)


def test_nothing_changed_is_nothing_marked() -> None:
    found = told()
    assert not found["changes"]
    assert not found["edges"]
