"""Distinct edges: one at two spans counts once; curves are read between their sizes and nowhere else."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from hap_engine.graph.edge_order import EdgeOrder
from hap_engine.graph.graph import Graph, Span
from hap_engine.report.metric_sentences import distinct, distinct_edges, distinct_sentence, kl_at_distinct
from tests.builders.fakes import fake_run

GRAPH = Graph(2, 2, 2, spans=(Span("S1", (0,)), Span("END", (0, 1))))


def test_counts_and_curves() -> None:
    run = fake_run(GRAPH, edges=30)
    counts = distinct_edges(run)
    assert counts["full"] == Graph(2, 2, 2).n_edges
    names = {(writer, reader.partition("@")[0]) for writer, reader in run.circuits["hap"].circuit.names()}
    assert counts["hap"] == len(names) < 30

    scores = np.where(GRAPH.edge_mask, np.random.default_rng(0).normal(size=GRAPH.edge_mask.shape), 0)
    order = EdgeOrder.by_score(GRAPH, scores, "eap")
    sizes = [int(order.sizes[len(order.sizes) // 2]), int(order.sizes[len(order.sizes) // 4])]
    edges = [distinct(order.circuit(size)) for size in sizes]
    curves = {"grid": sizes, "orders": {"eap": order.cells.tolist()}, "metrics": {"eap": {"kl": [0.1, 1.6]}}}
    run = replace(run, sizes=curves)
    assert kl_at_distinct(run, "eap", edges[0]) == pytest.approx(0.1)
    between = kl_at_distinct(run, "eap", (edges[0] + edges[1]) // 2)
    assert between is not None
    assert 0.1 < between < 1.6
    assert kl_at_distinct(run, "eap", edges[0] + 1) is None
    assert kl_at_distinct(run, "hap", edges[0]) is None
    assert f"HAP {counts['hap']}" in distinct_sentence(run, ["eap", "hap"])


def test_nothing_without_spans() -> None:
    run = fake_run(edges=30)
    assert distinct_edges(run) == {}
    assert distinct_sentence(run, ["eap", "hap"]) == ""
