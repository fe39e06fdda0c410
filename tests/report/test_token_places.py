"""Where heads act and look on a sentence: by their strongest mean attention between roles."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from hap_engine.findings import CircuitRecord
from hap_engine.graph.circuit import Circuit
from hap_engine.graph.graph import Graph
from hap_engine.picture import scene, wire
from hap_engine.report.token_places import UNNAMED, Look, on_sentence, role_attention
from hap_engine.runs.record import Run
from hap_engine.runs.run_file import load
from tests.builders.fakes import fake_run

GRAPH = Graph(3, 2, 1)
EDGES = [("input", "a0.h0<v>"), ("a0.h0", "a1.h0<k>"), ("a1.h0", "a2.h1<q>"), ("a2.h1", "logits")]
ATTENTION = {
    "a0.h0": {"S2->S1": 0.9, "END->S2": 0.1},
    "a1.h0": {"END->S2": 0.6, "END->IO": 0.2, "END->NOWHERE": 0.9},
    "a2.h1": {"END->IO": 0.8},
    "a2.h0": {"END->IO": 0.04},
}
TOKENS = ["Then", ",", "Mary", "and", "John", "went", "home", ".", "John", "gave", "it", "to"]
ROLES = {"IO": 2, "S1": 4, "S1+1": 5, "S2": 8, "END": 11}


@pytest.fixture
def run() -> Run:
    made = fake_run(GRAPH, edges=20)
    circuit = Circuit.from_names(GRAPH, EDGES)
    stored = {"tokens": {"clean": TOKENS, "corrupt": TOKENS}, "roles": ROLES, "heads": {}}
    return replace(
        made,
        circuits={**made.circuits, "hap": CircuitRecord(circuit, len(circuit))},
        heads={head: {"attention": values} for head, values in ATTENTION.items()},
        attention=[stored],
        prompts={"train": [], "test": [{"clean": "x", "answer": " Mary"}]},
    )


def test_heads_stand_at_their_strongest_look_between_roles_that_the_prompt_has(run: Run) -> None:
    found = on_sentence(run, "eap", "hap")
    assert found is not None
    (prompt,) = found.prompts
    assert prompt.tokens == tuple(TOKENS)
    assert prompt.answer == "Mary"
    assert prompt.looks == (Look("a0.h0", 8, 4, 0.9), Look("a1.h0", 11, 8, 0.6), Look("a2.h1", 11, 2, 0.8))
    sent = wire.wire(scene.build(run))["sentence"]
    assert sent["prompts"][0]["looks"] == [[1, 8, 4, 0.9], [4, 11, 8, 0.6], [8, 11, 2, 0.8]]
    assert set(sent["first"]) <= {1, 4, 8}


def test_heads_with_a_role_come_first_else_those_that_move_the_answer_most(run: Run) -> None:
    named = replace(run, roles={"heads": {"a1.h0": {"role": "s_inhibition", "sentence": ""}}})
    assert on_sentence(named, "hap", "hap").first == ("a1.h0",)  # type: ignore[union-attr]
    effects = {head: {"attention": {"END->IO": 0.5}, "direct_effect": -i} for i, head in enumerate(GRAPH.heads)}
    assert on_sentence(replace(run, roles={}, heads=effects), "hap", "hap").first  # type: ignore[union-attr]
    wide = fake_run(Graph(8, 4, 4), edges=200, attention=run.attention, prompts=run.prompts, roles={})
    effects = {head: {"attention": {"END->IO": 0.5}, "direct_effect": -i} for i, head in enumerate(wide.graph.heads)}
    found = on_sentence(replace(wide, heads=effects), "eap", "hap")
    assert found is not None
    assert len(found.first) == UNNAMED
    kept = wide.circuits["eap"].circuit.heads | wide.circuits["hap"].circuit.heads
    strongest = sorted(kept, key=wide.graph.heads.index)[-UNNAMED:]
    assert list(found.first) == strongest


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


def test_a_prompt_without_roles_is_read_from_its_last_token_past_the_first(run: Run) -> None:
    pattern = {"clean": [[1, 0, 0], [0.5, 0.5, 0], [0.6, 0.3, 0.1]], "corrupt": []}
    one = {"tokens": {"clean": ["a", "b", "c"], "corrupt": []}, "roles": {}, "heads": {"a1.h0": pattern}}
    found = on_sentence(replace(run, attention=[one], heads={}, roles={}), "hap", "hap")
    assert found is not None
    assert found.prompts[0].looks == (Look("a1.h0", 2, 1, 0.3),)


def test_without_attention_there_is_no_picture_on_the_sentence(run: Run) -> None:
    assert on_sentence(replace(run, attention=[]), "eap", "hap") is None
    assert on_sentence(replace(run, heads={}), "eap", "hap") is None
    assert wire.wire(scene.build(fake_run()))["sentence"] is None


def test_the_shipped_runs_are_drawn_on_their_sentences() -> None:
    for path in (Path(__file__).parents[2] / "assets" / "runs").glob("*.json"):
        found = on_sentence(run := load(path), *run.sides)
        assert found is not None
        assert len(found.first) >= 4, run.title
        assert all(prompt.answer for prompt in found.prompts)
