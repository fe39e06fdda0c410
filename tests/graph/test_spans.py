"""Positional graphs: a reader for each span, and what lives among them, against plain reachability."""

from __future__ import annotations

import json
from dataclasses import replace

import networkx as nx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hap_engine.errors import RunFileError
from hap_engine.graph.circuit import Circuit, full_circuit, random_circuit
from hap_engine.graph.edge_order import EdgeOrder
from hap_engine.graph.graph import Graph, Reader, Span
from tests.builders.graphs import GPT2, graphs

# The names of a sentence may come in either order, so each sees the other; nothing differs before them.
NAMES = (
    Span("start", (0,), differs=False),
    Span("IO", (0, 1, 2)),
    Span("S1", (0, 1, 2)),
    Span("S2", (0, 1, 2, 3)),
    Span("END", (0, 1, 2, 3, 4), differs=False),
)
SMALL = Graph(2, 2, 1, spans=NAMES)


@st.composite
def positional(draw: st.DrawFn) -> Graph:
    """A small graph of a few spans, some of which see one another."""
    count = draw(st.integers(1, 4))
    spans = [
        Span(
            f"part {at}",
            tuple(sorted({*range(at + 1), *draw(st.sets(st.integers(0, count - 1)))})),
            draw(st.booleans()),
        )
        for at in range(count)
    ]
    spans[draw(st.integers(0, count - 1))] = replace(spans[0], name="first", differs=True)
    return replace(draw(graphs()), spans=tuple(spans))


