"""Both circuits of a picture at every size, for the slider below it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from hap_engine.findings import Findings

LARGEST = 1500  # live edges a side: what a browser draws again while a hand moves


@dataclass(frozen=True, eq=False)
class AtSizes:
    """What two methods keep at every size up to the loosest of `grid`.

    Attributes:
        own: size of the run's own circuit.
        grid: sizes at which circuits were measured, falling.
        enters: a side, the live size at which each edge enters; 0 where it does not up to the loosest.
        shares: a size of `grid`, the share of samples that keep each edge of the run's own method; NaN for the others.
        measured: a side, ``kl`` and, where it is defined, ``faithfulness``, one number a size of `grid`.
    """

    own: int
    grid: tuple[int, ...]
    enters: tuple[Int[np.ndarray, "writer reader"], Int[np.ndarray, "writer reader"]]
    measured: tuple[dict[str, Any], dict[str, Any]]
    n_prompts: int
    shares: tuple[Float[np.ndarray, "writer reader"], ...] = ()


def reach(run: Findings) -> range:
    """The sizes to which the slider goes; none where the run has no orders."""
    largest = max(LARGEST, len(run.circuits[run.main].circuit))
    grid = [size for size in run.sizes.get("grid", ()) if size <= largest]
    return range(grid[-1], grid[0] + 1) if grid and run.orders else range(0)


def at_sizes(run: Findings, left: str, right: str) -> AtSizes | None:
    """None where the run has no order for one of the two circuits, or a single size."""
    reached, sides = reach(run), (left, right)
    grid = [size for size in run.sizes.get("grid", ()) if size in reached]
    if len(grid) < 2 or not {*sides} <= run.orders.keys():
        return None
    enters = [np.zeros(run.graph.edge_mask.shape, dtype=np.int64) for _ in sides]
    for name, found in zip(sides, enters, strict=True):
        order = run.orders[name]
        found.flat[order.cells] = np.where(order.enters <= grid[0], order.enters, 0)
    rows = [run.sizes["metrics"][name] for name in sides]
    measured = [{key: row[key][-len(grid) :] for key in ("kl", "faithfulness") if key in row} for row in rows]
    own = len(run.circuits[run.main].circuit)
    pairs = (enters[0], enters[1]), (measured[0], measured[1])
    return AtSizes(own, tuple(grid), *pairs, run.sizes["n_prompts"], _shares(run, grid))


def _shares(run: Findings, grid: list[int]) -> tuple[np.ndarray, ...]:
    """Nothing where the run's prompts were not resampled at all of these sizes."""
    known = {row["size"]: row["edges"] for row in run.stability.get("at", ())}
    if not known.keys() >= {*grid}:
        return ()
    found = []
    for size in grid:
        kept = run.orders[run.main].circuit(size).kept
        table = np.full(kept.shape, np.nan)
        if kept.sum() == len(known[size]):
            table[kept] = known[size]
        found.append(table)
    return tuple(found)
