"""The studies of Edge Pruning: sparsity, steps, starts, keep fraction (docs/studies/pruning.md).

    python -m benchmarks.studies.pruning hap-mini path/to/SmolLM2.gguf [--seeds 0 1 2] [--only sparsity keep]
                                        [--device cuda]

Descents that were computed before are read from benchmarks/studies/data/pruning; the pages show all that is there, so
the work can be done in pieces and by several processes (one a seed).
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator

import torch

from benchmarks.studies.pruning.circuits import everything
from benchmarks.studies.pruning.descents import Descent, Workbench, made
from benchmarks.studies.pruning.page import PAGE, page
from benchmarks.studies.pruning.plots import plots

MINI_PLAN = {0.8: 300, 0.9: 150, 0.94: 150, 0.96: 150, 0.98: 150}  # sparsity: steps to it
# A real model goes down in two parts: HAP's filter is tighter for the second, and an early mistake costs less.
LOOSE_PLAN = {0.9: 150, 0.94: 100, 0.96: 100}
TIGHT_PLAN = {0.98: 200, 0.99: 100, 0.995: 100, 0.998: 100}
STEPS = (60, 150, 300, 600)
KEEPS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5)
STARTS = {"hap": "ranked", "ep": "equal"}  # EP by itself knows no scores
SCORERS = ("eap", "eap-ig-kl")  # alone, as controls
LD_WEIGHT = 0.05


def sparsity(mini: bool, seed: int) -> Iterator[Descent]:
    """Descents through all budgets for each method."""
    plans = (MINI_PLAN,) if mini else (TIGHT_PLAN, LOOSE_PLAN)
    for scorer in SCORERS:
        yield Descent(scorer, tuple(sorted({level for plan in plans for level in plan})), seed=seed)
    for plan in plans:
        for method, start in STARTS.items():
            yield Descent(method, tuple(plan), tuple(plan.values()), seed, start=start)


def steps(mini: bool, seed: int) -> Iterator[Descent]:
    """The tightest common budget, by more and more steps."""
    for count in STEPS:
        for method, start in STARTS.items():
            yield Descent(method, (_tight(mini),), (count,), seed, start=start)
    for count in (*STEPS, 3000):
        if mini or not seed:  # one of 3,000 steps on a real model is two hours of a processor
            yield Descent("ep", (_tight(mini),), (count,), seed, start="equal", recipe="published")


def starts(mini: bool, seed: int) -> Iterator[Descent]:
    """EP over all edges from gates in the order of the scores, all equal, in random order."""
    for start in ("ranked", "equal", "random"):
        yield Descent("ep", (_tight(mini),), (150,), seed, start=start)


def keep(mini: bool, seed: int) -> Iterator[Descent]:
    """HAP from candidates of other sizes."""
    for share in KEEPS:
        if share > 1 - _tight(mini):
            yield Descent("hap", (_tight(mini),), (150,), seed, keep=share)


def held(mini: bool, seed: int) -> Iterator[Descent]:
    """The mean logit difference held at the full model's."""
    if not mini:
        plan = tuple(TIGHT_PLAN), tuple(TIGHT_PLAN.values())
        yield Descent("hap", *plan, seed, ld_weight=LD_WEIGHT)


def _tight(mini: bool) -> float:
    return 0.98 if mini else 0.99


STUDIES = {"sparsity": sparsity, "steps": steps, "starts": starts, "keep": keep, "held": held}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="+")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--only", nargs="+", choices=list(STUDIES), default=list(STUDIES))
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    torch.set_num_threads(1)  # so that processor time means something
    for model in options.models:
        mini = model == "hap-mini"
        for seed in options.seeds:
            bench = Workbench(model, seed, "float32", options.device)
            for study in options.only:
                for descent in STUDIES[study](mini, seed):
                    made(bench, descent)
    found = everything()
    plots(found)
    PAGE.write_text(page(found), encoding="utf-8")
    print(PAGE)


if __name__ == "__main__":
    main()