def fed(graph: Graph, reader: Reader) -> list[tuple[str, int]]:
    """The writers that a reader feeds, each with its span."""
    if reader.kind == "logits":
        return []
    if reader.kind == "mlp":
        return [(f"m{reader.layer}", reader.span)]
    group = graph.n_heads // graph.n_kv_heads
    heads = [reader.head] if reader.slot == "q" else [h for h in range(graph.n_heads) if h // group == reader.head]
    spans = (
        [reader.span]
        if reader.slot == "q"
        else [s for s in range(len(graph.spans)) if reader.span in graph.spans[s].sees]
    )
    names = [f"a{reader.layer}.h{head}" for head in heads] + [f"n{reader.layer}"] * graph.post_norm
    return [(name, span) for name in names for span in spans]


def on_a_path(graph: Graph, kept: np.ndarray) -> set[tuple[int, int]]:
    """The cells of kept edges with a path from a changed input to the logits."""
    paths = nx.DiGraph([("start", ("input", at)) for at, span in enumerate(graph.spans) if span.differs])
    paths.add_nodes_from(["start", "logits"])
    for w, r in np.argwhere(kept):
        reader = graph.readers[r]
        paths.add_edge((graph.writers[w].name, reader.span), reader.name)
    for reader in graph.readers:
        paths.add_edges_from((reader.name, writer) for writer in fed(graph, reader))
    after, before = nx.descendants(paths, "start"), nx.ancestors(paths, "logits") | {"logits"}
    cells = [(int(w), int(r)) for w, r in np.argwhere(kept)]
    return {
        (w, r)
        for w, r in cells
        if (graph.writers[w].name, graph.readers[r].span) in after and graph.readers[r].name in before
    }


@settings(max_examples=60, deadline=None)
@given(positional(), st.integers(0, 2**32 - 1), st.floats(0, 1))
def test_live_edges_lie_on_a_path_and_no_other(graph: Graph, seed: int, density: float) -> None:
    kept = graph.edge_mask & (np.random.default_rng(seed).random(graph.edge_mask.shape) < density)
    assert {(w, r) for w, r in np.argwhere(Circuit(graph, kept).live.kept)} == on_a_path(graph, kept)


@given(positional())
def test_every_real_edge_can_live(graph: Graph) -> None:
    assert full_circuit(graph).live == full_circuit(graph)
    before = np.arange(len(graph.writers))[:, None] < graph.upstream
    assert on_a_path(graph, before) == {(w, r) for w, r in np.argwhere(graph.edge_mask)}
    assert graph.n_edges == graph.edge_mask.sum()


def test_names_and_places() -> None:
    for r, reader in enumerate(SMALL.readers[:-1]):
        slot = (
            SMALL.slots
            if reader.kind == "mlp"
            else "qkv".index(reader.slot) + (reader.slot != "q") + (reader.head or 0)
        )
        assert SMALL.column(reader.layer, slot, reader.span) == r
        assert reader.name.endswith(f"@{NAMES[reader.span].name}")
    assert SMALL.readers[-1].name == "logits"
    assert NAMES[SMALL.readers[-1].span].name == "END"
    assert SMALL.edge("input", "a0.h1<q>@S2") == (0, SMALL.column(0, 1, 3))


def test_what_cannot_live_is_no_edge() -> None:
    real = {SMALL.readers[r].name for r in np.flatnonzero(SMALL.edge_mask.any(axis=0))}
    assert not any(name.endswith("@start") for name in real), "before the first difference nothing changes"
    assert "a1.h0<k>@END" in real
    assert "a1.h0<q>@IO" not in real, "in the last layer only what END reads counts"
    assert "a1.h0<k>@IO" in real
    assert not SMALL.edge_mask[0, SMALL.reader_index["logits"]], "at END the input is the same"


def test_one_span_is_the_graph_without_spans() -> None:
    one = replace(GPT2, spans=(Span("all", (0,)),))
    assert (one.edge_mask == GPT2.edge_mask).all()
    assert one.n_edges == GPT2.n_edges
    assert [reader.name.removesuffix("@all") for reader in one.readers] == [reader.name for reader in GPT2.readers]
    np.testing.assert_array_equal(one.feeds, GPT2.feeds)


@pytest.mark.parametrize("seed", range(3))
def test_an_edge_enters_at_the_live_size_of_its_first_prefix(seed: int) -> None:
    cells = np.random.default_rng(seed).permutation(np.flatnonzero(SMALL.edge_mask))
    order, slow = EdgeOrder(SMALL, cells), np.zeros(len(cells), dtype=int)
    for count in range(1, len(cells) + 1):
        live = order.prefix(count).live
        slow[live.kept.flat[cells] & (slow == 0)] = len(live)
    np.testing.assert_array_equal(order.enters, slow)
    assert order.sizes[-1] == SMALL.n_edges, "the whole order is the whole graph"


@pytest.mark.parametrize("share", [0.05, 0.2, 0.6])
def test_random_circuits_are_live_and_exact(share: float) -> None:
    size = int(share * SMALL.n_edges)
    first, other = (random_circuit(SMALL, size, np.random.default_rng(seed)) for seed in (0, 1))
    assert len(first) == len(first.live) == size
    assert first != other


def test_no_random_circuit_is_shorter_than_a_path() -> None:
    assert len(random_circuit(SMALL, 1, np.random.default_rng(0))) == 0, "a name reaches END through a head alone"


def test_a_graph_survives_its_file() -> None:
    assert Graph.from_dict(json.loads(json.dumps(SMALL.to_dict()))) == SMALL
    assert "spans" not in GPT2.to_dict()
    assert Graph.from_dict(GPT2.to_dict()) == GPT2


@pytest.mark.parametrize("row", [{}, {"name": "", "sees": [0]}, {"name": "a", "sees": [7]}, {"name": "a", "sees": "0"}])
def test_spans_that_are_none_are_refused(row: dict[str, object]) -> None:
    with pytest.raises(RunFileError, match="Expected at most 64 spans"):
        Graph.from_dict({**SMALL.to_dict(), "spans": [row]})


@pytest.mark.parametrize(
    "rows",
    [
        "IO",
        7,
        ["IO"],
        [{"name": "<script>", "sees": [0]}],
        [{"name": "a@b", "sees": [0]}],
        [{"name": "x" * 41, "sees": [0]}],
        [{"name": ["a"], "sees": [0]}],
        [{"name": "a", "sees": [True]}],
        [{"name": "a", "sees": [[0]]}],
        [{"name": "a", "sees": [0]}, {"name": "a", "sees": [0]}],
        [{"name": f"part {at}", "sees": [at]} for at in range(65)],
        [{"name": "a", "sees": [0], "differs": "no"}],
        [{"name": "a", "sees": [0.0]}],
        [{"name": "a", "sees": []}],
        [{"name": "a ", "sees": [0]}],
    ],
    ids=str,
)
def test_strange_spans_are_refused(rows: object) -> None:
    with pytest.raises(RunFileError, match="Expected at most 64 spans"):
        Graph.from_dict({**SMALL.to_dict(), "spans": rows})


def test_a_small_file_asks_for_no_gigabytes() -> None:
    """What feeds what at 64 spans of 700 heads would take six gigabytes, though its edges are few."""
    rows = [{"name": f"part {at}", "sees": list(range(at + 1))} for at in range(64)]
    with pytest.raises(RunFileError, match="700 heads and 64 spans is too large"):
        Graph.from_dict({"n_layers": 1, "n_heads": 700, "n_kv_heads": 700, "spans": rows})
