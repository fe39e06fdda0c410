"""How sure is a number? Intervals, paired tests and seed stability; NumPy only, no torch.

Everything takes numbers of one prompt each, in the same prompt order for everything compared, so that
differences are *paired*: two circuits are judged on the same prompts.

* `bootstrap_interval`: percentile bootstrap of a mean over prompts.
* `paired_difference`: mean difference with its interval and a sign-flip p-value.
* `mcnemar`: exact test for two yes/no outcomes on the same items (prompts, or heads).
* `share_interval`: Wilson interval of a share, right for small counts and at 0 and 1.
* `edge_stability`: in which share of several seeds' circuits each edge appears.

One prompt has no interval: the functions answer None there, and the run file and the page say "no
interval" instead of showing one of width 0.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike

from hap_engine.errors import SettingsError
from hap_engine.graph.circuit import Circuit
from hap_engine.words import say

RESAMPLES = 1000  # of the bootstrap; the interval's ends move by less than its last digit
FLIPS = 2000  # of the sign-flip test: p is known to about 0.005 near 0.05
LEVEL = 0.95
NORMAL = 1.959964  # two-sided 95 % quantile of the normal distribution

Values = Float[np.ndarray, " prompt"]
Interval = tuple[float, float]


@dataclass(frozen=True)
class Difference:
    """A paired comparison, first minus second.

    Attributes:
        mean: mean difference over prompts.
        interval: its 95 % bootstrap interval; None for a single prompt.
        p: two-sided sign-flip p-value of "no difference"; None for a single prompt.
        n: number of prompts.
    """

    mean: float
    interval: Interval | None
    p: float | None
    n: int


@dataclass(frozen=True)
class McNemar:
    """Exact McNemar test: of the items that only one side has, are both sides equally many?

    Attributes:
        first_only, second_only: items that only the first (second) side has.
        p: two-sided exact binomial p-value; 1 when no item differs.
        n: number of items.
    """

    first_only: int
    second_only: int
    p: float
    n: int


def bootstrap_interval(values: Values, seed: int) -> Interval | None:
    """95 % percentile bootstrap interval of the mean over prompts; None for fewer than two prompts.

    Raises:
        SettingsError: if a value is NaN or infinite.
    """
    _check_finite(values)
    if len(values) < 2:
        return None
    return interval_of(values[draws(len(values), seed)].mean(axis=1))


def interval_of(resampled: Float[np.ndarray, " resample"]) -> Interval | None:
    """The central 95 % of resampled statistics; None if any of them is undefined."""
    if not np.isfinite(resampled).all():
        return None
    low, high = np.quantile(resampled, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def paired_difference(first: Values, second: Float[np.ndarray, " other"], seed: int) -> Difference:
    """First minus second over the same prompts, with interval and sign-flip p-value.

    If there were no difference, each prompt's difference could as well have the other sign: p is the
    share of random sign patterns whose mean is at least as far from 0 as the one seen.

    Raises:
        SettingsError: if the two are not as long, empty or not finite.
    """
    if len(first) != len(second) or not len(first):
        raise SettingsError(say("evaluation.unpaired", first=len(first), second=len(second)))
    gaps = np.asarray(first, dtype=float) - np.asarray(second, dtype=float)
    interval = bootstrap_interval(gaps, seed)
    if len(gaps) < 2:
        return Difference(float(gaps.mean()), None, None, len(gaps))
    signs = np.random.default_rng(seed).choice([-1.0, 1.0], size=(FLIPS, len(gaps)))
    flipped = np.abs((signs * gaps).mean(axis=1))
    seen = abs(gaps.mean()) * (1 - 1e-12)  # equal up to rounding counts as equal
    p = (1 + int((flipped >= seen).sum())) / (FLIPS + 1)
    return Difference(float(gaps.mean()), interval, float(p), len(gaps))


def mcnemar(first: ArrayLike, second: ArrayLike) -> McNemar:
    """Exact McNemar test of two yes/no outcomes on the same items.

    Raises:
        SettingsError: if the two are not as long.
    """
    a, b = np.asarray(first, dtype=bool), np.asarray(second, dtype=bool)
    if a.shape != b.shape:
        raise SettingsError(f"Expected the same items on both sides of a McNemar test, got {a.size} and {b.size}.")
    only_a, only_b = int((a & ~b).sum()), int((b & ~a).sum())
    n, least = only_a + only_b, min(only_a, only_b)
    # In logarithms: 2^-n underflows long before a test set is large.
    tail = sum(math.exp(_log_choose(n, k) - n * math.log(2)) for k in range(least + 1))
    return McNemar(only_a, only_b, min(1.0, 2 * tail), int(a.size))


def share_interval(successes: int, count: int) -> Interval | None:
    """95 % Wilson interval of a share; None without any item."""
    if count == 0:
        return None
    share, z2 = successes / count, NORMAL**2
    middle = (share + z2 / (2 * count)) / (1 + z2 / count)
    half = NORMAL / (1 + z2 / count)
    half *= math.sqrt(share * (1 - share) / count + z2 / (4 * count**2))
    return max(0.0, middle - half), min(1.0, middle + half)


def edge_stability(circuits: Sequence[Circuit]) -> Float[np.ndarray, "writer reader"]:
    """Share of the circuits that keep each edge (live edges only).

    Raises:
        SettingsError: for fewer than two circuits, or circuits of different graphs.
    """
    if len(circuits) < 2:
        raise SettingsError(say("evaluation.one_seed", circuits=len(circuits)))
    if len({circuit.graph for circuit in circuits}) > 1:
        raise SettingsError(say("evaluation.graphs"))
    return np.mean([circuit.live.kept for circuit in circuits], axis=0)


def draws(count: int, seed: int) -> np.ndarray:
    """The prompts of each resample of the bootstrap, ``[resample, prompt]``."""
    return np.random.default_rng(seed).integers(count, size=(RESAMPLES, count))


def _log_choose(n: int, k: int) -> float:
    return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)


def _check_finite(values: Values) -> None:
    if not np.isfinite(values).all():
        raise SettingsError(say("evaluation.not_finite", bad=int((~np.isfinite(values)).sum()), values=len(values)))
