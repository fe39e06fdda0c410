"""The token picture: heads on the roles they sit at and look at, edges where they act."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from app.questions.where_in_sentence import story_figure
from hap_engine.findings import CircuitRecord
from hap_engine.graph.circuit import Circuit
from hap_engine.graph.graph import Graph
from hap_engine.picture.palette import LIGHT
from hap_engine.report.token_places import PlacedEdge, default_heads, example, role_attention, story
from hap_engine.runs.record import Run
from hap_engine.runs.run_file import load
from tests.builders.fakes import fake_run

GRAPH = Graph(3, 2, 1)
EDGES = [
    ("input", "a0.h0<v>"),  # on the key side: the first name
    ("a0.h0", "a1.h0<k>"),  # duplicate-token head into an S-inhibition head's key, at S2
    ("a1.h0", "a2.h1<q>"),  # into the mover's query, at END
    ("a1.h0", "a2.h0<v>"),  # a value edge at IO: a1.h0 does not sit there, so it is not drawn
    ("input", "a2.h0<v>"),
    ("a2.h1", "logits"),
]
ATTENTION = {
    "a0.h0": {"S2->S1": 0.9, "END->S2": 0.1},
    "a1.h0": {"END->S2": 0.6, "END->IO": 0.2},
    "a2.h1": {"END->IO": 0.8},
    "a2.h0": {"END->IO": 0.04},
}


@pytest.fixture
def run() -> Run:
    made = fake_run(GRAPH, edges=20)
    circuit = Circuit.from_names(GRAPH, EDGES)
    prompt = {"clean": "x", "roles": {"IO": 5, "S1": 2, "S1+1": 3, "S2": 9, "END": 12}}
    return replace(
        made,
        circuits={**made.circuits, "hap": CircuitRecord(circuit, len(circuit))},
        heads={head: {"attention": values} for head, values in ATTENTION.items()},
        prompts={"train": [], "test": [prompt]},
    )


def test_heads_are_placed_by_their_strongest_look_and_edges_where_they_act(run: Run) -> None:
    found = story(run, ["a2.h1", "a0.h0", "a1.h0", "a2.h0"], "hap")
    assert found.columns == ("S1", "IO", "S2", "END")
    assert [(look.head, look.query, look.key) for look in found.looks] == [
        ("a0.h0", "S2", "S1"),
        ("a1.h0", "END", "S2"),
        ("a2.h1", "END", "IO"),
    ]
    assert set(found.links) == {
        PlacedEdge("input", "a0.h0", "v", "S1"),
        PlacedEdge("a0.h0", "a1.h0", "k", "S2"),
        PlacedEdge("a1.h0", "a2.h1", "q", "END"),
        PlacedEdge("a2.h1", "logits", "", "END"),
        PlacedEdge("input", "a2.h1", "v", "IO"),  # both heads of the group share this value
    }
    assert found.elsewhere == ("a2.h0",)


def test_the_figure_draws_every_look_and_link(run: Run) -> None:
    found = story(run, list(ATTENTION), "hap")
    figure = story_figure(found, {"a0.h0": "duplicate_token"}, {"IO": "<b>Mary"}, LIGHT)
    lines = [trace for trace in figure.data if trace.mode == "lines"]
    assert len(lines) == len(found.columns) + len(found.links)
    arrows = [note for note in figure.layout.annotations if note.showarrow]
    assert len(arrows) == len(found.looks)
    assert not any("<b>Mary" in (note.text or "") for note in figure.layout.annotations)


def test_without_stored_means_the_stored_patterns_are_used(run: Run) -> None:
    matrix = [[1.0, 0.0], [0.7, 0.3]]
    pattern = {"clean": matrix, "corrupt": matrix}
    one = {
        "tokens": {"clean": ["Mary", " to"], "corrupt": ["a", "b"]},
        "roles": {"IO": 0, "END": 1},
        "heads": {"a1.h1": pattern},
    }
    bare = replace(run, attention=[one], heads={})
    assert role_attention(bare, "a1.h1") == {"END->IO": 0.7}
    assert role_attention(bare, "a0.h0") == {}
    assert example(bare, 0) == {"IO": "Mary", "END": "to"}
    assert example(bare, 3) == {}
    assert story(bare, ["a0.h0"], "hap").looks == ()


def test_the_shipped_runs_tell_a_story() -> None:
    for path in (Path(__file__).parents[2] / "assets" / "runs").glob("*.json"):
        run = load(path)
        found = story(run, default_heads(run, run.main), run.main)
        assert found.looks
        assert any(link.reader == "logits" for link in found.links)
        assert "END" in found.columns
