"""Ratios of running times, measured in one process.

Cases take turns, so that a busy machine slows all of them alike; the figure is the median over rounds
of ``case / plain`` within a round. Seconds are shown for orientation only. With one thread on a CPU the
clock is the process's own time, which other programs disturb less than the wall's.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Timing:
    """Median ratio to the reference case, its quartiles over rounds, and median seconds."""

    ratio: float
    low: float
    high: float
    seconds: float


def compare(cases: Mapping[str, Callable[[], object]], reference: str, rounds: int = 7) -> dict[str, Timing]:
    """Run every case once as a warm-up and then `rounds` times, taking turns."""
    for case in cases.values():
        case()
    now = clock()
    seconds: dict[str, list[float]] = {name: [] for name in cases}
    for _ in range(rounds):
        for name, case in cases.items():
            started = now()
            case()
            seconds[name].append(now() - started)
    return {name: _timing(taken, seconds[reference]) for name, taken in seconds.items()}


def _timing(taken: list[float], reference: list[float]) -> Timing:
    ratios = [a / b for a, b in zip(taken, reference, strict=True)]
    low, middle, high = statistics.quantiles(ratios, n=4) if len(ratios) > 1 else ratios * 3
    return Timing(middle, low, high, statistics.median(taken))


def clock() -> Callable[[], float]:
    """Seconds; on a GPU, when all that was started is done."""
    if torch.accelerator.is_available():

        def finished() -> float:
            torch.accelerator.synchronize()
            return time.perf_counter()

        return finished
    return time.process_time if torch.get_num_threads() == 1 else time.perf_counter


def clock_of_children() -> Callable[[], float]:
    """As `clock` for a program that was started: with one thread on a CPU the time of finished child processes."""
    if torch.accelerator.is_available() or torch.get_num_threads() > 1:
        return time.perf_counter
    return lambda: sum(os.times()[2:4])
