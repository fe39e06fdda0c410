"""Circuits: dead edges by hand, exact sizes, set algebra, budgets and the networkx view."""

from __future__ import annotations

import networkx as nx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hap_engine.errors import SettingsError, UnknownNameError
from hap_engine.graph.circuit import Circuit, empty_circuit, full_circuit, random_circuit
from hap_engine.graph.graph import Graph
from hap_engine.graph.ranking import edge_budget, rank_matrix, ranking, top_edges, top_live
from tests.builders.graphs import GPT2, SMOLLM2, graphs

SMALL = Graph(2, 2, 1)  # heads h0 and h1 of a layer share one KV head


def circuit(*edges: str, graph: Graph = SMALL) -> Circuit:
    return Circuit.from_names(graph, [tuple(edge.split(" ")) for edge in edges])


# What is kept, and which of it is live: worked out by hand.
CASES = {
    "nothing": ([], []),
    "straight through": (["input logits"], ["input logits"]),
    "head that hears nothing": (["a0.h0 logits"], []),
    "head that nobody hears": (["input a0.h0<q>"], []),
    "path through a head": (["input a0.h0<q>", "a0.h0 logits"], "all"),
    "one slot is enough, all its slots are live": (["input a0.h0<q>", "input a0.h0<k>", "a0.h0 logits"], "all"),
    "a shared key feeds both heads": (["input a0.h0<k>", "a0.h1 logits"], "all"),
    "a query feeds its own head only": (["input a0.h0<q>", "a0.h1 logits"], []),
    "chain over two layers": (["input m0", "m0 a1.h1<q>", "a1.h1 m1", "m1 logits"], "all"),
    "broken in the middle": (["input m0", "a1.h1 m1", "m1 logits"], []),
    "dead branch off a live path": (
        ["input m0", "m0 logits", "m0 a1.h0<q>", "a0.h0 logits"],
        ["input m0", "m0 logits"],
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_dead_edges_by_hand(name: str) -> None:
    kept, live = CASES[name]
    expected = circuit(*(kept if live == "all" else live))
    assert circuit(*kept).live == expected
    assert expected.live == expected


@settings(max_examples=60, deadline=None)
@given(graphs(), st.integers(0, 2**32 - 1), st.floats(0, 1))
def test_live_edges_lie_on_a_path_and_no_other(graph: Graph, seed: int, density: float) -> None:
    """Against plain reachability in a graph of readers and writers."""
    kept = graph.edge_mask & (np.random.default_rng(seed).random(graph.edge_mask.shape) < density)
    paths = nx.DiGraph()
    paths.add_nodes_from([("w", 0), ("r", len(graph.readers) - 1)])
    paths.add_edges_from((("w", w), ("r", r)) for w, r in np.argwhere(kept))
    paths.add_edges_from((("r", r), ("w", w)) for r, w in np.argwhere(graph.feeds))
    from_input = nx.descendants(paths, ("w", 0)) | {("w", 0)}
    to_logits = nx.ancestors(paths, ("r", len(graph.readers) - 1)) | {("r", len(graph.readers) - 1)}
    expected = {(w, r) for w, r in np.argwhere(kept) if ("w", w) in from_input and ("r", r) in to_logits}
    assert {(w, r) for w, r in np.argwhere(Circuit(graph, kept).live.kept)} == expected


def test_heads_that_are_kept() -> None:
    assert circuit("input a0.h0<q>", "a0.h0 logits").heads == {"a0.h0"}
    assert circuit("input a0.h0<k>", "a0.h0 logits").heads == {"a0.h0"}
    both = circuit("input a0.h0<v>", "a0.h0 logits", "a0.h1 logits")
    assert both.heads == {"a0.h0", "a0.h1"}, "a KV edge counts for its whole group"
    assert circuit("input a0.h0<q>", "input logits").heads == frozenset(), "a dead head is not kept"
    assert full_circuit(SMALL).heads == set(SMALL.heads)


@settings(max_examples=60, deadline=None)
@given(graphs(), st.integers(0, 2**32 - 1), st.data())
def test_sizes_of_top_circuits(graph: Graph, seed: int, data: st.DataObject) -> None:
    scores = np.random.default_rng(seed).normal(size=graph.edge_mask.shape)
    count = data.draw(st.integers(0, graph.n_edges))
    top = top_edges(graph, scores, count)
    assert len(top) == count
    if 0 < count < graph.n_edges:
        left = graph.edge_mask & ~top.kept
        assert np.abs(scores[top.kept]).min() >= np.abs(scores[left]).max()
    live = data.draw(st.integers(1, graph.n_edges))
    found = top_live(graph, scores, live)
    assert len(found.live) >= live
    assert len(top_edges(graph, scores, len(found) - 1).live) < live, "the shortest prefix"


def test_ranking_is_by_size_with_ties_in_graph_order() -> None:
    graph = Graph(1, 1, 1)
    scores = np.where(graph.edge_mask, 1.0, 99.0)
    scores[graph.edge("m0", "logits")] = -5
    rows, columns = ranking(graph, scores)
    names = [(graph.writers[w].name, graph.readers[r].name) for w, r in zip(rows, columns, strict=True)]
    assert names[0] == ("m0", "logits")
    assert names[1:3] == [("input", "a0.h0<q>"), ("input", "a0.h0<k>")]
    ranks = rank_matrix(graph, scores)
    assert ranks[graph.edge("m0", "logits")] == 1
    assert sorted(ranks[graph.edge_mask]) == list(range(1, 9))
    assert not ranks[~graph.edge_mask].any()


class Impatient:
    """A generator that gives up after many rounds, so that an endless loop fails instead."""

    def __init__(self, seed: int) -> None:
        self.rng, self.rounds = np.random.default_rng(seed), 0

    def permutation(self, count: int) -> np.ndarray:
        self.rounds += 1
        assert self.rounds < 200, "random_circuit goes round in circles"
        return self.rng.permutation(count)

    def choice(self, options: np.ndarray) -> np.integer:
        return self.rng.choice(options)


@settings(max_examples=60, deadline=None)
@given(graphs(), st.integers(0, 2**32 - 1), st.data())
def test_random_circuits_are_live_and_exact(graph: Graph, seed: int, data: st.DataObject) -> None:
    size = data.draw(st.integers(0, graph.n_edges))
    made = random_circuit(graph, size, Impatient(seed))
    assert len(made) == len(made.live) == size


@pytest.mark.parametrize("size", range(1, 9))
def test_random_circuits_never_get_stuck(size: int) -> None:
    """In a graph of 8 edges a first draw of ``input->logits`` leaves no single edge to add."""
    for seed in range(40):
        assert len(random_circuit(Graph(1, 1, 1), size, Impatient(seed)).live) == size


def test_random_circuits_differ_and_repeat() -> None:
    first, again, other = (random_circuit(GPT2, 300, np.random.default_rng(s)) for s in (0, 0, 1))
    assert first == again
    assert first != other
    assert len(first.live) == 300


@pytest.mark.parametrize(
    ("graph", "sparsity", "expected"),
    [
        (GPT2, 0.98, 649),  # 649.82
        (SMOLLM2, 0.99, 706),
        (SMOLLM2, 0.995, 353),
        (Graph(1, 1, 1), 0.5, 4),
        (Graph(1, 1, 1), 0.75, 2),
        (Graph(1, 2, 2), 0.8, 2),  # 13 edges: 2.6
        (Graph(5, 4, 4), 0.9, 76),  # 761 edges: 76.1
        (Graph(1, 1, 1, parallel=True), 1 - 3 / 7, 3),  # 2.9999999999999996 in floats
    ],
)
def test_edge_budget(graph: Graph, sparsity: float, expected: int) -> None:
    assert edge_budget(graph, sparsity) == expected


@pytest.mark.parametrize("sparsity", [0.0, 1.0, -1.0, 1.5, float("nan")])
def test_sparsity_out_of_range(sparsity: float) -> None:
    with pytest.raises(SettingsError, match="between 0 and 1"):
        edge_budget(GPT2, sparsity)


def test_too_sparse_is_refused() -> None:
    with pytest.raises(SettingsError, match="leaves 0 of 32,491"):
        edge_budget(GPT2, 0.99999)


@pytest.mark.parametrize("graph", [GPT2, SMOLLM2, Graph(1, 3, 3), Graph(4, 8, 8)])
def test_the_limit_that_the_message_names_works(graph: Graph) -> None:
    with pytest.raises(SettingsError) as caught:
        edge_budget(graph, 1 - 1 / graph.n_edges)
    limit = float(str(caught.value).split("at most ")[1].rstrip(".)"))
    assert edge_budget(graph, limit) == 2
    share = float(str(caught.value).split("at least ")[2].split(" %")[0])
    assert edge_budget(graph, 1 - share / 100) == 2


def test_set_algebra() -> None:
    a, b = circuit("input m0", "m0 logits"), circuit("m0 logits", "input logits")
    assert (a | b).names() == [("input", "m0"), ("input", "logits"), ("m0", "logits")]
    assert (a & b).names() == [("m0", "logits")]
    assert (a - b).names() == [("input", "m0")]
    assert len({a, b, circuit("m0 logits", "input m0")}) == 2
    assert a != "m0"
    assert a.sparsity == pytest.approx(1 - 2 / SMALL.n_edges)
    assert b.names() == [("input", "logits"), ("m0", "logits")]
    assert len(empty_circuit(SMALL)) == 0
    assert len(full_circuit(SMALL)) == SMALL.n_edges


def test_only_real_edges_may_be_kept() -> None:
    with pytest.raises(ValueError, match="before its reader"):
        Circuit(SMALL, np.ones_like(SMALL.edge_mask))
    with pytest.raises((ValueError, TypeError), match=r"boolean matrix|Bool"):  # whichever check sees it first
        Circuit(SMALL, SMALL.edge_mask.astype(int))
    with pytest.raises(UnknownNameError):
        circuit("m1 a0.h0<q>")


def test_networkx_view() -> None:
    drawn = circuit("input a0.h0<k>", "input a0.h1<q>", "a0.h1 m1", "m1 logits").to_networkx()
    assert isinstance(drawn, nx.MultiDiGraph)
    assert set(drawn.nodes) == {"input", "a0.h0", "a0.h1", "m1", "logits"}
    assert drawn.nodes["a0.h1"] == {"kind": "head", "layer": 0, "head": 1}
    assert {(u, v, key, data["reader"]) for u, v, key, data in drawn.edges(keys=True, data=True)} == {
        ("input", "a0.h0", "k", "a0.h0<k>"),
        ("input", "a0.h1", "k", "a0.h0<k>"),
        ("input", "a0.h1", "q", "a0.h1<q>"),
        ("a0.h1", "m1", "", "m1"),
        ("m1", "logits", "", "logits"),
    }
    assert nx.is_directed_acyclic_graph(full_circuit(SMALL).to_networkx())
