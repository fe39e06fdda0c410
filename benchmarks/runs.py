"""Whole runs: how many plain steps does it take to find a circuit?

A run counts from prepared model to pruned circuit: corrupt runs, scores, pruning. Held-out quality is
measured afterwards and not counted.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from benchmarks.subjects import Subject, plain_step
from benchmarks.timing import clock
from hap_engine.attribution import score
from hap_engine.circuit import Circuit, edge_budget, full_circuit, top_edges
from hap_engine.evaluation import measure
from hap_engine.prepared import Prepared
from hap_engine.progress import drain
from hap_engine.pruning import cut_live, prune, warm_start
from hap_engine.settings import PRESETS, DiscoveryConfig, PruningConfig
from hap_engine.tasks import SplitSizes, get_task


@dataclass(frozen=True)
class Recipe:
    """How one circuit is found; `candidates` is the share of edges left to Edge Pruning."""

    name: str
    candidates: float
    pruning: PruningConfig
    train: int = 200  # as in the papers
    scored: int = 32


@dataclass(frozen=True)
class Outcome:
    name: str
    plain_steps: float
    kl: float
    faithfulness: float
    edges: int


def run(
    subject: Subject,
    recipe: Recipe,
    sparsity: float,
    dtype: torch.dtype,
    plain: float,
    test: int = 128,
) -> Outcome:
    """Find a circuit, count its cost in plain steps (`plain` seconds each, same dtype), and measure it."""
    sets = get_task("ioi").generate(
        subject.model.tokenizer, SplitSizes(recipe.train, 1, test), 0, "abc"
    )
    now, masked = clock(), subject.masked.with_dtype(dtype)
    budget = edge_budget(masked.graph, sparsity)
    started = now()
    training = Prepared(masked, sets.train)
    drain(training.run())
    candidates: Circuit = full_circuit(masked.graph)
    start = None
    if recipe.candidates < 1:
        few = training.first(recipe.scored)
        if masked is not subject.masked:  # scores are always taken in float32
            few = drain(Prepared(subject.masked, few.pairs).run())
        scores = drain(score(few, DiscoveryConfig().scorer))
        count = int(recipe.candidates * masked.graph.n_edges)
        candidates = top_edges(masked.graph, scores, count).live
        start = warm_start(candidates, recipe.pruning, scores)
    log_alpha = drain(prune(training, candidates, budget, recipe.pruning, start=start))
    found = cut_live(candidates, log_alpha, budget).live
    seconds = now() - started
    measured = drain(measure(subject.masked, sets.test, {"found": found, "empty": Circuit(
        masked.graph, found.kept & False)}))  # fmt: skip
    means = {name: float(values["logit_diff"].mean()) for name, values in measured.items()}
    share = (means["found"] - means["empty"]) / (means["full"] - means["empty"])
    kl = float(measured["found"]["kl"].mean())
    return Outcome(recipe.name, seconds / plain, kl, share, len(found))


def published_steps(subject: Subject, steps: int = 10) -> float:
    """Plain steps that 3,000 steps of Edge Pruning as published would take, from `steps` of them."""
    sets = get_task("ioi").generate(subject.model.tokenizer, SplitSizes(200, 1, 1), 0, "abc")
    now, plain = clock(), plain_seconds(subject, torch.float32)
    training = Prepared(subject.masked, sets.train)
    drain(training.run())
    config = PRESETS["published"]
    descent = prune(training, full_circuit(subject.masked.graph), 100, config)
    next(descent)
    started = now()
    for _ in range(steps):
        next(descent)
    return config.steps * (now() - started) / steps / plain


def plain_seconds(subject: Subject, dtype: torch.dtype) -> float:
    """Median of five plain steps. In half precision before any other: it copies the model."""
    now, step, seconds = clock(), plain_step(subject, dtype), []
    step()
    for _ in range(5):
        started = now()
        step()
        seconds.append(now() - started)
    return sorted(seconds)[2]
