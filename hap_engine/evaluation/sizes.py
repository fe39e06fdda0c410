"""One order of the edges, measured at every size: where does a method lose the model?

The circuits of a grid of sizes, of every order that a run has and of random control circuits, are measured in one pass
over held-out prompts. CPR and CMD (Mueller et al. 2025, MIB) come from the same numbers.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from typing import Any

import numpy as np

from hap_engine.evaluation.curves import areas_at, share_of
from hap_engine.evaluation.evaluate import Setting
from hap_engine.evaluation.measure import Outcome, measure_on
from hap_engine.evaluation.metrics import faithfulness
from hap_engine.evaluation.statistics import bootstrap_interval
from hap_engine.graph.circuit import Circuit, empty_circuit, random_circuit
from hap_engine.graph.edge_order import EdgeOrder
from hap_engine.graph.graph import Graph
from hap_engine.machine.workload import RUN_BATCH
from hap_engine.masked.prompt_cache import Prepared
from hap_engine.progress import Progress, relabelled
from hap_engine.runs.schema import ADDED_VERSION
from hap_engine.runs.unfinished import NOWHERE, Place
from hap_engine.settings import GRID, RANDOM_PROMPTS

SHOWN = ("kl", "logit_diff", "accuracy", "exact_match")


def grid(graph: Graph, target: int) -> list[int]:
    """Live edges at the shares of `GRID` and at the run's own size, descending, none under a path's two edges."""
    sizes = {share_of(graph.n_edges, share) for share in GRID} | {target}
    return sorted((size for size in sizes if size >= 2), reverse=True)


def measure_sizes(
    few: Prepared,
    orders: Mapping[str, EdgeOrder],
    sizes: Sequence[int],
    setting: Setting,
    batch_size: int = RUN_BATCH,
    known: Mapping[str, Any] | None = None,
    place: Place = NOWHERE,
) -> Generator[Progress, None, dict[str, Any]]:
    """The run file's ``sizes``: every order with its circuits' metrics at some sizes.

    Args:
        few: held-out prompts, some of them (`settings.prompts_at_sizes`).
        orders: by the name of the method or scorer; `random` is added, on the first of the prompts alone.
        sizes: live edges, falling, as from `grid`.
        known: such a section of the same prompts, whose numbers are not measured again, nor those of equal circuits.
    """
    graph = few.masked.graph
    numbers = _numbers(known) if known else {}
    rng = np.random.default_rng(setting.seed)
    circuits = {(name, size): order.circuit(size) for size in sizes for name, order in orders.items()}
    random = {("random", size): random_circuit(graph, size, rng) for size in sizes}
    same = {circuit: key for key, circuit in circuits.items() if key in numbers}
    numbers |= {key: numbers[same[circuit]] for key, circuit in circuits.items() if circuit in same}
    fewer = few.first(RANDOM_PROMPTS)
    for prompts, some, at in ((fewer, random, place.at("random")), (few, circuits, place)):
        asked = {key: circuit for key, circuit in some.items() if key not in numbers}
        if not asked and prompts is fewer:
            continue
        numbers |= yield from _at_each(prompts, asked, setting.seed, batch_size, at)
    return {
        "version": ADDED_VERSION,
        "n_prompts": len(few),
        "n_random": known.get("n_random", known["n_prompts"]) if known else len(fewer),
        "split": setting.split,
        "ablation": setting.ablation,
        "seed": setting.seed,
        "grid": [*sizes],
        "empty": numbers["empty", 0]["kl"],
        "orders": {name: _stored(order, sizes[0]) for name, order in orders.items()},
        "metrics": {
            name: _row(sizes, [numbers[name, size] for size in sizes], graph.n_edges) for name in [*orders, "random"]
        },
    }


def _at_each(
    prompts: Prepared, circuits: Mapping[tuple[str, int], Circuit], seed: int, batch_size: int, place: Place
) -> Generator[Progress, None, dict[tuple[str, int], dict[str, Any]]]:
    """The numbers of some circuits, and of everything corrupted."""
    asked = {("empty", 0): empty_circuit(prompts.masked.graph), **circuits}
    work = measure_on(prompts, asked, batch_size, place)
    full, outcomes = yield from relabelled(work, message="Testing the circuits of every size")
    ends = float(full["logit_diff"].mean()), float(outcomes["empty", 0]["logit_diff"].mean())
    return {key: _measured(asked[key], outcomes[key], ends, seed) for key in asked}


def _numbers(section: Mapping[str, Any]) -> dict[tuple[str, int], dict[str, Any]]:
    """A section's numbers by method and size."""
    return {
        (name, size): {key: values[at] for key, values in row.items() if isinstance(values, list)}
        for name, row in section["metrics"].items()
        for at, size in enumerate(section["grid"])
    }


def _measured(circuit: Circuit, outcome: Outcome, ends: tuple[float, float], seed: int) -> dict[str, Any]:
    """A circuit's numbers; without faithfulness where corruption does not move the logit difference."""
    means = {key: float(outcome[key].mean()) for key in SHOWN}
    faith = faithfulness(means["logit_diff"], *ends)
    defined = {"faithfulness": faith} if np.isfinite(faith) else {}
    return {"n_live": len(circuit), **means, "interval": bootstrap_interval(outcome["kl"], seed), **defined}


def _row(sizes: Sequence[int], numbers: Sequence[Mapping[str, Any]], n_edges: int) -> dict[str, Any]:
    """One number a size in each list, with CPR and CMD."""
    row = {key: [found[key] for found in numbers] for key in numbers[0]}
    if "faithfulness" not in row:
        return row
    return {**row, **areas_at(dict(zip(sizes, row["faithfulness"], strict=True)), n_edges)}


def _stored(order: EdgeOrder, loosest: int) -> list[int]:
    """The cells of the shortest prefix with all circuits up to `loosest` edges."""
    return order.cells[: int(np.flatnonzero(order.enters <= loosest)[-1]) + 1].tolist()
