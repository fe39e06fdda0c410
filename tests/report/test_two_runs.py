"""Comparing two runs: overlap against chance, what differs, roles and refusals."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from hap_engine.graph.graph import Graph
from hap_engine.report import two_runs
from tests.builders.fakes import fake_run

GRAPH = Graph(2, 2, 2)


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
