"""Changes to a circuit: their text, their mask, their limits."""

from __future__ import annotations

import numpy as np
import pytest

from hap_engine.errors import SettingsError, UnknownNameError
from hap_engine.graph.circuit import Circuit, empty_circuit, full_circuit
from hap_engine.graph.edits import MAX_TARGETS, Change, apply, edges_of, parse, parse_all
from hap_engine.graph.graph import Graph

GRAPH = Graph(2, 2, 1)  # grouped: both heads of a layer share k and v
PATH = [("input", "a0.h0<v>"), ("a0.h0", "a1.h1<q>"), ("input", "m0"), ("a1.h1", "logits")]
CIRCUIT = Circuit.from_names(GRAPH, PATH)


@pytest.mark.parametrize("text", ["-a0.h0", "+m1", "-a0.h0,a1.h1", "+input->a1.h0<k>"])
def test_a_change_survives_its_text(text: str) -> None:
    assert parse(text, GRAPH).text == text


@pytest.mark.parametrize("text", ["", "-", "a0.h0", "*a0.h0", "+,"])
def test_a_text_that_is_no_change_is_refused(text: str) -> None:
    with pytest.raises(SettingsError, match="Expected a change"):
        parse(text, GRAPH)


@pytest.mark.parametrize("text", ["-a9.h0", "-logits", "+m1->a0.h0<q>", "-a0.h0->nothing"])
def test_unknown_parts_are_named(text: str) -> None:
    with pytest.raises(UnknownNameError):
        parse(text, GRAPH)


def test_too_many_changes_are_refused() -> None:
    with pytest.raises(SettingsError, match="at most"):
        parse_all(["-a0.h0"] * (MAX_TARGETS + 1), GRAPH)


def test_switching_a_node_off_takes_all_edges_out_of_it() -> None:
    changed = apply(CIRCUIT, [Change(False, ("a0.h0",))])
    assert changed.names() == [("input", "a0.h0<v>"), ("input", "m0"), ("a1.h1", "logits")]
    assert "a0.h0" not in changed.heads


def test_a_restored_node_is_joined_to_what_the_circuit_holds() -> None:
    added = set(apply(CIRCUIT, [Change(True, ("m1",))]).names()) - set(CIRCUIT.names())
    # m0 is dead in this circuit, so m1 does not read from it.
    assert added == {("input", "m1"), ("a0.h0", "m1"), ("a1.h1", "m1"), ("m1", "logits")}


def test_a_node_restored_to_nothing_gets_its_path() -> None:
    restored = apply(empty_circuit(GRAPH), [Change(True, ("m0",))])
    assert restored.names() == [("input", "m0"), ("m0", "logits")]


def test_edges_flip_alone_and_in_order() -> None:
    edge = "a0.h0->a1.h1<q>"
    off, on = Change(False, (edge,)), Change(True, (edge,))
    assert len(apply(CIRCUIT, [off])) == len(CIRCUIT) - 1
    assert apply(CIRCUIT, [off, on]) == CIRCUIT
    assert apply(CIRCUIT, [on]) == CIRCUIT


def test_restoring_changes_nothing_in_the_full_model() -> None:
    full = full_circuit(GRAPH)
    assert apply(full, [Change(True, ("a0.h1", "m0"))]) == full


def test_the_edges_of_a_node_are_those_that_touch_it() -> None:
    names = {(GRAPH.writers[w].name, GRAPH.readers[r].name) for w, r in edges_of(GRAPH, "a0.h1")}
    expected = {
        (writer, reader)
        for writer, reader in full_circuit(GRAPH).names()
        if writer == "a0.h1" or reader in ("a0.h1<q>", "a0.h0<k>", "a0.h0<v>")
    }
    assert names == expected
    assert np.all([GRAPH.edge_mask[cell] for cell in edges_of(GRAPH, "m1")])
