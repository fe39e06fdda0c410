"""Do all prompts use the same circuit? The circuits of single prompts, and what the groups of them share (no torch)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

import numpy as np

from hap_engine.findings import Findings
from hap_engine.graph.circuit import Circuit
from hap_engine.graph.clusters import LEAST, Distances, jaccard_distances
from hap_engine.report.titles import circuit_title, say
from hap_engine.tasks.forms import order_of, template_of

FLIPS = 2000  # permutations: p is known to about 0.005 near 0.05


@dataclass(frozen=True)
class Group:
    """Prompts whose circuits resemble each other.

    Attributes:
        prompts: indices among the run's test prompts.
        orders, templates: how many of them have each order of roles, each template, the most frequent first.
        core: edges that all their circuits keep.
        alike: mean Jaccard of two of their circuits; None for one prompt.
    """

    prompts: tuple[int, ...]
    orders: dict[str, int]
    templates: dict[str, int]
    core: int
    alike: float | None


def circuits(run: Findings) -> list[Circuit]:
    """One for each of the first test prompts."""
    found = []
    for row in run.prompt_circuits["prompts"]:
        kept = np.zeros_like(run.graph.edge_mask)
        kept.flat[row["edges"]] = True
        found.append(Circuit(run.graph, kept))
    return found


def groups(run: Findings) -> list[Group]:
    """The groups of a run's prompts, the largest first."""
    rows, own, tests = run.prompt_circuits["prompts"], circuits(run), run.prompts["test"]
    apart = jaccard_distances(own)
    found = []
    for label in sorted({row["cluster"] for row in rows}):
        members = [index for index, row in enumerate(rows) if row["cluster"] == label]
        orders = _counted(order_of(tests[index].get("roles") or {}) for index in members)
        templates = _counted(template_of(str(run.task["name"]), str(tests[index].get("clean"))) for index in members)
        core = int(np.logical_and.reduce([own[index].kept for index in members]).sum())
        alike = 1 - _mean(apart, members, members) if len(members) > 1 else None
        found.append(Group(tuple(members), orders, templates, core, alike))
    return found


def told(run: Findings) -> list[str]:
    """What the groups say, how the orders of the roles compare, and how well a prompt's own circuit does."""
    section, found = run.prompt_circuits, groups(run)
    rows, title = section["prompts"], circuit_title(run.main)
    counts = {"n": len(rows), "k": len(found), "silhouette": section.get("silhouette"), "least": LEAST}
    known = "unknown" if counts["silhouette"] is None else "one" if len(found) == 1 else "many"
    means = {
        f"{side}_{key}": fmean(row[side][key] for row in rows)
        for side in ("own", "shared")
        for key in ("kl", "deviation")
    }
    parts = [say(f"own.{known}", **counts), by_order(run), say("own.measured", title=title, **means)]
    return [part for part in parts if part]


def by_order(run: Findings) -> str:
    """Are circuits of prompts with the same order of roles more alike? "" where all have one."""
    tests = run.prompts["test"][: len(run.prompt_circuits["prompts"])]
    labels = [order_of(test.get("roles") or {}) for test in tests]
    if min(len(set(labels)), *Counter(labels).values()) < 2:
        return ""
    apart = jaccard_distances(circuits(run))
    seen, rng = _gap(apart, labels), np.random.default_rng(run.seed)
    drawn = [_gap(apart, rng.permutation(labels)) for _ in range(FLIPS)]
    p = (1 + sum(gap >= seen - 1e-12 for gap in drawn)) / (FLIPS + 1)
    same = np.array(labels)[:, None] == np.array(labels)
    inside, across = _pairs(apart, same), _pairs(apart, ~same)
    judged = "apart" if p < 0.05 else "together"
    return say(f"own.{judged}", inside=1 - inside, across=1 - across, orders=" and ".join(_counted(labels)), p=p)


def _gap(apart: Distances, labels: Sequence[str] | np.ndarray) -> float:
    """By how much circuits of two orders are further apart than those of one."""
    same = np.array(labels)[:, None] == np.array(labels)
    return _pairs(apart, ~same) - _pairs(apart, same)


def _pairs(apart: Distances, which: np.ndarray) -> float:
    """Mean distance of the pairs of two circuits among `which`."""
    return float(apart[which & ~np.eye(len(apart), dtype=bool)].mean())


def _mean(apart: Distances, some: list[int], others: list[int]) -> float:
    which = np.zeros(apart.shape, dtype=bool)
    which[np.ix_(some, others)] = True
    return _pairs(apart, which)


def _counted(names: Any) -> dict[str, int]:
    return {name: count for name, count in Counter(names).most_common() if name}
