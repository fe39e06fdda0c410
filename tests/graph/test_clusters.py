"""Groups of circuits: the distances, the linkage beside a slow oracle, and how many groups are told."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from hap_engine.graph.circuit import empty_circuit, random_circuit
from hap_engine.graph.clusters import clusters, jaccard_distances, partitions, silhouette
from hap_engine.graph.graph import Graph
from hap_engine.graph.overlap import edge_overlap


def points(*groups: list[float]) -> np.ndarray:
    """Distances of points on a line."""
    at = np.array([place for group in groups for place in group], dtype=float)
    return np.abs(at[:, None] - at)


def test_distances_are_those_of_the_overlap() -> None:
    graph, rng = Graph(3, 3, 3), np.random.default_rng(0)
    several = [random_circuit(graph, size, rng) for size in (5, 20, 40)] + [empty_circuit(graph)]
    found = jaccard_distances(several)
    for one, two in combinations(range(4), 2):
        assert found[one, two] == pytest.approx(1 - edge_overlap(several[one], several[two]).jaccard)
    assert np.diag(found).tolist() == [0] * 4
    assert jaccard_distances([empty_circuit(graph)] * 2).max() == 0


def test_the_nearest_groups_are_joined_by_their_mean_distance() -> None:
    rng = np.random.default_rng(1)
    distances = points(rng.random(9).tolist())
    groups = [{index} for index in range(9)]
    for labels in partitions(distances):
        pairs = list(combinations(groups, 2))
        means = [np.mean([distances[a, b] for a in one for b in two]) for one, two in pairs]
        one, two = pairs[int(np.argmin(means))]
        groups = [group for group in groups if group not in (one, two)] + [one | two]
        found = {frozenset(np.flatnonzero(labels == label).tolist()) for label in set(labels.tolist())}
        assert found == {frozenset(group) for group in groups}
    assert len(groups) == 2


def test_silhouette_by_hand() -> None:
    distances = points([0, 1], [4, 6])
    inside = [(1, 5), (1, 4), (2, 3.5), (2, 5.5)]
    assert silhouette(distances, np.array([0, 0, 1, 1])) == pytest.approx(np.mean([(b - a) / b for a, b in inside]))
    assert silhouette(distances, np.array([0, 0, 0, 1])) < 0.6, "one alone counts 0"
    assert silhouette(points([1, 1], [1]), np.array([0, 0, 1])) == 0


def test_clear_groups_are_found_the_largest_first() -> None:
    labels, best = clusters(points([9, 9.2], [0, 0.1, 0.3], [20]))
    assert labels.tolist() == [1, 1, 0, 0, 0, 2]
    assert best is not None
    assert best > 0.7


def test_without_structure_all_are_one_group() -> None:
    graph, rng = Graph(4, 4, 4), np.random.default_rng(0)
    labels, best = clusters(jaccard_distances([random_circuit(graph, 60, rng) for _ in range(12)]))
    assert best is not None
    assert best < 0.25
    assert not labels.any()
    same, silent = clusters(np.zeros((4, 4)))
    assert (same.tolist(), silent) == ([0, 0, 0, 0], 0)
    assert clusters(points([0, 5]))[1] is None, "two have no groups"
