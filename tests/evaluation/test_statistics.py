"""Intervals, paired tests, curves and stability, by hand and at their edges."""

from __future__ import annotations

import math

import numpy as np
import pytest

from hap_engine.errors import SettingsError
from hap_engine.evaluation import curves
from hap_engine.evaluation.full_tests import agreement, compare
from hap_engine.evaluation.statistics import (
    bootstrap_interval,
    edge_stability,
    mcnemar,
    paired_difference,
    share_interval,
)
from hap_engine.graph.circuit import Circuit, full_circuit, random_circuit
from hap_engine.graph.edge_order import EdgeOrder
from hap_engine.graph.graph import Graph
from hap_engine.graph.overlap import edge_overlap

GRAPH = Graph(2, 2, 2)


def test_bootstrap_covers_the_mean() -> None:
    """Of 95 % intervals of normal samples, about 95 % hold the true mean (fewer for small n)."""
    rng = np.random.default_rng(0)
    inside = 0
    for seed in range(200):
        low, high = bootstrap_interval(rng.normal(3, 1, 60), seed) or (0, 0)
        inside += low < 3 < high
    assert 0.88 <= inside / 200 <= 0.99


def test_one_prompt_has_no_interval() -> None:
    assert bootstrap_interval(np.array([1.0]), 0) is None
    alone = paired_difference(np.array([1.0]), np.array([3.0]), 0)
    assert (alone.mean, alone.interval, alone.p, alone.n) == (-2, None, None, 1)


def test_a_constant_has_an_interval_of_one_point() -> None:
    assert bootstrap_interval(np.full(9, 2.0), 0) == (2, 2)
    same = paired_difference(np.full(9, 2.0), np.full(9, 2.0), 0)
    assert (same.mean, same.interval, same.p) == (0, (0, 0), 1)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_numbers_that_are_none(bad: float) -> None:
    with pytest.raises(SettingsError, match="finite numbers for every prompt, got NaN or infinity on 1 of 2"):
        bootstrap_interval(np.array([1.0, bad]), 0)


def test_comparisons_need_the_same_prompts() -> None:
    with pytest.raises(SettingsError, match="same prompts"):
        paired_difference(np.zeros(3), np.zeros(4), 0)
    with pytest.raises(SettingsError, match="same prompts"):
        paired_difference(np.zeros(0), np.zeros(0), 0)
    with pytest.raises(SettingsError, match="same items"):
        mcnemar([True], [True, False])


def test_sign_flips_by_enumeration() -> None:
    """Three prompts, all better by the same amount: 2 of 8 sign patterns are as extreme."""
    found = paired_difference(np.array([2.0, 3.0, 4.0]), np.array([1.0, 2.0, 3.0]), 0)
    assert found.mean == 1
    assert found.p == pytest.approx(0.25, abs=0.03)


@pytest.mark.parametrize(
    ("first", "second", "p"),
    [
        (5 * [True], 5 * [False], 2 / 32),
        (5 * [False], 5 * [True], 2 / 32),
        ([True, False], [False, True], 1),
        ([True, True], [True, True], 1),
        ([], [], 1),
        (4 * [True], 4 * [False], 0.125),  # four S-inhibition heads can never be "significant"
    ],
)
def test_mcnemar_by_hand(first: list[bool], second: list[bool], p: float) -> None:
    found = mcnemar(first, second)
    assert found.p == pytest.approx(p)
    assert found.n == len(first)


def test_mcnemar_of_many_items() -> None:
    """Far beyond where 2^-n is a float."""
    n = 4000
    first = np.arange(n) % 2 == 0
    assert mcnemar(first, ~first).p == pytest.approx(1)
    assert 0 <= mcnemar(np.ones(n), np.zeros(n)).p < 1e-300


def test_wilson_by_hand() -> None:
    low, high = share_interval(8, 10) or (0, 0)
    assert (low, high) == pytest.approx((0.4902, 0.9433), abs=1e-4)
    low, high = share_interval(0, 20) or (1, 1)
    assert (low, high) == pytest.approx((0, 0.1611), abs=1e-4)
    assert share_interval(0, 0) is None


def test_stability_by_hand() -> None:
    a = Circuit.from_names(GRAPH, [("input", "m0"), ("m0", "logits")])
    b = Circuit.from_names(GRAPH, [("input", "m0"), ("m0", "logits"), ("input", "logits")])
    shares = edge_stability([a, b, b, b])
    assert shares[GRAPH.edge("input", "m0")] == 1
    assert shares[GRAPH.edge("input", "logits")] == 0.75
    assert shares.sum() == pytest.approx(2.75)
    assert edge_overlap(a.live, b.live).jaccard == pytest.approx(2 / 3)
    dead = Circuit.from_names(GRAPH, [("input", "m0"), ("m0", "logits"), ("m1", "logits")])
    assert edge_overlap(a.live, dead.live).jaccard == 1, "dead edges change nothing"
    with pytest.raises(SettingsError, match="at least two seeds"):
        edge_stability([a])
    with pytest.raises(SettingsError, match="one model"):
        edge_stability([a, full_circuit(Graph(1, 1, 1))])


def test_areas_by_hand() -> None:
    assert curves.area([0, 0.5, 1], [0, 1, 1]) == 0.75
    assert curves.areas([0.001, 1.0], [1.0, 1.0]) == {"cpr": pytest.approx(0.999), "cmd": 0}
    assert curves.areas([0.0, 1.0], [2.0, 1.0]) == {"cpr": 1.5, "cmd": 0.5}
    for shares in ([0.5], [1, 0.5], [0.5, 0.5]):
        with pytest.raises(SettingsError, match="rising shares"):
            curves.area(shares, [1.0] * len(shares))


