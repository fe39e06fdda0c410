"""What two circuits share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from statistics import fmean

from hap_engine.graph.circuit import Circuit


@dataclass(frozen=True)
class Overlap:
    """How much two sets out of `total` share, and what chance alone would share.

    Attributes:
        chance: expected overlap of two random sets of these sizes, ``one x two / total``.
    """

    one: int
    two: int
    shared: int
    total: int

    @property
    def jaccard(self) -> float:
        """Shared over all in either; 1 for two empty sets."""
        union = self.one + self.two - self.shared
        return self.shared / union if union else 1.0

    @property
    def chance(self) -> float:
        return self.one * self.two / self.total if self.total else 0.0


def edge_overlap(one: Circuit, two: Circuit) -> Overlap:
    return Overlap(len(one), len(two), len(one & two), one.graph.n_edges)


def head_overlap(one: Circuit, two: Circuit) -> Overlap:
    return Overlap(len(one.heads), len(two.heads), len(one.heads & two.heads), len(one.graph.heads))


def mean_jaccard(circuits: Sequence[Circuit]) -> float:
    """Mean over all pairs of at least two circuits."""
    return fmean(edge_overlap(one, two).jaccard for one, two in combinations(circuits, 2))
