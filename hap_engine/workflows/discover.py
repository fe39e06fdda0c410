"""Discover a circuit: score every edge, keep a loose set, prune it, test what is left.

`discover` is one generator for the app, the terminal and the tests: it yields `Progress` records and
returns a `Run`. Stopping to iterate cancels it within one step of the work at hand.

    load model -> prompts -> can the model do it? -> EAP scores -> keep the best share -> Edge Pruning on those
    -> exact target -> remove dead edges -> EAP circuit of the same live size -> held-out evaluation -> roles

The EAP circuit grows (in EAP's own order) until it has as many live edges as the pruned one, so the
two are compared at equal size.
"""

from __future__ import annotations

import datetime
import os
import platform
import time
from collections.abc import Generator
from importlib.metadata import version
from typing import Any

import numpy as np
import torch

from hap_engine.attribution.scorers import Scores
from hap_engine.errors import OutOfMemoryError, SettingsError
from hap_engine.evaluation.evaluate import Setting, evaluate
from hap_engine.explain.head_facts import describe_heads
from hap_engine.findings import CircuitRecord
from hap_engine.graph.circuit import Circuit
from hap_engine.graph.ranking import edge_budget, rank_matrix, top_live
from hap_engine.machine import memory
from hap_engine.machine.estimate import limits_within
from hap_engine.machine.memory import Limits, out_of_memory
from hap_engine.machine.workload import RUN_BATCH
from hap_engine.masked.masked_pass import MaskedModel
from hap_engine.masked.opening import open_masked
from hap_engine.masked.prompt_cache import Prepared
from hap_engine.models.shape import Shape
from hap_engine.progress import Progress
from hap_engine.runs.command import command
from hap_engine.runs.record import Run
from hap_engine.settings import VALIDATED, DiscoveryConfig, run_id
from hap_engine.tasks.pair import EncodedPair
from hap_engine.tasks.task import PromptSets
from hap_engine.transformer.load import Model, loading
from hap_engine.version import __version__
from hap_engine.workflows.ask_model import CHECKED, check_task
from hap_engine.workflows.run_prompts import make_prompts, try_prompts
from hap_engine.workflows.two_stages import Found, find_circuit, score_edges

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def discover(config: DiscoveryConfig, model: Model | None = None) -> Generator[Progress, None, Run]:
    """Run the whole method.

    Args:
        model: an opened model; loaded from ``config.model`` when None.

    Yields:
        Progress records of the phases load, prompts, score, prune, evaluate, roles.

    Raises:
        HapError: with a plain message for everything a user can cause.
    """
    try:
        return (yield from _discover(config, model))
    except (MemoryError, RuntimeError) as error:
        if not out_of_memory(error):
            raise
        failed = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
    memory.trim()  # outside the handler: the error holds the frames, and they the tensors
    torch.cuda.empty_cache()
    if torch.backends.mps.is_available():
        torch.mps.empty_cache()
    raise OutOfMemoryError(
        f"Expected room for a run on {config.device}, but its memory is full ({failed}). Give the run a "
        "limit in GB (--memory, or Advanced on the page): batches are then visited in parts. Fewer "
        "prompts help too. The next run starts afresh."
    )


