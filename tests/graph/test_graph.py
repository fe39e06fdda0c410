"""Counts in closed form, names that round-trip, and what may feed what."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given

from hap_engine.errors import RunFileError, UnknownNameError
from hap_engine.graph.graph import Graph
from tests.builders.graphs import GPT2, SMOLLM2, graphs

GQA = Graph(2, 4, 2)


@pytest.mark.parametrize(
    ("graph", "edges"), [(GPT2, 32_491), (SMOLLM2, 70_651), (Graph(1, 1, 1), 8), (Graph(1, 1, 1, parallel=True), 7)]
)
def test_published_counts(graph: Graph, edges: int) -> None:
    assert graph.n_edges == graph.edge_mask.sum() == edges


@given(graphs())
def test_counts_in_closed_form(graph: Graph) -> None:
    layers, heads, kv = graph.n_layers, graph.n_heads, graph.n_kv_heads
    assert len(graph.writers) == 1 + layers * (heads + 1)
    assert len(graph.readers) == layers * (heads + 2 * kv + 1) + 1
    slots = heads + 2 * kv
    edges = 1 + layers * (heads + 1)  # into the logits
    for layer in range(layers):
        before = 1 + layer * (heads + 1)
        edges += slots * before + before + (0 if graph.parallel else heads)
    assert graph.n_edges == edges
    assert len(graph.heads) == layers * heads


@given(graphs())
def test_names_round_trip(graph: Graph) -> None:
    assert [graph.writers[i].name for i in graph.writer_index.values()] == list(graph.writer_index)
    assert [graph.readers[i].name for i in graph.reader_index.values()] == list(graph.reader_index)
    assert len(graph.writer_index) == len(graph.writers)
    assert len(graph.reader_index) == len(graph.readers)
    for w, r in np.argwhere(graph.edge_mask):
        assert graph.edge(graph.writers[w].name, graph.readers[r].name) == (w, r)


@given(graphs())
def test_readers_see_a_prefix_of_the_writers(graph: Graph) -> None:
    for reader, seen in zip(graph.readers, graph.upstream, strict=True):
        for index, writer in enumerate(graph.writers):
            earlier = writer.layer < reader.layer or (
                reader.kind == "mlp" and writer.kind == "head" and writer.layer == reader.layer and not graph.parallel
            )
            assert (index < seen) == earlier


def test_the_order_of_a_small_graph() -> None:
    graph = Graph(1, 2, 1)
    assert [w.name for w in graph.writers] == ["input", "a0.h0", "a0.h1", "m0"]
    assert [r.name for r in graph.readers] == ["a0.h0<q>", "a0.h1<q>", "a0.h0<k>", "a0.h0<v>", "m0", "logits"]
    assert graph.upstream.tolist() == [1, 1, 1, 1, 3, 4]
    assert Graph(1, 2, 1, parallel=True).upstream.tolist() == [1, 1, 1, 1, 1, 4]


def test_a_kv_head_feeds_its_whole_group() -> None:
    def fed(reader: str) -> list[str]:
        column = GQA.reader_index[reader]
        return [w.name for w in np.array(GQA.writers, dtype=object)[GQA.feeds[column]]]

    assert fed("a1.h3<q>") == ["a1.h3"]
    assert fed("a1.h0<k>") == ["a1.h0", "a1.h1"]
    assert fed("a1.h1<v>") == ["a1.h2", "a1.h3"]
    assert fed("m0") == ["m0"]
    assert fed("logits") == []
    assert not GQA.feeds[:, 0].any(), "nothing feeds the input"


@pytest.mark.parametrize(
    ("writer", "reader", "words"),
    [
        ("a0.h9", "m1", ["no writer named 'a0.h9'", "Did you mean 'a0.h"]),
        ("m0", "logit", ["no reader named 'logit'", "Did you mean 'logits'"]),
        ("m1", "a0.h0<q>", ["no writer before a0.h0<q> named 'm1'", "Known: input."]),
        ("A0.H1", "logits", ["Did you mean 'a0.h1'"]),
    ],
)
def test_unknown_names_are_named(writer: str, reader: str, words: list[str]) -> None:
    with pytest.raises(UnknownNameError) as caught:
        GQA.edge(writer, reader)
    assert all(word in str(caught.value) for word in words), str(caught.value)


@given(graphs())
def test_dict_round_trip(graph: Graph) -> None:
    data = graph.to_dict()
    assert Graph.from_dict(data) == graph
    assert data["n_edges"] == graph.n_edges


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ({}, "graph sizes"),
        ({"n_layers": 0, "n_heads": 1, "n_kv_heads": 1}, "between 1 and 1024"),
        ({"n_layers": 1, "n_heads": 2000, "n_kv_heads": 1}, "between 1 and 1024"),
        ({"n_layers": "2", "n_heads": 1, "n_kv_heads": 1}, "'2'"),
        ({"n_layers": 1, "n_heads": 4, "n_kv_heads": 3}, "cannot share 3 KV heads"),
    ],
)
def test_impossible_sizes_are_refused(data: dict[str, object], words: str) -> None:
    with pytest.raises(RunFileError, match=words):
        Graph.from_dict(data)


@pytest.mark.parametrize(
    "coupled", [7, True, "01", {"0": [0]}, [0], ["0"], [None], [[0]], [[0]] * 5 + [["0"]], [[0]] * 5 + [[2]]], ids=str
)
def test_strange_couplings_are_refused(coupled: object) -> None:
    with pytest.raises(RunFileError, match="Expected the heads that each of 6 slots feeds"):
        Graph.from_dict({"n_layers": 1, "n_heads": 2, "n_kv_heads": 2, "coupled": coupled})


def test_a_graph_too_large_for_memory_is_refused() -> None:
    """Its edge matrix would take three terabytes: a run file must not be able to ask for that."""
    with pytest.raises(RunFileError):
        Graph.from_dict({"n_layers": 1024, "n_heads": 1024, "n_kv_heads": 1024})
