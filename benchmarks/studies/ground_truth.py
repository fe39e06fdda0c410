"""Measure every method on the planted circuits: ``python -m benchmarks.studies.ground_truth``.

Writes the table of docs/ground-truth.md. Three seeds; minutes on one core.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from benchmarks.studies.pages import ROOT, fill
from hap_engine.masked.opening import open_masked
from hap_engine.masked.prompt_cache import Prepared
from hap_engine.report.titles import circuit_title
from tests.builders.planted import Planted
from tests.builders.recovery import Method, methods
from tests.builders.tiny_models import finish
from tests.builders.toys import TOYS

PAGE = ROOT / "docs" / "ground-truth.md"
SEEDS = range(3)
LEARNERS = ("ep", "hap")  # the methods that a seed changes


def main() -> None:
    toys = {name: make() for name, make in TOYS.items()}
    ready = {name: finish(Prepared(open_masked(toy.model), toy.pairs).run()) for name, toy in toys.items()}
    fill(PAGE, "methods", _methods_table(toys, ready, methods()))


def _methods_table(toys: Mapping[str, Planted], ready: Mapping[str, Prepared], found: Mapping[str, Method]) -> str:
    sizes = " | ".join(f"{name} ({toy.size} of {toy.model.graph.n_edges})" for name, toy in toys.items())
    rows = [f"| method | {sizes} |", "|---|" + "---|" * len(toys)]
    for name, method in found.items():
        seeds = list(SEEDS) if name in LEARNERS else [0]
        cells = [_cell(toy, ready[key], method, seeds) for key, toy in toys.items()]
        rows.append(f"| {circuit_title(name)} | {' | '.join(cells)} |")
        print(rows[-1], flush=True)
    return "\n".join(rows)


def _cell(toy: Planted, prepared: Prepared, method: Method, seeds: list[int]) -> str:
    found = np.array([toy.recovery(method(toy, prepared, seed)) for seed in seeds])
    precision, recall = found.mean(axis=0)
    exact = int((found == 1).all(axis=1).sum())
    suffix = f" ({exact} of {len(seeds)} exact)" if len(seeds) > 1 else ""
    return f"{precision:.2f} / {recall:.2f}{suffix}"


if __name__ == "__main__":
    main()
