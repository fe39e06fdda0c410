"""Discover a circuit: score every edge, keep a loose set, prune it, test what is left.

`discover` is one generator for the app, the terminal and the tests: it yields `Progress` records and
returns a `Run`. Stopping to iterate cancels it within one step of the work at hand.

    load model -> prompts -> can the model do it? -> EAP scores -> keep the best share -> Edge Pruning on those -> exact target
    -> remove dead edges -> EAP circuit of the same live size -> held-out evaluation -> roles

The EAP circuit grows (in EAP's own order) until it has as many live edges as the pruned one, so the
two are compared at equal size.
"""

from __future__ import annotations

import datetime
import os
import platform
import shlex
import time
from collections.abc import Generator, Sequence
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from typing import Any

import numpy as np
import torch

import hap_engine
from hap_engine import roles
from hap_engine.attribution import Scores, score
from hap_engine.circuit import (
    Circuit,
    edge_budget,
    full_circuit,
    rank_matrix,
    top_edges,
    top_live,
)
from hap_engine.errors import TaskError
from hap_engine.evaluation import Setting, evaluate
from hap_engine.models import Model, loading
from hap_engine.patching import MaskedModel
from hap_engine.prepared import Prepared
from hap_engine.progress import Progress
from hap_engine.pruning import PruningStep, cut, cut_live, prune
from hap_engine.runs import CircuitRecord, Run
from hap_engine.settings import DiscoveryConfig, kept_share, run_id
from hap_engine.task_check import CHECKED, check_task
from hap_engine.tasks import EncodedPair, PromptSets, Task

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
PREVIEW_STEPS = 5  # every so many steps a record carries the circuit as it stands
IG_PROMPTS = 64  # EAP-IG costs several passes a prompt; 64 prompts rank as well as 200
ROLE_PROMPTS = 48  # standard errors of attention are then below 0.03
SHOWN_PROMPTS = 4  # test prompts whose attention patterns are stored
SHOWN_HEADS = 40  # heads whose patterns are stored: those with a role, then the best-ranked


