"""One order of the edges gives the live circuit of every size."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from hap_engine.errors import SettingsError
from hap_engine.graph.circuit import Circuit
from hap_engine.graph.edge_order import EdgeOrder
from hap_engine.graph.graph import Graph

GRAPHS = {
    "sequential": Graph(3, 4, 4),
    "grouped": Graph(2, 4, 2),
    "parallel": Graph(2, 3, 3, parallel=True),
    "post-norm": Graph(2, 3, 3, post_norm=True),
    "coupled": Graph(2, 2, 2, coupled=((0, 1), (0, 1), (0,), (1,), (0,), (1,))),
}


def shuffled(graph: Graph, seed: int) -> EdgeOrder:
    cells = np.flatnonzero(graph.edge_mask)
    return EdgeOrder(graph, np.random.default_rng(seed).permutation(cells))


def prefix(order: EdgeOrder, count: int) -> Circuit:
    kept = np.zeros_like(order.graph.edge_mask)
    kept.flat[order.cells[:count]] = True
    return Circuit(order.graph, kept).live


@pytest.mark.parametrize("name", GRAPHS)
@pytest.mark.parametrize("seed", range(3))
def test_an_edge_enters_at_the_live_size_of_its_first_prefix(name: str, seed: int) -> None:
    order = shuffled(GRAPHS[name], seed)
    slow = np.zeros(len(order.cells), dtype=int)
    for count in range(1, len(order.cells) + 1):
        live = prefix(order, count)
        here = live.kept.flat[order.cells] & (slow == 0)
        slow[here] = len(live)
    np.testing.assert_array_equal(order.enters, slow)


def test_a_circuit_is_the_longest_prefix_that_fits() -> None:
    order = shuffled(GRAPHS["grouped"], 5)
    for size in range(order.graph.n_edges + 1):
        fitting = [prefix(order, count) for count in range(len(order.cells) + 1)]
        longest = [circuit for circuit in fitting if len(circuit) <= size][-1]
        assert order.circuit(size) == longest
    assert order.sizes[-1] == len(order.circuit(order.graph.n_edges))


def test_circuits_are_nested() -> None:
    order = shuffled(GRAPHS["post-norm"], 1)
    sizes = order.sizes.tolist()
    for smaller, larger in pairwise(sizes):
        assert not (order.circuit(smaller).kept & ~order.circuit(larger).kept).any()


def test_by_score_and_then() -> None:
    graph = GRAPHS["sequential"]
    scores = np.where(graph.edge_mask, np.random.default_rng(0).normal(size=graph.edge_mask.shape), 0)
    order = EdgeOrder.by_score(graph, scores, "a test")
    values = np.abs(scores.flat[order.cells])
    assert (np.diff(values) <= 0).all()
    assert len(values) == graph.n_edges
    first = EdgeOrder(graph, order.cells[::-1][:7])
    joined = first.then(order)
    assert sorted(joined.cells) == sorted(order.cells)
    np.testing.assert_array_equal(joined.cells[:7], first.cells)


def test_a_size_that_there_is_not_is_refused() -> None:
    order = shuffled(GRAPHS["grouped"], 0)
    for size in (-1, order.graph.n_edges + 1):
        with pytest.raises(SettingsError, match="number of edges from 0 to"):
            order.circuit(size)
