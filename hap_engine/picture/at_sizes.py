"""Both circuits of a picture at every size, and what was measured there, for the slider and the chart below it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from hap_engine.findings import Findings
from hap_engine.graph.edge_order import EdgeOrder
from hap_engine.graph.graph import Graph
from hap_engine.report.every_size import Survival, survivals, tested_on
from hap_engine.report.titles import circuit_title, say

LARGEST = 1500  # live edges a side: what a browser draws again while a hand moves


@dataclass(frozen=True)
class Curve:
    """What was measured of one method at sizes that fall.

    Attributes:
        side: the panel whose circuits these are, or empty.
        numbers: a list each with one number (or None) a size: ``kl``, and what else there is of ``interval``,
            ``faithfulness``, ``logit_diff``, ``accuracy``, ``exact_match``.
        look: ``line``, ``thin`` (another seed), ``control`` or ``dots`` (training steps).
    """

    title: str
    side: str
    sizes: Sequence[int]
    numbers: Mapping[str, Sequence[Any]]
    look: str = "line"


@dataclass(frozen=True, eq=False)
class AtSizes:
    """What two methods keep at every size up to the loosest of `grid`.

    Attributes:
        own: size of the run's own circuit.
        grid: sizes at which circuits were measured, falling.
        orders: a side; their circuits are those of the slider.
        lives: heads with a role, and how long methods keep them.
        methods: a side, the name of its order in `lives`.
        told: on what prompts the curves were measured, in words.
        shares: a size of `grid`, the share of samples that keep each edge of the run's own method; NaN for the others.
    """

    own: int
    grid: tuple[int, ...]
    orders: tuple[EdgeOrder, EdgeOrder]
    curves: tuple[Curve, ...]
    told: str
    lives: tuple[Survival, ...] = ()
    methods: tuple[str, str] = ("", "")
    empty: float | None = None  # KL with every edge cut
    note: str = ""  # what else to know of the curves
    front: int = 0  # the tightest size that a descent has reached; 0: it has ended
    shares: tuple[Float[np.ndarray, "writer reader"], ...] = ()

    @property
    def drawn(self) -> int:
        """Edges a side that the browser knows; of a larger circuit it draws so many."""
        return max(LARGEST, self.own)

    def enters(self, side: int) -> Int[np.ndarray, "writer reader"]:
        """The live size at which each edge enters a side's circuits; 0 where it does not up to the loosest."""
        order = self.orders[side]
        found = np.zeros(order.graph.edge_mask.shape, dtype=np.int64)
        found.flat[order.cells] = np.where(order.enters <= self.grid[0], order.enters, 0)
        return found

    def shown(self, side: int) -> Bool[np.ndarray, "writer reader"]:
        """The edges that the browser draws of a side at some size."""
        enters = self.enters(side)
        return (enters > 0) & (enters <= self.drawn)


def reach(run: Findings) -> range:
    """The sizes to which the slider goes; none where the run has no orders."""
    grid = run.sizes.get("grid", ())
    return range(grid[-1], grid[0] + 1) if grid and run.orders else range(0)


def at_sizes(run: Findings, left: str, right: str) -> AtSizes | None:
    """None where the run has no order for one of the two circuits, or a single size."""
    grid = run.sizes.get("grid", ())
    if len(grid) < 2 or not {left, right} <= run.orders.keys():
        return None
    looks, own = {"random": "control"}, run.sizes["metrics"][run.main]["n_live"]
    sides = {right: "right", left: "left"}
    return AtSizes(
        own=len(run.circuits[run.main].circuit),
        grid=tuple(grid),
        orders=(run.orders[left], run.orders[right]),
        curves=tuple(
            curve(run, name, circuit_title(name), sides.get(name, ""), looks.get(name, "line"))
            for name in run.sizes["metrics"]
        ),
        told=f"{tested_on(run.sizes)} that no method saw",
        lives=tuple(survivals(run)),
        methods=(left, right),
        empty=run.sizes.get("empty"),
        shares=_shares(run, grid),
        note=say("sizes.inside", method=circuit_title(run.main)) if own[0] == own[1] else "",
    )


