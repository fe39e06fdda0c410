"""Comparing two runs: overlap against chance, what differs, roles and refusals."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from app import compare
from app.compare import Overlap
from hap_engine.circuit import Circuit, empty_circuit, random_circuit
from hap_engine.graph import Graph
from tests.fakes import fake_run

GRAPH = Graph(2, 2, 2)


def test_overlap_of_a_hand_made_pair() -> None:
    one = Circuit.from_names(GRAPH, [("input", "m0"), ("m0", "logits"), ("input", "logits")])
    two = Circuit.from_names(GRAPH, [("input", "m0"), ("m1", "logits")])
    found = compare.edge_overlap(one, two)
    assert found == Overlap(3, 2, 1, GRAPH.n_edges)
    assert found.jaccard == 1 / 4
    assert found.chance == 6 / GRAPH.n_edges


def test_empty_circuits_agree() -> None:
    found = compare.edge_overlap(empty_circuit(GRAPH), empty_circuit(GRAPH))
    assert (found.jaccard, found.chance) == (1.0, 0.0)


def test_chance_is_what_random_sets_share() -> None:
    rng = np.random.default_rng(0)
    rows, columns = np.nonzero(GRAPH.edge_mask)

    def draw() -> Circuit:
        kept = np.zeros_like(GRAPH.edge_mask)
        chosen = rng.choice(len(rows), 20, replace=False)
        kept[rows[chosen], columns[chosen]] = True
        return Circuit(GRAPH, kept)

    found = [compare.edge_overlap(draw(), draw()) for _ in range(400)]
    assert np.mean([o.shared for o in found]) == pytest.approx(found[0].chance, rel=0.1)


def test_heads_are_counted_as_the_circuit_keeps_them() -> None:
    one, two = (random_circuit(GRAPH, 12, np.random.default_rng(s)) for s in (0, 1))
    found = compare.head_overlap(one, two)
    assert (found.one, found.two, found.shared) == (
        len(one.heads), len(two.heads), len(one.heads & two.heads)
    )  # fmt: skip
    assert found.total == 4


def test_labels_say_what_differs() -> None:
    one, two = fake_run(seed=0), fake_run(seed=1)
    assert compare.short_labels(one, two) == ("HAP, seed 0", "HAP, seed 1")
    same = compare.short_labels(one, one)
    assert same[0].startswith("HAP of ")
    assert [name for name, _, _ in compare.differences(one, one)] == []
    assert ("seed", "seed 0", "seed 1") in compare.differences(one, two)


def test_other_models_are_not_overlaid_and_other_weights_are_warned_of() -> None:
    one = fake_run()
    assert "different graphs" in compare.comparable(one, fake_run(GRAPH, edges=10))
    other = replace(one, model={**one.model, "sha256": "x"})
    assert compare.comparable(one, other) == ""
    assert "weights are not" in compare.caution(one, other)
    task = replace(one, task={"name": "else", "title": "Else"})
    assert "tasks differ" in compare.caution(one, task)
    assert compare.caution(one, one) == ""


def test_metric_rows_have_a_difference_where_both_are_known() -> None:
    one = fake_run()
    two = replace(one, metrics={**one.metrics, "hap": {**one.metrics["hap"], "kl": 0.75}})
    rows = {row["Measure"]: row for row in compare.metric_rows(one, two)}
    assert rows["kl"]["Difference"] == pytest.approx(0.25)
    assert rows["Live edges"]["Difference"] == 0
    none = replace(one, metrics={})
    assert {row["Difference"] for row in compare.metric_rows(one, none)[1:]} == {None}
    assert not any(
        isinstance(v, float) and math.isnan(v) for r in rows.values() for v in r.values()
    )


def test_role_rows_count_measured_and_kept_heads() -> None:
    one = fake_run()
    rows = {row["Role"]: row for row in compare.role_rows(one, one)}
    measured = [h for h, r in one.roles["heads"].items() if r["role"] == "s_inhibition"]
    kept = one.circuits["hap"].circuit.heads.intersection(measured)
    assert rows["S-inhibition"]["Heads, left"] == len(measured)
    assert rows["S-inhibition"]["Kept, right"] == len(kept)
