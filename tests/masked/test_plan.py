"""Which components a mask makes live, and where they are needed; worked out by hand."""

from __future__ import annotations

import torch

from hap_engine.graph.circuit import full_circuit
from hap_engine.graph.graph import Graph
from hap_engine.masked.plan import Plan, Positions

GRAPH = Graph(n_layers=2, n_heads=2, n_kv_heads=2)


def plan(*edges: tuple[str, str]) -> Plan:
    mask = torch.zeros(GRAPH.edge_mask.shape)
    for writer, reader in edges:
        mask[GRAPH.edge(writer, reader)] = 1
    return Plan.of(GRAPH, mask)


def names(made: Plan, zone: int) -> list[str]:
    return [GRAPH.writers[writer].name for writer in made.writers[zone]]


def test_in_the_full_model_only_the_last_layer_is_narrow() -> None:
    made = Plan(full_circuit(GRAPH))
    assert names(made, 0) == ["input", "a0.h0", "a0.h1", "m0"]
    assert names(made, 1) == [writer.name for writer in GRAPH.writers]
    assert made.layers[1].heads[1] == [0, 1]
    assert made.layers[1].mlp == [1]


def test_a_head_that_only_steers_a_query_is_needed_at_the_scored_position() -> None:
    """input -> a0.h0 (values) -> query of a1.h1 -> logits; keys of a1.h1 come from m0."""
    made = plan(("input", "a0.h0<v>"), ("a0.h0", "a1.h1<q>"), ("input", "m0"), ("m0", "a1.h1<k>"), ("a1.h1", "logits"))
    assert names(made, 0) == ["input", "m0"]
    assert names(made, 1) == ["input", "a0.h0", "m0", "a1.h1"]
    assert made.layers[0].heads[1] == [0]
    assert made.layers[0].mlp == [0]
    columns = [GRAPH.readers[column].name for column in made.layer_columns(0, 1)]
    assert columns == ["a1.h1<k>"]


def test_dead_edges_are_not_planned() -> None:
    made = plan(("input", "m0"), ("a0.h0", "logits"), ("input", "a1.h0<k>"))
    assert names(made, 1) == []
    assert not made.written[0].any()


def test_positions_run_from_the_first_difference_to_the_scored_one() -> None:
    differs = torch.tensor([[False, True, False, False], [False, False, False, False]])
    positions = Positions.of(differs, torch.tensor([2, 1]))
    assert positions.tokens[0].tolist() == [1, 2, 5]
    assert positions.tokens[1].tolist() == [2, 5]
    assert positions.ends.tolist() == [1, 2]