MIB = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)


def test_the_areas_are_those_of_the_leaderboard() -> None:
    """Written out step by step, as its rule is: made faithfulness at the ten shares of a model with 30,000 edges."""
    made = {30: 0.01, 60: -0.05, 150: 0.1, 300: 0.3, 600: 0.7, 1500: 1.2, 3000: 1.4, 6000: 1.1, 15000: 0.95}
    under = apart = 0.0
    f = [*made.values(), 1.0]
    for left, right, one, other in zip(MIB, MIB[1:], f, f[1:], strict=False):
        under += (right - left) * (one + other) / 2
        apart += (right - left) * (abs(1 - one) + abs(1 - other)) / 2
    assert curves.GRID == MIB
    found = curves.areas_at({**made, 700: 9.9, 1200: 9.9}, 30_000)  # other sizes of a run's grid change nothing
    assert found == {"cpr": pytest.approx(under), "cmd": pytest.approx(apart)}


def test_a_share_that_allows_no_path_has_no_faithfulness() -> None:
    """Of 200 edges the smallest shares are 0, 0, 1 and 2: only the last can be a path."""
    faith = {2: 0.5, 4: 0.5, 10: 0.5, 20: 0.5, 40: 0.5, 100: 0.5}
    wanted = curves.areas(MIB, [0, 0, 0, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 1.0])
    assert curves.areas_at(faith, 200) == wanted


@pytest.mark.parametrize(
    ("value", "message"), [(0.0, "scored exactly 0"), (math.nan, "NaN or infinity"), (math.inf, "NaN or infinity")]
)
def test_scores_that_rank_nothing(value: float, message: str) -> None:
    scores = np.zeros(GRAPH.edge_mask.shape)
    scores[GRAPH.edge("input", "m0")] = value
    with pytest.raises(SettingsError, match=message):
        EdgeOrder.by_score(GRAPH, scores, "this ranking")


def test_grid_circuits_are_nested() -> None:
    rng = np.random.default_rng(0)
    order = EdgeOrder.by_score(GRAPH, np.where(GRAPH.edge_mask, rng.normal(size=GRAPH.edge_mask.shape), 0), "a test")
    circuits = curves.grid_circuits(order)
    sizes = [len(circuits[share]) for share in curves.GRID]
    assert sizes == sorted(sizes)
    assert circuits[1.0] == full_circuit(GRAPH)
    for small, large in zip(curves.GRID, curves.GRID[1:], strict=False):
        assert not len(circuits[small] - circuits[large])


def test_closing_order() -> None:
    """Last closed first; edges that pruning never saw come last, in the other ranking's order."""
    rest = EdgeOrder.by_score(GRAPH, np.where(GRAPH.edge_mask, 1.0, 0.0), "a test")
    order = curves.by_closing([["input", "m0"], ["m1", "logits"]], [3, 9], rest)
    width = len(GRAPH.readers)
    first = [row * width + column for row, column in (GRAPH.edge("m1", "logits"), GRAPH.edge("input", "m0"))]
    assert order.cells.tolist() == first + [cell for cell in rest.cells.tolist() if cell not in first]


def test_a_curve_of_a_constant_metric_is_undefined() -> None:
    circuits = curves.grid_circuits(EdgeOrder(GRAPH, np.flatnonzero(GRAPH.edge_mask)))
    flat = {share: {"logit_diff": np.ones(1), "kl": np.ones(1)} for share in circuits}
    found = curves.curve(circuits, flat, full=1.0, empty=1.0)
    assert math.isnan(found["cpr"])
    assert math.isnan(found["cmd"])


def outcome(**values: list[float]) -> dict[str, np.ndarray]:
    return {key: np.array(numbers, dtype=float) for key, numbers in values.items()}


def test_agreement_by_hand() -> None:
    full = outcome(top1=[1, 1, 1, 0], accuracy=[1, 1, 0, 0])
    circuit = outcome(exact_match=[1, 1, 0, 0], accuracy=[1, 0, 0, 1])
    found = agreement(circuit, full)
    assert (found["top1"]["right"]["n"], found["top1"]["right"]["share"]) == (3, pytest.approx(2 / 3))
    assert (found["top1"]["wrong"]["n"], found["top1"]["wrong"]["share"]) == (1, 0)
    assert found["accuracy"]["right"]["share"] == 0.5
    assert found["accuracy"]["wrong"]["share"] == 0.5
    flawless = agreement(circuit, outcome(top1=[1] * 4, accuracy=[1] * 4))
    assert flawless["top1"]["wrong"] == {"n": 0, "share": None, "interval": None}


def test_comparison_by_hand() -> None:
    full = outcome(logit_diff=[4.0, 4.0])
    close = outcome(kl=[0.1, 0.2], logit_diff=[3.5, 4.5], exact_match=[1, 1], accuracy=[1, 1])
    far = outcome(kl=[1.1, 1.2], logit_diff=[1.0, 7.0], exact_match=[0, 1], accuracy=[1, 1])
    found = compare(close, far, full, seed=0)
    assert found["kl"]["mean"] == pytest.approx(-1)
    assert found["logit_gap"]["mean"] == pytest.approx(-2.5)
    assert (found["exact_match"]["first_only"], found["exact_match"]["second_only"]) == (1, 0)
    assert found["accuracy"]["p"] == 1


def test_random_circuits_share_little() -> None:
    rng = np.random.default_rng(0)
    a, b = (random_circuit(Graph(4, 4, 4), 20, rng) for _ in range(2))
    assert edge_overlap(a.live, b.live).jaccard < 0.5