def _discover(config: DiscoveryConfig, model: Model | None) -> Generator[Progress, None, Run]:
    clock = _Clock()
    task = config.find_task()
    if model is None:
        try_prompts(config)
        model = yield from loading(config.model, config.device)
    if config.start is not None and config.start.weights != model.sha256:
        raise SettingsError(
            f"Run {config.start.run} was made on other weights than those of {model.name}, so there is "
            "nothing to go on from. Name the model that the run used."
        )
    budget = edge_budget(model.graph, config.sparsity)
    masked = open_masked(model)
    yield Progress("load", 1, 1, f"Opened {model.name}: its masked pass reproduces it")
    clock.lap("load")

    sets = make_prompts(config, model.tokenizer, model.name, model.max_tokens)
    able = yield from check_task(masked, [*sets.validation, *sets.train][:CHECKED])
    yield Progress("prompts", 1, 1, able.sentence, {"check": able.to_dict()})
    limits = _limits(config, model, sets)
    scores, by_scorer, found = yield from _find(config, masked, sets, limits, clock, budget)
    masked.workspace.clear()
    memory.trim()

    circuits = _equal_size(config, masked, found, scores, by_scorer, budget)
    setting = Setting("test", f"resample ({config.to_dict()['corruption']})", config.seed)
    size = len(circuits[config.method].live)
    metrics = yield from evaluate(
        masked,
        sets.test,
        {name: circuit.live for name, circuit in circuits.items()},
        setting,
        control_size=size,
        batch_size=min(RUN_BATCH, limits.batch),
    )
    clock.lap("evaluate")
    memory.trim()

    yield Progress("roles", 0, 1, "Measuring what each head does")
    heads, found_roles, attention = describe_heads(masked, sets, scores)
    yield Progress("roles", 1, 1, "Measured the roles of the heads")
    clock.lap("roles")

    records = {
        name: _record(circuit, scores, found if name == config.method else None) for name, circuit in circuits.items()
    }
    return Run(
        id=run_id(config, model.sha256),
        created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        command=command(config, str(model.to_dict()["reference"]), model.sha256),
        versions={
            "hap_engine": __version__,
            "python": platform.python_version(),
            **{name: version(name) for name in ("torch", "transformers", "transformer_lens")},
        },
        machine={
            "device": str(model.device),
            "threads": torch.get_num_threads(),
            "processors": os.cpu_count(),
            "architecture": platform.machine(),
        },
        model=model.to_dict(),
        task={
            "name": task.name,
            "title": task.title,
            "corruption": config.to_dict()["corruption"],
            "role_names": list(task.role_names),
            "metric": task.metric,
        },
        seed=config.seed,
        settings={**config.to_dict(), "kept_share": found.share(config), "target_edges": budget},
        graph=model.graph,
        circuits=records,
        metrics=metrics,
        seconds=clock.seconds(),
        prompts={
            split: [_prompt(pair) for pair in getattr(sets, split)]
            # a generator makes the others again; a prompts file may be gone
            for split in (("train", "validation", "test") if config.prompts else ("train", "test"))
        },
        roles=found_roles,
        heads=heads,
        history=found.history,
        replay=found.replay(),
        attention=attention,
    )


def _find(
    config: DiscoveryConfig, masked: MaskedModel, sets: PromptSets, limits: Limits, clock: _Clock, budget: int
) -> Generator[Progress, None, tuple[Scores, Scores, Found]]:
    """Score and prune. What is kept of the prompts, the most of a run's memory, is gone when this ends."""
    fast = masked.with_dtype(DTYPES[config.dtype])
    training = yield from Prepared(fast, sets.train, limits).run()
    validation = yield from Prepared(fast, sets.validation[:VALIDATED], limits).run()
    clock.lap("prompts")

    scores, by_scorer = yield from score_edges(config, masked, training)
    clock.lap("score")

    found = yield from find_circuit(config, training, validation, scores, by_scorer, budget)
    clock.lap("prune")
    return scores, by_scorer, found


def _limits(config: DiscoveryConfig, model: Model, sets: PromptSets) -> Limits:
    """What the run may hold at once. Raises SettingsError if one prompt is already too much."""
    shape = Shape.of(model.hf_model.config.to_dict())
    if config.memory is None or shape is None:
        return Limits()
    longest = max(len(pair.clean_ids) for pair in (*sets.train, *sets.validation, *sets.test))
    return limits_within(config, shape, longest)


def _equal_size(
    config: DiscoveryConfig, masked: MaskedModel, found: Found, scores: Scores, by_scorer: Scores, budget: int
) -> dict[str, Circuit]:
    """The found circuit and, at the same number of live edges, those of the scorers alone."""
    live = max(1, len(found.circuit.live))
    circuits = {config.method: found.circuit}
    if config.method != "eap":
        circuits["eap"] = top_live(masked.graph, scores, live)
        if config.method == "hap" and config.scorer != "eap":
            circuits[config.scorer] = top_live(masked.graph, by_scorer, live)
    return circuits


def _record(circuit: Circuit, scores: Scores, found: Found | None) -> CircuitRecord:
    live = circuit.live
    ranks = rank_matrix(circuit.graph, scores)
    values = {"scores": scores[live.kept], "ranks": ranks[live.kept].astype(float)}
    if found is not None and found.candidates is not None and found.log_alpha is not None:
        gates = np.full(live.kept.shape, np.nan)
        gates[found.candidates.kept] = found.log_alpha
        values["gates"] = gates[live.kept]
    return CircuitRecord(live, len(circuit), values)


def _prompt(pair: EncodedPair) -> dict[str, Any]:
    return {**pair.pair.to_dict(), "roles": dict(pair.roles)}


class _Clock:
    """Seconds per phase."""

    def __init__(self) -> None:
        self._start = self._last = time.perf_counter()
        self._laps: dict[str, float] = {}

    def lap(self, name: str) -> None:
        now = time.perf_counter()
        self._laps[name], self._last = round(now - self._last, 3), now

    def seconds(self) -> dict[str, float]:
        return {**self._laps, "total": round(time.perf_counter() - self._start, 3)}