def discover(config: DiscoveryConfig, model: Model | None = None) -> Generator[Progress, None, Run]:
    """Run the whole method.

    Args:
        model: an opened model; loaded from ``config.model`` when None.

    Yields:
        Progress records of the phases load, prompts, score, prune, evaluate, roles.

    Raises:
        HapError: with a plain message for everything a user can cause.
    """
    clock = _Clock()
    task = config.find_task()
    if model is None:
        model = yield from loading(config.model, config.device)
    budget = edge_budget(model.graph, config.sparsity)
    masked = MaskedModel(model)
    yield Progress("load", 1, 1, f"Opened {model.name}: its masked pass reproduces it")
    clock.lap("load")

    sets = make_prompts(config, task, model)
    able = yield from check_task(masked, [*sets.validation, *sets.train][:CHECKED])
    yield Progress("prompts", 1, 1, able.sentence, {"check": able.to_dict()})
    training = Prepared(masked.with_dtype(DTYPES[config.dtype]), sets.train)
    yield from training.run()
    clock.lap("prompts")

    scores, by_scorer = yield from _score(config, training)
    clock.lap("score")

    found = yield from _find(config, training, by_scorer, scores, budget)
    clock.lap("prune")

    circuits = _equal_size(config, masked, found, scores, by_scorer, budget)
    setting = Setting("test", f"resample ({config.to_dict()['corruption']})", config.seed)
    size = len(circuits[config.method].live)
    metrics = yield from evaluate(
        masked,
        sets.test,
        {name: circuit.live for name, circuit in circuits.items()},
        setting,
        control_size=size,
    )
    clock.lap("evaluate")

    yield Progress("roles", 0, 1, "Measuring what each head does")
    heads, found_roles, attention = _describe_heads(masked, sets, scores)
    yield Progress("roles", 1, 1, "Measured the roles of the heads")
    clock.lap("roles")

    records = {
        name: _record(circuit, scores, found if name == config.method else None)
        for name, circuit in circuits.items()
    }
    return Run(
        id=run_id(config, model.sha256),
        created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        command=command(config, model),
        versions={
            "hap_engine": hap_engine.__version__,
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
        settings={**config.to_dict(), "kept_share": kept_share(config), "target_edges": budget},
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


def make_prompts(config: DiscoveryConfig, task: Task, model: Model) -> PromptSets:
    """The splits of a run. Raises TaskError if the tokenizer leaves too few prompts."""
    corruption = config.corruption or task.default_corruption
    sets = task.generate(model.tokenizer, config.sizes, config.seed, corruption)
    longest = max(
        len(p.clean_ids) for part in (sets.train, sets.validation, sets.test) for p in part
    )
    limit = model.max_tokens or longest
    if longest > limit:
        raise TaskError(
            f"The longest prompt has {longest} tokens, and {model.name} reads at most {limit} (its "
            "positions, or the window of its attention). Choose shorter prompts."
        )
    return sets


def command(config: DiscoveryConfig, model: Model) -> str:
    """The terminal command that makes the run again."""
    default = DiscoveryConfig()
    parts = [
        "python -m hap_engine discover",
        f"--model {shlex.quote(model.to_dict()['reference'])}",
    ]
    parts += [f"--task {config.task}", f"--sparsity {config.sparsity}", f"--seed {config.seed}"]
    if config.prompts:  # the run's own file holds them
        parts.append(f"--prompts-file {run_id(config, model.sha256)}.json")
    for name in ("method", "scorer", "keep", "corruption", "device", "dtype"):
        value = getattr(config, name)
        if value != getattr(default, name):
            parts.append(f"--{name} {value}")
    for name, value in asdict(config.pruning).items():
        if value != getattr(default.pruning, name):
            parts.append(f"--{name.replace('_', '-')} {value}")
    if config.sizes != default.sizes:
        sizes = config.sizes
        parts.append(f"--prompts {sizes.train},{sizes.validation},{sizes.test}")
    return " ".join(parts)


@dataclass(frozen=True, eq=False)
class _Found:
    """The circuit a method found, with what pruning saw on the way."""

    circuit: Circuit
    candidates: Circuit | None = None
    log_alpha: np.ndarray | None = None
    history: Sequence[dict[str, Any]] = ()
    last_open: np.ndarray | None = None

    def replay(self) -> dict[str, Any]:
        if self.candidates is None or self.last_open is None:
            return {}
        chosen = self.last_open > 0
        edges = [names for names, keep in zip(self.candidates.names(), chosen, strict=True) if keep]
        return {"edges": edges, "last_open": self.last_open[chosen]}


def _score(
    config: DiscoveryConfig, training: Prepared
) -> Generator[Progress, None, tuple[Scores, Scores]]:
    """Plain EAP scores, and those of the scorer that picks HAP's candidates."""
    scores = yield from score(training, "eap")
    if config.scorer == "eap" or config.method != "hap":
        return scores, scores
    fewer = Prepared(training.masked, training.pairs[:IG_PROMPTS])
    for record in fewer.run():  # part of scoring: the prompts phase is over
        yield replace(record, phase="score", message="Preparing prompts for EAP-IG")
    return scores, (yield from score(fewer, config.scorer))


def _find(
    config: DiscoveryConfig, training: Prepared, by_scorer: Scores, scores: Scores, budget: int
) -> Generator[Progress, None, _Found]:
    graph = training.masked.graph
    if config.method == "eap":
        return _Found(top_edges(graph, scores, budget))
    start: Scores | None = None
    if config.method == "ep":  # knows no scores: every edge, all gates equal
        candidates = full_circuit(graph)
    else:
        share, start = kept_share(config), by_scorer
        candidates = top_edges(graph, by_scorer, int(graph.n_edges * share + 1e-9)).live
    steps = prune(training, candidates, budget, config.pruning, seed=config.seed, scores=start)
    history: list[dict[str, Any]] = []
    last_open = np.zeros(len(candidates), dtype=int)
    while True:
        try:
            state = next(steps)
        except StopIteration as stop:
            log_alpha = stop.value
            break
        preview = state.step % PREVIEW_STEPS == 0 or state.step in (1, config.pruning.steps)
        record = _history_record(state)
        history.append(record)
        data: dict[str, Any] = dict(record)
        if preview:
            current = cut(candidates, state.log_alpha, round(state.budget))
            last_open[current.kept[candidates.kept]] = state.step
            data["circuit"] = current
        yield Progress("prune", state.step, config.pruning.steps, "Pruning edges", data)
    final = cut_live(candidates, log_alpha, budget)
    last_open[final.kept[candidates.kept]] = config.pruning.steps
    return _Found(final, candidates, log_alpha, history, last_open)


def _history_record(state: PruningStep) -> dict[str, Any]:
    return {
        "step": state.step,
        "kl": round(state.kl, 5),
        "budget": round(state.budget, 1),
        "expected": round(state.expected, 1),
        "open": state.open,
        "undecided": state.undecided,
        "seconds": round(state.seconds, 2),
    }


def _equal_size(
    config: DiscoveryConfig,
    masked: MaskedModel,
    found: _Found,
    scores: Scores,
    by_scorer: Scores,
    budget: int,
) -> dict[str, Circuit]:
    """The found circuit and, at the same number of live edges, those of the scorers alone."""
    live = max(1, len(found.circuit.live))
    circuits = {config.method: found.circuit}
    if config.method != "eap":
        circuits["eap"] = top_live(masked.graph, scores, live)
        if config.method == "hap" and config.scorer != "eap":
            circuits[config.scorer] = top_live(masked.graph, by_scorer, live)
    return circuits


def _record(circuit: Circuit, scores: Scores, found: _Found | None) -> CircuitRecord:
    live = circuit.live
    ranks = rank_matrix(circuit.graph, scores)
    values = {"scores": scores[live.kept], "ranks": ranks[live.kept].astype(float)}
    if found is not None and found.candidates is not None and found.log_alpha is not None:
        gates = np.full(live.kept.shape, np.nan)
        gates[found.candidates.kept] = found.log_alpha
        values["gates"] = gates[live.kept]
    return CircuitRecord(live, len(circuit), values)


def _describe_heads(
    masked: MaskedModel, sets: PromptSets, scores: Scores
) -> tuple[dict[str, dict[str, Any]], dict[str, Any], list[dict[str, Any]]]:
    """Evidence and EAP rank of every head, roles, and attention patterns of a few test prompts."""
    pairs = sets.validation[:ROLE_PROMPTS]
    evidence = roles.measure_heads(masked, pairs)
    heads = roles.summarise_heads(evidence)
    has_roles = all({"IO", "S1", "S1+1", "S2"} <= set(pair.roles) for pair in pairs)
    found = roles.find_roles(masked, pairs, evidence) if has_roles else {}
    for name, best in best_edges(masked, scores).items():
        heads[name] |= best
    shown = [*found.get("heads", {})]
    by_rank = sorted(heads, key=lambda head: heads[head]["eap_rank"])
    shown += [head for head in by_rank if head not in shown][: max(0, SHOWN_HEADS - len(shown))]
    return heads, found, attention_patterns(masked, sets.test[:SHOWN_PROMPTS], shown)


def best_edges(masked: MaskedModel, scores: Scores) -> dict[str, dict[str, Any]]:
    """For every head the best EAP rank among the edges that touch it, with that edge and score."""
    graph = masked.graph
    ranks = rank_matrix(graph, scores)
    ranks[ranks == 0] = graph.n_edges + 1
    found = {}
    for name in graph.heads:
        row = graph.writer_index[name]
        columns = np.flatnonzero(graph.feeds[:, row])
        touching = np.full_like(ranks, graph.n_edges + 1)
        touching[row], touching[:, columns] = ranks[row], ranks[:, columns]
        w, r = np.unravel_index(touching.argmin(), touching.shape)
        found[name] = {
            "eap_rank": int(ranks[w, r]),
            "eap_score": float(scores[w, r]),
            "eap_edge": [graph.writers[w].name, graph.readers[r].name],
        }
    return found


def attention_patterns(
    masked: MaskedModel, pairs: Sequence[EncodedPair], heads: Sequence[str]
) -> list[dict[str, Any]]:
    """Clean and corrupt attention of some heads on some prompts, with the token texts."""
    graph, shown = masked.graph, []
    for pair in pairs:
        sides: dict[str, dict[str, Any]] = {"tokens": {}, "patterns": {}}
        for side, ids in (("clean", pair.clean_ids), ("corrupt", pair.corrupt_ids)):
            tokens = torch.tensor([ids], device=masked.device)
            trace = masked.trace(tokens, torch.tensor([len(ids) - 1], device=masked.device))
            sides["tokens"][side] = [masked.model.tokenizer.decode([token]) for token in ids]
            layers = {graph.writers[graph.writer_index[head]].layer for head in heads}
            patterns = {
                layer: masked.patterns(trace, layer)[:, 0].cpu().numpy() for layer in layers
            }
            for head in heads:
                writer = graph.writers[graph.writer_index[head]]
                matrix = patterns[writer.layer][writer.head]
                sides["patterns"].setdefault(head, {})[side] = np.round(matrix, 3).tolist()
        shown.append(
            {"tokens": sides["tokens"], "roles": dict(pair.roles), "heads": sides["patterns"]}
        )
    return shown


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
