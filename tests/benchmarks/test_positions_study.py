"""The study of positions counts circuits as it says."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.studies.positions import in_all_spans, kl_at
from hap_engine.graph.circuit import random_circuit
from hap_engine.graph.graph import Graph, Span

SPANS = (Span("A", (0,)), Span("B", (0, 1), differs=False), Span("END", (0, 1, 2)))


def test_a_circuit_without_spans_counts_at_all_spans_where_it_lives() -> None:
    plain, graph = Graph(2, 2, 2), Graph(2, 2, 2, spans=SPANS)
    circuit = random_circuit(plain, 12, np.random.default_rng(0))
    copy = in_all_spans(circuit, graph)
    assert copy.collapsed().names() == circuit.names()
    assert len(circuit) <= len(copy) <= 3 * len(circuit)
    assert not any(writer == "input" and reader.endswith("@B") for writer, reader in copy.names())


def test_kl_is_read_between_sizes_and_nowhere_else() -> None:
    curve = {"edges": [100, 10], "kl": [0.1, 10.0]}
    assert kl_at(curve, "edges", 100) == pytest.approx(0.1)
    assert kl_at(curve, "edges", 10**1.5) == pytest.approx(1.0)
    assert kl_at(curve, "edges", 101) is None
    assert kl_at(curve, "edges", 9) is None
