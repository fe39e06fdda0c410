"""Comparing two runs: overlap against chance, what differs, roles and refusals."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from hap_engine.graph.circuit import Circuit, empty_circuit, random_circuit
from hap_engine.graph.graph import Graph
from hap_engine.report import two_runs
from hap_engine.report.two_runs import Overlap
from tests.builders.fakes import fake_run

GRAPH = Graph(2, 2, 2)


def test_overlap_of_a_hand_made_pair() -> None:
    one = Circuit.from_names(GRAPH, [("input", "m0"), ("m0", "logits"), ("input", "logits")])
    two = Circuit.from_names(GRAPH, [("input", "m0"), ("m1", "logits")])
    found = two_runs.edge_overlap(one, two)
    assert found == Overlap(3, 2, 1, GRAPH.n_edges)
    assert found.jaccard == 1 / 4
    assert found.chance == 6 / GRAPH.n_edges


def test_empty_circuits_agree() -> None:
    found = two_runs.edge_overlap(empty_circuit(GRAPH), empty_circuit(GRAPH))
    assert (found.jaccard, found.chance) == (1.0, 0.0)


def test_chance_is_what_random_sets_share() -> None:
    rng = np.random.default_rng(0)
    rows, columns = np.nonzero(GRAPH.edge_mask)

    def draw() -> Circuit:
        kept = np.zeros_like(GRAPH.edge_mask)
        chosen = rng.choice(len(rows), 20, replace=False)
        kept[rows[chosen], columns[chosen]] = True
        return Circuit(GRAPH, kept)

    found = [two_runs.edge_overlap(draw(), draw()) for _ in range(400)]
    assert np.mean([o.shared for o in found]) == pytest.approx(found[0].chance, rel=0.1)


def test_heads_are_counted_as_the_circuit_keeps_them() -> None:
    one, two = (random_circuit(GRAPH, 12, np.random.default_rng(s)) for s in (0, 1))
    found = two_runs.head_overlap(one, two)
    assert (found.one, found.two, found.shared) == (len(one.heads), len(two.heads), len(one.heads & two.heads))
    assert found.total == 4


def test_labels_say_what_differs() -> None:
    one, two = fake_run(seed=0), fake_run(seed=1)
    assert two_runs.short_labels(one, two) == ("HAP, seed 0", "HAP, seed 1")
    same = two_runs.short_labels(one, one)
    assert same[0].startswith("HAP of ")
    assert [name for name, _, _ in two_runs.differences(one, one)] == []
    assert ("seed", "seed 0", "seed 1") in two_runs.differences(one, two)


def test_other_models_are_not_overlaid_and_other_weights_are_warned_of() -> None:
    one = fake_run()
    assert "different graphs" in two_runs.comparable(one, fake_run(GRAPH, edges=10))
    other = replace(one, model={**one.model, "sha256": "x"})
    assert two_runs.comparable(one, other) == ""
    assert "weights are not" in two_runs.caution(one, other)
    task = replace(one, task={"name": "else", "title": "Else"})
    assert "tasks differ" in two_runs.caution(one, task)
    assert two_runs.caution(one, one) == ""


def test_metric_rows_have_a_difference_where_both_are_known() -> None:
    one = fake_run()
    two = replace(one, metrics={**one.metrics, "hap": {**one.metrics["hap"], "kl": 0.75}})
    rows = {row["Measure"]: row for row in two_runs.metric_rows(one, two)}
    assert rows["kl"]["Difference"] == pytest.approx(0.25)
    assert rows["Live edges"]["Difference"] == 0
    none = replace(one, metrics={})
    assert {row["Difference"] for row in two_runs.metric_rows(one, none)[1:]} == {None}
    assert not any(isinstance(v, float) and math.isnan(v) for r in rows.values() for v in r.values())


def test_role_rows_count_measured_and_kept_heads() -> None:
    one = fake_run()
    rows = {row["Role"]: row for row in two_runs.role_rows(one, one)}
    measured = [h for h, r in one.roles["heads"].items() if r["role"] == "s_inhibition"]
    kept = one.circuits["hap"].circuit.heads.intersection(measured)
    assert rows["S-inhibition"]["Heads, left"] == len(measured)
    assert rows["S-inhibition"]["Kept, right"] == len(kept)
