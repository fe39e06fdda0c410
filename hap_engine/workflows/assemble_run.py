"""Put together what a discovery found: the record that is shown, stored and exported."""

from __future__ import annotations

import datetime
import os
import platform
from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

import numpy as np
import torch

from hap_engine.attribution.scorers import Scores
from hap_engine.explain.head_facts import HeadFacts
from hap_engine.findings import CircuitRecord
from hap_engine.graph.circuit import Circuit
from hap_engine.graph.ranking import edge_budget, rank_matrix
from hap_engine.masked.masked_pass import MaskedModel
from hap_engine.runs.command import command
from hap_engine.runs.record import Run
from hap_engine.settings import DiscoveryConfig, kept_share, run_id
from hap_engine.tasks.pair import EncodedPair
from hap_engine.tasks.task import SPLITS, PromptSets
from hap_engine.version import __version__
from hap_engine.workflows.two_stages import SearchResult


def assemble(
    config: DiscoveryConfig,
    masked: MaskedModel,
    sets: PromptSets,
    scores: Scores,
    search: SearchResult,
    circuits: Mapping[str, Circuit],
    metrics: Mapping[str, Mapping[str, Any]],
    sizes: Mapping[str, Any],
    facts: HeadFacts,
    seconds: Mapping[str, float],
) -> Run:
    """The run file's content, from what each stage gave; `scores` are plain EAP's."""
    model, graph = masked.model, masked.graph
    plain, task, settings = model.to_dict(), config.find_task(), config.to_dict()
    return Run(
        id=run_id(config, model.identity),
        created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        command=command(config, str(plain["reference"]), model.identity),
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
        model=plain,
        task={
            "name": task.name,
            "title": task.title,
            "corruption": settings["corruption"],
            "role_names": list(task.role_names),
            "metric": task.metric,
        },
        seed=config.seed,
        settings={
            **settings,
            "sizes": {split: len(getattr(sets, split)) for split in SPLITS},  # a data set may have fewer than asked for
            "kept_share": _kept_share(config, search.candidates),
            "target_edges": edge_budget(graph, config.sparsity),
        },
        graph=graph,
        circuits={
            name: _record(circuit, scores, search if name == config.method else None)
            for name, circuit in circuits.items()
        },
        metrics=metrics,
        sizes=sizes,
        seconds=seconds,
        prompts={
            split: [_prompt(pair) for pair in getattr(sets, split)]
            # a generator makes the others again; a prompts file may be gone
            for split in (("train", "validation", "test") if config.prompts else ("train", "test"))
        },
        roles=facts.roles,
        heads=facts.heads,
        history=search.history,
        replay=search.replay(),
        attention=facts.attention,
    )


def _kept_share(config: DiscoveryConfig, candidates: Circuit | None) -> float:
    """Share of all edges that was left to Edge Pruning."""
    if config.keep_level is None or candidates is None:
        return kept_share(config)
    return len(candidates) / candidates.graph.n_edges


def _record(circuit: Circuit, scores: Scores, search: SearchResult | None) -> CircuitRecord:
    live = circuit.live
    ranks = rank_matrix(circuit.graph, scores)
    values = {"scores": scores[live.kept], "ranks": ranks[live.kept].astype(float)}
    if search is not None and search.candidates is not None and search.log_alpha is not None:
        gates = np.full(live.kept.shape, np.nan)
        gates[search.candidates.kept] = search.log_alpha
        values["gates"] = gates[live.kept]
    return CircuitRecord(live, len(circuit), values)


def _prompt(pair: EncodedPair) -> dict[str, Any]:
    spans = {"spans": list(pair.spans)} if pair.spans else {}
    return {**pair.pair.to_dict(), "roles": dict(pair.roles), **spans}