def of_two(one: Findings, two: Findings, labels: tuple[str, str]) -> AtSizes | None:
    """The circuits that two runs of one graph set out to find, at the sizes that both have; None where one has none."""
    sides, both = ("left", "right"), [reach(one), reach(two)]
    pairs = list(zip((one, two), labels, sides, strict=True))
    sizes = {size for run in (one, two) for size in run.sizes.get("grid", ()) if all(size in there for there in both)}
    if len(sizes) < 2 or not all(run.main in run.orders for run in (one, two)):
        return None
    orders = (one.orders[one.main], two.orders[two.main])
    heads = {**(two.roles.get("heads") or {}), **(one.roles.get("heads") or {})}
    lives = [
        Survival(
            head, str(record["role"]), {side: order.nodes.get(head) for side, order in zip(sides, orders, strict=True)}
        )
        for head, record in heads.items()
    ]
    return AtSizes(
        own=len(one.circuits[one.main].circuit),
        grid=tuple(sorted(sizes, reverse=True)),
        orders=orders,
        curves=(
            *(curve(run, "eap", f"EAP, {label}", "") for run, label, _ in pairs if "eap" in run.orders),
            *(curve(run, run.main, label, side) for run, label, side in pairs),
        ),
        told=f"the {one.sizes['split']} prompts of each run, which no method saw",
        lives=tuple(sorted(lives, key=lambda life: life.role)),
        methods=sides,
        empty=one.sizes.get("empty"),
    )


def so_far(
    graph: Graph, sizes: Mapping[str, Any], order: EdgeOrder | None, history: Sequence[Mapping[str, Any]], method: str
) -> AtSizes:
    """What a run that is not finished knows: its scorers' curves, and the descent from the loosest size to its front.

    Args:
        sizes: the section of the scorers alone, as a run file has it; the last scorer picks the candidates.
        order: the method's candidates as they stand; None before the descent.
        history: the steps so far, each with the ``budget`` at the front and a ``kl``.
    """
    by_score = {name: EdgeOrder(graph, np.array(cells, dtype=np.int64)) for name, cells in sizes["orders"].items()}
    *_, scorer = by_score
    right = by_score[scorer] if order is None else order.then(by_score["eap"])
    reached = [round(record["budget"]) for record in history]
    front = max(sizes["grid"][-1], min(reached)) if order else 0
    steps = Curve(
        say("sizes.steps", method=circuit_title(method)),
        "right",
        reached,
        {"kl": [record["kl"] for record in history]},
        "dots",
    )
    sides = {"eap": "left"} | ({} if order or scorer == "eap" else {scorer: "right"})
    measured = [
        Curve(circuit_title(name), sides.get(name, ""), sizes["grid"], sizes["metrics"][name]) for name in by_score
    ]
    return AtSizes(
        own=front or sizes["grid"][-1],
        grid=tuple(sizes["grid"]),
        orders=(by_score["eap"], right),
        curves=(*measured, *([steps] if history else [])),
        told=f"{tested_on(sizes)} that no method saw",
        empty=sizes["empty"],
        note=say("sizes.descending", method=circuit_title(method)) if history else "",
        front=front,
    )


def curve(run: Findings, name: str, title: str, side: str, look: str = "line") -> Curve:
    """One method of a run as it was measured, from its largest circuit on."""
    grid, row = run.sizes["grid"], run.sizes["metrics"][name]
    first = sum(n_live == row["n_live"][0] for n_live in row["n_live"]) - 1
    numbers = {key: values[first:] for key, values in row.items() if isinstance(values, list)}
    return Curve(title, side, grid[first:], numbers, look)


def _shares(run: Findings, grid: list[int]) -> tuple[np.ndarray, ...]:
    """Nothing where the run's prompts were not resampled."""
    known = {row["size"]: row["edges"] for row in run.stability.get("at", ())}
    if not known:
        return ()
    found = []
    for size in grid:
        kept = run.orders[run.main].circuit(size).kept
        table = np.full(kept.shape, np.nan)
        if kept.sum() == len(known.get(size, ())):
            table[kept] = known[size]
        found.append(table)
    return tuple(found)
