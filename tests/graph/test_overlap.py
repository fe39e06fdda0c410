"""What two circuits share, by hand and by chance."""

from __future__ import annotations

import numpy as np
import pytest

from hap_engine.graph.circuit import Circuit, empty_circuit, random_circuit
from hap_engine.graph.graph import Graph
from hap_engine.graph.overlap import Overlap, edge_overlap, head_overlap

GRAPH = Graph(2, 2, 2)


def test_overlap_of_a_hand_made_pair() -> None:
    one = Circuit.from_names(GRAPH, [("input", "m0"), ("m0", "logits"), ("input", "logits")])
    two = Circuit.from_names(GRAPH, [("input", "m0"), ("m1", "logits")])
    found = edge_overlap(one, two)
    assert found == Overlap(3, 2, 1, GRAPH.n_edges)
    assert found.jaccard == 1 / 4
    assert found.chance == 6 / GRAPH.n_edges


def test_empty_circuits_agree() -> None:
    found = edge_overlap(empty_circuit(GRAPH), empty_circuit(GRAPH))
    assert (found.jaccard, found.chance) == (1.0, 0.0)


def test_chance_is_what_random_sets_share() -> None:
    rng = np.random.default_rng(0)
    rows, columns = np.nonzero(GRAPH.edge_mask)

    def draw() -> Circuit:
        kept = np.zeros_like(GRAPH.edge_mask)
        chosen = rng.choice(len(rows), 20, replace=False)
        kept[rows[chosen], columns[chosen]] = True
        return Circuit(GRAPH, kept)

    found = [edge_overlap(draw(), draw()) for _ in range(400)]
    assert np.mean([o.shared for o in found]) == pytest.approx(found[0].chance, rel=0.1)


def test_heads_are_counted_as_the_circuit_keeps_them() -> None:
    one, two = (random_circuit(GRAPH, 12, np.random.default_rng(s)) for s in (0, 1))
    found = head_overlap(one, two)
    assert (found.one, found.two, found.shared) == (len(one.heads), len(two.heads), len(one.heads & two.heads))
    assert found.total == 4
