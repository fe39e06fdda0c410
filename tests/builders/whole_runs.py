"""A synthetic run whose file has every section, so that what reads any of it has something to read."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Any

import numpy as np

from hap_engine.graph.graph import Graph, Span
from hap_engine.runs.record import Run
from hap_engine.settings import DiscoveryConfig
from tests.builders.sized_runs import sized_run

SAME = {"n": 20, "first_only": 3, "second_only": 1, "p": 0.6}


def statistics(**changes: Any) -> dict[str, Any]:
    """A whole ``statistics`` section."""
    yes = {"n": 15, "share": 0.9, "interval": [0.7, 0.98]}
    no = {"n": 5, "share": 0.2, "interval": [0.03, 0.6]}
    split = {"right": yes, "wrong": no}
    test = {"n": 20, "mean": -0.5, "interval": [-0.7, -0.3], "p": 0.0004}
    return {
        "version": 1,
        "n_prompts": 20,
        "n_prompts_many": 10,
        "split": "test",
        "ablation": "resample (abc)",
        "seed": 0,
        "main": "hap",
        "agreement": {"hap": {"top1": split, "accuracy": split}},
        "complement": {"hap": {"kl": 3.0, "logit_diff": 0.2, "faithfulness": 0.04}},
        "comparisons": {
            "eap": {
                "kl": test,
                "logit_gap": test,
                "exact_match": SAME,
                "accuracy": SAME,
                "heads": {"n": 4, "first_only": 2, "second_only": 0, "p": 0.5, "roles": True},
            }
        },
        "completeness": {
            "sets": [
                {
                    "name": "s_inhibition",
                    "nodes": ["a1.h1"],
                    "circuit": 0.1,
                    "model": 2.0,
                    "gap": 0.4,
                    "interval": None,
                },
                {"name": "random half 1", "nodes": ["m1"], "circuit": 2.0, "model": 2.0, "gap": 0.0, "interval": None},
            ]
        },
        "minimality": {
            "nodes": [{"node": "a1.h1", "effect": 0.6, "given": []}, {"node": "m1", "effect": 0.001, "given": []}],
            "needed": 1,
            "threshold": 0.01,
        },
        "curves": {
            name: {
                "shares": [0.1, 1.0],
                "faithfulness": [0.5, 1.0],
                "kl": [1.0, 0.0],
                "n_live": [5, 50],
                "cpr": cpr,
                "cmd": 1 - cpr,
            }
            for name, cpr in (("eap", 0.7), ("hap", 0.9))
        },
        "ablations": {
            kind: {name: {"ablation": kind, "n_prompts": 10, "kl": kl, "logit_diff": 1.0} for name, kl in row}
            for kind, row in {"resample": (("eap", 2.0), ("hap", 1.0)), "zero": (("eap", 1.0), ("hap", 2.0))}.items()
        },
        "missed": {
            "n_dropped": 100,
            "all": 0.05,
            "confidence": 0.95,
            "subsets": [
                {
                    "share": 0.1,
                    "n_subsets": 20,
                    "mean": 0.01,
                    "interval": [0.0, 0.02],
                    "max": 0.04,
                    "exceeded_at_most": 0.14,
                    "seen": 0.88,
                }
            ],
        },
    } | changes


STABILITY: dict[str, Any] = {
    "version": 1,
    "seeds": [0, 1],
    "edges": [1.0] * 60,
    "always": 60,
    "ever": 90,
    "jaccard": 0.5,
    "heads": {"a1.h1": 1.0, "a2.h2": 0.5},
}


# Where an edge may act: the names see each other, since either may come first, and nothing differs before them.
SPANS = (
    Span("start", (0,), differs=False),
    Span("IO", (0, 1, 2)),
    Span("S1", (0, 1, 2)),
    Span("END", (0, 1, 2, 3), differs=False),
)


def positional_run(**changes: Any) -> Run:
    """As `whole_run`, of edges that act at spans, in a model whose heads act on each other."""
    run = whole_run(Graph(2, 4, 2, coupled=((0, 1, 2, 3),) * 8, spans=SPANS), id="positional")
    prompts = {split: [row | {"spans": [0, 1, 2, 3]} for row in rows] for split, rows in run.prompts.items()}
    measured = {
        "between_spans": np.tril(np.full((4, 4), 0.25)).tolist(),
        "effects_at_spans": {span.name: 0.1 + at for at, span in enumerate(SPANS)},
    }
    heads = {head: {**facts, **measured} for head, facts in run.heads.items()}
    settings = {**run.settings, "positions": "roles"}
    return replace(run, **{"prompts": prompts, "heads": heads, "settings": settings} | changes)


def whole_run(graph: Graph | None = None, **changes: Any) -> Run:
    """A small run with every section that a file may have; all its numbers are made up."""
    run = sized_run(graph or Graph(2, 4, 2), edges=30)
    run = replace(run, circuits={**run.circuits, "rival": run.circuits["eap"]})
    run = replace(run, metrics={**run.metrics, "rival": run.metrics["eap"]})
    config = asdict(DiscoveryConfig(sparsity=run.sparsity))
    settings = {key: config[key] for key in ("method", "sparsity", "scorer", "bos", "dtype", "pruning", "sizes")}
    pair = {"clean": "When Ann and Bob met, Bob saw", "corrupt": "When Ann and Bob met, Tim saw"}
    roles = {"S2": 2, "IO": 1, "END": 3}
    prompt = {**pair, "answer": " Ann", "distractor": " Bob", "answer_ids": [1], "distractor_ids": [2], "roles": roles}
    tokens = ["<s>", "Ann", "Bob", "saw"]
    pattern = np.tril(np.full((4, 4), 0.25)).tolist()
    heads = {head: {"clean": pattern, "corrupt": pattern} for head in run.graph.heads[:3]}
    each = {key: [0.5, 0.25] for key in ("kl", "logit_diff", "top1", "exact_match")}
    row = {"n_edges": 30, "interval": {"kl": [0.4, 0.6]}, "train_kl": 0.1, "n_train": 8, "per_prompt": each}
    looks = {"END->S2": 0.6, "S2->IO": 0.3}
    facts = {head: {**known, "direct_effect": 0.1, "attention": looks} for head, known in run.heads.items()}
    circuit = run.circuits[run.main].circuit
    names = circuit.names()
    answers = {"base": [0.9, 0.8], "off": {run.graph.heads[0]: [0.1, 0.2]}, "on": {run.graph.heads[1]: [0.9, 0.8]}}
    words = {"promotes": {" Ann": 0.3}, "holds": {" Bob": 0.2}}
    distance = {"kl": 0.5, "deviation": 0.1}
    own = {"edges": np.flatnonzero(circuit.kept)[:9].tolist(), "cluster": 0, "own": distance, "shared": distance}
    size = {"size": 3, "edges": [1.0] * 3, "heads": {"a1.h1": 1.0}, "jaccard": {"hap": 0.5, "eap": 0.4}}
    whole = {
        "model": {
            **run.model,
            "reference": "hap-mini",
            "architecture": "LlamaForCausalLM",
            "n_parameters": 10**6,
            "sha256": "0" * 64,
            "ways": {"closed": 2},
        },
        "task": {**run.task, "corruption": "abc", "role_names": ["IO", "S2", "END"]},
        "versions": {"python": "3.12", "torch": "2.9"},
        "machine": {"processor": "none", "threads": 1},
        "settings": settings,
        "metrics": {name: known | row for name, known in run.metrics.items()},
        "seconds": {"load": 0.5, "total": 1.0},
        "prompts": {"train": [prompt], "test": [prompt, prompt]},
        "roles": run.roles | {"thresholds": {"name_mover": 0.1}, "published": {run.graph.heads[0]: "name_mover"}},
        "heads": facts,
        "history": [{**step, "expected": 30.5, "undecided": 3.0, "seconds": 0.1} for step in run.history],
        "replay": {"edges": [list(pair) for pair in names], "last_open": list(range(len(names)))},
        "attention": [{"tokens": {"clean": tokens, "corrupt": tokens}, "roles": roles, "heads": heads}] * 2,
        "statistics": statistics(),
        "stability": STABILITY | {"edges": [1.0] * 30, "at": [size, size], "resamples": 4, "steps": 20},
        "rival": {
            "version": 1,
            "price": 0.5,
            "steps": 20,
            "n_prompts": 8,
            "tried": [{"price": 0.0, "kl": 0.4, "shared": 30}, {"price": 0.5, "kl": 0.5, "shared": 9}],
        },
        "prompt_circuits": {
            "version": 1,
            "split": "test",
            "steps": 20,
            "size": 9,
            "silhouette": 0.4,
            "prompts": [own, own | {"cluster": 1}],
        },
        "cuts": {
            "version": 1,
            "n_prompts": 2,
            "circuits": {"hap": answers, "eap": answers},
            "promoted": {run.graph.heads[0]: [words, words]},
        },
        "notes": {
            "version": 1,
            "heads": {run.graph.heads[0]: "why?"},
            "groups": {"names": [run.graph.heads[0], run.graph.heads[1]]},
        },
    }
    return replace(run, **whole | changes)
