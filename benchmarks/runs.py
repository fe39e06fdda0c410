"""Whole runs: how many plain steps does it take to find a circuit?

A run counts from prepared model to pruned circuit: corrupt runs, scores, pruning. Held-out quality is
measured afterwards and not counted.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import torch

from benchmarks.subjects import Subject, plain_step
from benchmarks.timing import clock, clock_of_children
from hap_engine.attribution.scorers import score
from hap_engine.evaluation.measure import measure
from hap_engine.evaluation.metrics import faithfulness
from hap_engine.graph.circuit import Circuit, empty_circuit, full_circuit
from hap_engine.graph.ranking import edge_budget, top_edges
from hap_engine.masked.prompt_cache import Prepared
from hap_engine.progress import drain
from hap_engine.pruning.edge_pruning import cut_live, prune, warm_start
from hap_engine.runs.record import Run
from hap_engine.runs.run_file import load
from hap_engine.settings import PRESETS, DiscoveryConfig, PruningConfig
from hap_engine.tasks.custom import get_task
from hap_engine.tasks.task import SplitSizes

PUBLISHED = 5  # steps from which the published recipe is extrapolated


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


def run(subject: Subject, recipe: Recipe, sparsity: float, seed: int = 0, test: int = 128) -> Outcome:
    """Find a circuit in float32, count its cost in plain steps, and measure it.

    Plain steps are timed before and after the run, so that a machine that slows down slows both. `seed` decides the
    prompts, those to learn from and the held-out ones.
    """
    sizes = SplitSizes(recipe.train, 1, test)
    sets = get_task("ioi").generate(subject.model.tokenizer, sizes, seed, "abc")
    now, masked, before = clock(), subject.masked, plain_seconds(subject)
    budget = edge_budget(masked.graph, sparsity)
    started = now()
    training = Prepared(masked, sets.train)
    drain(training.run())
    candidates: Circuit = full_circuit(masked.graph)
    start = None
    if recipe.candidates < 1:
        scores = drain(score(training.first(recipe.scored), DiscoveryConfig().scorer))
        count = int(recipe.candidates * masked.graph.n_edges)
        candidates = top_edges(masked.graph, scores, count).live
        start = warm_start(candidates, recipe.pruning, scores)
    descent = prune(training, candidates, budget, recipe.pruning, seed=seed, start=start)
    log_alpha = drain(descent)
    found = cut_live(candidates, log_alpha, budget).live
    seconds = now() - started
    plain = (before + plain_seconds(subject)) / 2
    full, outcomes = drain(measure(masked, sets.test, {"found": found, "empty": empty_circuit(masked.graph)}))
    means = {name: float(values["logit_diff"].mean()) for name, values in outcomes.items()}
    share = faithfulness(means["found"], float(full["logit_diff"].mean()), means["empty"])
    kl = float(outcomes["found"]["kl"].mean())
    return Outcome(recipe.name, seconds / plain, kl, share, len(found))


def published_steps(subject: Subject) -> float:
    """Plain steps that 3,000 steps of Edge Pruning as published would take, from `PUBLISHED` of them."""
    config, now, plain = PRESETS["published"], clock(), plain_seconds(subject)
    size = SplitSizes(config.batch_size, 1, 1)  # it is the same batch at each step, in another order
    sets = get_task("ioi").generate(subject.model.tokenizer, size, 0, "abc")
    training = Prepared(subject.masked, sets.train)
    drain(training.run())
    descent = prune(training, full_circuit(subject.masked.graph), 100, config)
    next(descent)
    started = now()
    for _ in range(PUBLISHED):
        next(descent)
    return config.steps * (now() - started) / PUBLISHED / plain


def from_command(subject: Subject, reference: str, preset: str, sparsity: float) -> tuple[float, Run]:
    """Plain steps from ``hap discover`` on `reference` to the written file, in float32 with equal threads; that run."""
    now, before = clock_of_children(), plain_seconds(subject)
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "run.json"
        command = [sys.executable, "-m", "hap_engine", "discover", "--model", reference, "--preset", preset]
        command += ["--device", "cpu", "--sparsity", str(sparsity), "--dtype", "float32", "--out", str(out)]
        threads = {"OMP_NUM_THREADS": str(torch.get_num_threads())}
        started = now()
        subprocess.run(command, check=True, capture_output=True, env=os.environ | threads)
        seconds = now() - started
        run = load(out)
    return seconds / statistics.mean((before, plain_seconds(subject))), run


def plain_seconds(subject: Subject) -> float:
    """Median of seven plain steps."""
    now, step, seconds = clock(), plain_step(subject), []
    step()
    for _ in range(7):
        started = now()
        step()
        seconds.append(now() - started)
    return statistics.median(seconds)
