"""What the studies of Edge Pruning are made of: descents, computed once and kept (benchmarks/studies/data/pruning).

A descent finds circuits of one sparsity after another. The first budget is pruned from the candidates that
stage one leaves; every later one goes on from the circuit before it, whose gates give the order of the new
start (`two_stages.go_on`). A descent without steps is a scorer alone. All circuits of a descent are measured on the
same held-out prompts, under resample ablation, and written to one file when the descent ends. Until then its
state is kept beside it every `SAVE_STEPS` steps: a descent that was stopped goes on from there, to the bit.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Generator, Iterator
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from benchmarks.studies import pages
from hap_engine.attribution.scorers import Scores
from hap_engine.evaluation.measure import measure
from hap_engine.evaluation.metrics import faithfulness
from hap_engine.files import short_hash
from hap_engine.graph.circuit import Circuit, empty_circuit, full_circuit
from hap_engine.graph.ranking import edge_budget, top_edges, top_live
from hap_engine.masked.opening import open_masked
from hap_engine.masked.prompt_cache import Prepared
from hap_engine.progress import drain
from hap_engine.pruning.budgets import BUDGETS
from hap_engine.pruning.edge_pruning import PruningStep, cut_live, prune, warm_start
from hap_engine.runs.run_file import load
from hap_engine.settings import PRESETS, VALIDATED, DiscoveryConfig, PruningConfig, kept_share
from hap_engine.tasks.custom import get_task
from hap_engine.tasks.task import SplitSizes
from hap_engine.transformer.load import load_model
from hap_engine.workflows.two_stages import go_on, score_edges

DATA = pages.DATA / "pruning"
FEW = 1_000  # circuits of at most so many edges are stored edge by edge, for their overlap
STARTS = ("ranked", "equal", "random")
RECIPES = {"standard": PRESETS["one-size"], "published": PRESETS["published"]}  # a descent has one target at a time
SAVE_STEPS = 50
PART = ".safetensors"


@dataclass(frozen=True)
class Descent:
    """How circuits are found; equal descents on equal weights are computed once."""

    method: str  # hap, ep, or a scorer alone
    sparsities: tuple[float, ...]
    steps: tuple[int, ...] = ()  # of Edge Pruning, one number a sparsity; none: the scorer alone
    seed: int = 0
    keep: float | None = None  # None: as a run chooses (`kept_share`)
    start: str = "ranked"  # first gates in the order of the scores; all equal; in random order
    recipe: str = "standard"  # whose settings hold (`RECIPES`), but for the number of steps
    clip: float = PruningConfig.clip  # 0: one batch may pull a gate as far down as it likes
    ld_weight: float = PruningConfig.ld_weight  # 0: nothing holds the logit difference

    def share(self) -> float:
        """Share of the edges left to Edge Pruning."""
        config = DiscoveryConfig(
            method=self.method, sparsity=self.sparsities[0], keep=self.keep, pruning=RECIPES[self.recipe]
        )
        return kept_share(config)

    def pruning(self, steps: int) -> PruningConfig:
        return replace(RECIPES[self.recipe], steps=steps, clip=self.clip, ld_weight=self.ld_weight)


class Workbench:
    """A model with the prompts of one seed; what several descents share is made once."""

    def __init__(self, reference: str, seed: int, dtype: str, device: str = "cpu") -> None:
        self.seed, self.dtype, self.device = seed, dtype, device
        model = load_model(reference, device=device)
        self.name, self.sha256 = model.name, model.sha256
        self.masked = open_masked(model)
        self.graph = self.masked.graph
        self.sets = get_task("ioi").generate(model.tokenizer, SplitSizes(), seed, "abc")
        fast = self.masked.with_dtype(getattr(torch, dtype))
        self.training = drain(Prepared(fast, self.sets.train).run())
        self.validation = drain(Prepared(fast, self.sets.validation[:VALIDATED]).run())

    @cached_property
    def scores(self) -> dict[str, Scores]:
        """Plain EAP's, and those that pick HAP's candidates."""
        return drain(score_edges(self.masked, self.training, DiscoveryConfig().candidate_scorer))

    @cached_property
    def roles(self) -> dict[str, str]:
        """Role of each head, as the shipped run of this model measured it."""
        runs = [load(path) for path in pages.SHIPPED.glob("*.json")]
        (run,) = (r for r in runs if r.model["sha256"] == self.sha256 and r.task["name"] == "ioi")
        return {head: str(shown["role"]) for head, shown in run.roles["heads"].items()}

    def measured(self, circuits: dict[str, Circuit]) -> dict[str, dict[str, float]]:
        every = {**circuits, "empty": empty_circuit(self.graph)}
        full, outcomes = drain(measure(self.masked, self.sets.test, every))
        means = {name: {k: float(v.mean()) for k, v in outcome.items()} for name, outcome in outcomes.items()}
        top, bottom = float(full["logit_diff"].mean()), means.pop("empty")["logit_diff"]
        for row in means.values():
            row["faithfulness"] = faithfulness(row["logit_diff"], top, bottom)
        return means


def made(bench: Workbench, descent: Descent) -> Path:
    """The file of a descent, computed unless it is there."""
    path = path_of(bench.name, bench.sha256, descent)
    if path.exists():
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    points = [_point(bench, *found) for found in circuits(bench, descent, path)]
    rows = bench.measured({str(point["sparsity"]): point.pop("circuit") for point in points})
    for point in points:
        row = rows[str(point["sparsity"])]
        point |= {key: round(value, 5) for key, value in row.items()}
    record = {
        "model": bench.name,
        "n_edges": bench.graph.n_edges,
        "dtype": bench.dtype,
        "device": bench.device,
        "n_prompts": len(bench.sets.test),
        "descent": asdict(descent),
        "points": points,
    }
    path.write_text(json.dumps(record) + "\n", encoding="utf-8")
    for part in path.parent.glob(f"{path.stem}.*{PART}"):
        part.unlink()
    return path


def path_of(name: str, sha256: str, descent: Descent) -> Path:
    plain = asdict(descent)
    if not descent.ld_weight:  # newer than the descents that lack it
        del plain["ld_weight"]
    return DATA / name.split("-Instruct")[0] / f"{short_hash([plain, sha256])}.json"


def circuits(bench: Workbench, descent: Descent, path: Path) -> Iterator[tuple[float, Circuit, float]]:
    """Sparsity, live circuit and processor seconds of its pruning, in the descent's order.

    States are kept beside `path`.
    """
    graph = bench.graph
    if not descent.steps:
        for sparsity in descent.sparsities:
            live = edge_budget(graph, sparsity)
            yield sparsity, top_live(graph, bench.scores[descent.method], live).live, 0.0
        return
    share, order = descent.share(), bench.scores[DiscoveryConfig().scorer]
    candidates = full_circuit(graph)
    if share < 1:
        candidates = top_edges(graph, order, int(share * graph.n_edges + 1e-9)).live
    kind = descent.start
    for sparsity, steps in zip(descent.sparsities, descent.steps, strict=True):
        config, target = descent.pruning(steps), edge_budget(graph, sparsity)
        part = path.with_name(f"{path.stem}.{sparsity}{PART}")
        state, before = _kept(part)
        log_alpha, seconds = _saving(
            part,
            before,
            prune(
                bench.training,
                candidates,
                target,
                config,
                seed=descent.seed,
                start=_start(kind, descent.seed, config, candidates, order),
                validation=bench.validation if BUDGETS[config.budget].keeps_best else None,
                resume=state,
            ),
        )
        kind, order = "ranked", go_on(candidates, log_alpha)
        candidates = cut_live(candidates, log_alpha, target).live
        print(f"{bench.name} seed {bench.seed} {descent.method} {sparsity} {steps} steps: {seconds:.0f} s", flush=True)
        yield sparsity, candidates, seconds


def _kept(part: Path) -> tuple[dict[str, Tensor] | None, float]:
    """The state of a descent that was stopped, and the processor seconds it took (NaN: partly on a GPU)."""
    if not part.exists():
        return None, 0.0
    with safe_open(part, "pt") as file:
        names, seconds = file.keys(), float(file.metadata()["seconds"])
        return {name: file.get_tensor(name) for name in names}, seconds


def _saving(part: Path, before: float, work: Generator[PruningStep, None, np.ndarray]) -> tuple[np.ndarray, float]:
    """Run a descent to its end, keeping its state now and then; its gates and processor seconds."""
    started = time.process_time()
    while True:
        try:
            step = next(work)
        except StopIteration as stop:
            return stop.value, before + time.process_time() - started
        if step.step % SAVE_STEPS == 0:
            seconds = before + time.process_time() - started
            new = part.with_suffix(".new")
            save_file(step.state(), new, {"seconds": str(seconds)})
            new.replace(part)


def _start(kind: str, seed: int, config: PruningConfig, candidates: Circuit, order: Scores) -> np.ndarray | None:
    if kind == "equal":
        return None
    if kind == "random":  # the values of the ranked start, dealt at random
        order = np.random.default_rng(seed).random(order.shape)
    return warm_start(candidates, config, order)


def _point(bench: Workbench, sparsity: float, circuit: Circuit, seconds: float) -> dict[str, Any]:
    kept = {role: [0, 0] for role in bench.roles.values()}
    for head, role in bench.roles.items():
        kept[role][0] += head in circuit.heads
        kept[role][1] += 1
    edges = np.flatnonzero(circuit.kept).tolist() if len(circuit) <= FEW else None
    return {
        "sparsity": sparsity,
        "live": len(circuit),
        "seconds": round(seconds, 1) if bench.device == "cpu" and math.isfinite(seconds) else None,
        "roles": kept,
        "edges": edges,
        "circuit": circuit,
    }
