"""Which circuits resemble each other: average linkage on their Jaccard distances, and how many groups there are.

The two nearest groups are joined, by the mean distance of their members, until one is left (Sokal and Michener 1958).
Of the partitions on the way the one with the largest mean silhouette is taken (Rousseeuw 1987), if that reaches
`LEAST`: below it there is no substantial structure (Kaufman and Rousseeuw 1990), and all circuits are one group.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from jaxtyping import Float, Int

from hap_engine.graph.circuit import Circuit

LEAST = 0.25  # mean silhouette

Distances = Float[np.ndarray, "item item"]
Labels = Int[np.ndarray, " item"]


def jaccard_distances(circuits: Sequence[Circuit]) -> Distances:
    """1 minus the shared over all edges of each two; 0 for two empty circuits."""
    kept = np.array([circuit.kept.ravel() for circuit in circuits], dtype=np.float32)
    shared = (kept @ kept.T).astype(np.float64)
    sizes = np.diag(shared)
    union = sizes[:, None] + sizes - shared
    return np.where(union > 0, 1 - shared / np.maximum(union, 1), 0)


def clusters(distances: Distances) -> tuple[Labels, float | None]:
    """A group for each item, 0 the largest, and the mean silhouette of the best partition; None for under 3 items."""
    found = [(silhouette(distances, labels), labels) for labels in partitions(distances)]
    best, labels = max(found, key=lambda one: one[0], default=(None, np.zeros(len(distances), int)))
    if best is None or best < LEAST:
        labels = np.zeros(len(distances), int)
    names, counts = np.unique(labels, return_counts=True)
    order = names[np.argsort(-counts, kind="stable")]
    return np.argmax(labels[:, None] == order, axis=1), best


def partitions(distances: Distances) -> Iterator[Labels]:
    """Those of average linkage with at least two groups, fewer than items."""
    count = len(distances)
    apart, sizes, labels = distances.astype(np.float64), np.ones(count), np.arange(count)
    np.fill_diagonal(apart, np.inf)
    for _ in range(count - 2):
        one, two = np.unravel_index(np.argmin(apart), apart.shape)
        apart[one] = (sizes[one] * apart[one] + sizes[two] * apart[two]) / (sizes[one] + sizes[two])
        apart[:, one] = apart[one]
        apart[two] = apart[:, two] = apart[one, one] = np.inf
        sizes[one] += sizes[two]
        labels = np.where(labels == two, one, labels)
        yield labels


def silhouette(distances: Distances, labels: Labels) -> float:
    """Mean over items of ``(b - a) / max(a, b)``: a to its own group, b to the nearest other; 0 for one alone."""
    names, counts = np.unique(labels, return_counts=True)
    sums = np.stack([distances[:, labels == name].sum(axis=1) for name in names], axis=1)
    own = labels[:, None] == names
    others = counts - own
    means = sums / np.maximum(others, 1)
    inside, outside = means[own], np.where(own, np.inf, means).min(axis=1)
    largest = np.maximum(inside, outside)
    alone = (counts == 1)[np.argmax(own, axis=1)]
    return float(np.where(alone | (largest == 0), 0, (outside - inside) / np.where(largest == 0, 1, largest)).mean())
