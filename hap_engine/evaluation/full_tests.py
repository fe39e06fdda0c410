"""A run's circuits put to the test: everything that ``evaluate --full`` adds to a run.

Agreement split by right and wrong, the complement, paired tests between circuits, completeness,
minimality, faithfulness curves with CPR and CMD, and the bound on what the filter missed. Each part is
a pure function of per-prompt outcomes in its own file; here they are collected so that all circuits
are measured in one pass over the prompts.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from hap_engine.errors import SettingsError
from hap_engine.evaluation import curves, filter_bound, knockouts
from hap_engine.evaluation.agreement import agreement, compare
from hap_engine.evaluation.evaluate import Setting
from hap_engine.evaluation.measure import PER_PROMPT, Outcome, measure
from hap_engine.evaluation.metrics import faithfulness
from hap_engine.evaluation.statistics import bootstrap_interval, edge_stability, jaccard, mcnemar
from hap_engine.graph.circuit import Circuit, empty_circuit, full_circuit
from hap_engine.masked.masked_pass import MaskedModel
from hap_engine.progress import Progress
from hap_engine.runs.schema import ADDED_VERSION
from hap_engine.tasks.pair import EncodedPair

PROMPTS = 64  # for the parts that measure a hundred circuits; standard errors twice those of 256
SMALLEST_SPAN = 1e-3  # logits; below it shares of the task are rounding noise

Order = Sequence[tuple[int, int]]


@dataclass(frozen=True)
class Subject:
    """What is put to the test.

    Attributes:
        circuits: live circuits by name.
        main: the one that the run set out to find.
        roles: role of each head, as far as measured.
        orders: rankings of all edges for the curves, by name.
        filtered: the edges that the filter left to pruning; None where there was no filter.
    """

    circuits: Mapping[str, Circuit]
    main: str
    roles: Mapping[str, str]
    orders: Mapping[str, Order]
    filtered: Circuit | None = None


def scrutinise(
    masked: MaskedModel, pairs: Sequence[EncodedPair], subject: Subject, setting: Setting, *, prompts: int = PROMPTS
) -> Generator[Progress, None, dict[str, Any]]:
    """The run file's ``statistics``.

    Args:
        pairs: held-out prompts; the parts that measure many circuits use the first `prompts`.

    Raises:
        SettingsError: if corruption does not move the logit difference: then no share is defined.
    """
    graph = masked.graph
    ends = {"empty": empty_circuit(graph)}
    complements = {f"not {name}": (full_circuit(graph) - circuit).live for name, circuit in subject.circuits.items()}
    outcomes = yield from measure(masked, pairs, {**ends, **subject.circuits, **complements})
    full, empty = outcomes["full"], outcomes["empty"]
    _span(full, empty)
    few = pairs[:prompts]
    parts = yield from _many(masked, few, subject, setting.seed)
    others = [name for name in subject.circuits if name != subject.main]
    main = outcomes[subject.main]
    return {
        "version": ADDED_VERSION,
        "n_prompts": len(pairs),
        "n_prompts_many": len(few),
        "split": setting.split,
        "ablation": setting.ablation,
        "seed": setting.seed,
        "main": subject.main,
        "agreement": {name: agreement(outcomes[name], full) for name in subject.circuits},
        "complement": {name: _means(outcomes[f"not {name}"], full, empty, setting.seed) for name in subject.circuits},
        "comparisons": {
            name: {**compare(main, outcomes[name], full, setting.seed), "heads": kept_heads(subject, name)}
            for name in others
        },
        **parts,
    }


def kept_heads(subject: Subject, other: str) -> dict[str, Any]:
    """McNemar over heads: does `main` keep heads that `other` misses more often than the reverse?

    The heads are those with a measured role, or, where none was measured, those that either keeps.
    """
    ours, theirs = (subject.circuits[name].heads for name in (subject.main, other))
    heads = sorted(subject.roles) or sorted(ours | theirs)
    test = mcnemar([head in ours for head in heads], [head in theirs for head in heads])
    return {**test.to_dict(), "roles": bool(subject.roles)}


def stability(circuits: Mapping[int, Circuit], main: int) -> dict[str, Any]:
    """The run file's ``stability``: how many seeds keep each edge of the circuit of seed `main`.

    Raises:
        SettingsError: for fewer than two seeds, or circuits of different models.
    """
    shares = edge_stability(list(circuits.values()))
    seeds = sorted(circuits)
    pairs = [(a, b) for a in seeds for b in seeds if a < b]
    live = circuits[main].live
    heads = sorted(set().union(*(circuit.heads for circuit in circuits.values())))
    return {
        "version": ADDED_VERSION,
        "seeds": seeds,
        "edges": [round(float(share), 4) for share in shares[live.kept]],
        "always": int((shares == 1).sum()),
        "ever": int((shares > 0).sum()),
        "jaccard": float(np.mean([jaccard(circuits[a], circuits[b]) for a, b in pairs])),
        "heads": {head: round(float(np.mean([head in c.heads for c in circuits.values()])), 4) for head in heads},
    }


def _many(
    masked: MaskedModel, pairs: Sequence[EncodedPair], subject: Subject, seed: int
) -> Generator[Progress, None, dict[str, Any]]:
    """The parts that measure many circuits, in one pass over fewer prompts."""
    circuit = subject.circuits[subject.main]
    sets = knockouts.knock_outs(circuit, subject.roles, seed)
    tried = knockouts.minimality_sets(circuit, subject.roles)
    grids = {name: curves.grid_circuits(masked.graph, order) for name, order in subject.orders.items()}
    cuts = {} if subject.filtered is None else filter_bound.subsets(subject.filtered, seed)
    wanted: dict[str, Circuit] = {
        "empty": empty_circuit(masked.graph),
        **knockouts.completeness_circuits(circuit, sets),
        **knockouts.minimality_circuits(circuit, tried),
        **{f"curve {name} {k}": c for name, grid in grids.items() for k, c in grid.items()},
        **{f"missed {name}": c for name, c in cuts.items()},
    }
    outcomes = yield from measure(masked, pairs, wanted)
    logit_diff = {name: outcome["logit_diff"] for name, outcome in outcomes.items()}
    kl = {name: outcome["kl"] for name, outcome in outcomes.items()}
    span = _span(outcomes["full"], outcomes["empty"])
    parts: dict[str, Any] = {
        "completeness": knockouts.completeness(sets, logit_diff, span, seed),
        "minimality": knockouts.minimality(tried, logit_diff, span),
        "curves": {
            name: curves.curve(
                grid,
                {k: float(logit_diff[f"curve {name} {k}"].mean()) for k in grid},
                {k: float(kl[f"curve {name} {k}"].mean()) for k in grid},
                float(logit_diff["full"].mean()),
                float(logit_diff["empty"].mean()),
            ).to_dict()
            for name, grid in grids.items()
        },
    }
    if subject.filtered is not None:
        of_cuts = {name: kl[f"missed {name}"] for name in cuts}
        parts["missed"] = filter_bound.bound(subject.filtered, of_cuts, seed)
    return parts


def _span(full: Outcome, empty: Outcome) -> float:
    span = float(full["logit_diff"].mean() - empty["logit_diff"].mean())
    if abs(span) < SMALLEST_SPAN:
        raise SettingsError(
            "Expected a logit difference that corruption changes, got "
            f"{full['logit_diff'].mean():.4f} for the full model and {empty['logit_diff'].mean():.4f} "
            "with everything corrupted: no share of the task can be computed. "
            "Choose another corruption or another pair of answer and distractor."
        )
    return span


def _means(outcome: Outcome, full: Outcome, empty: Outcome, seed: int) -> dict[str, Any]:
    means = {key: float(outcome[key].mean()) for key in PER_PROMPT}
    ends = (float(side["logit_diff"].mean()) for side in (full, empty))
    return {
        **means,
        "faithfulness": faithfulness(means["logit_diff"], *ends),
        "interval": {"kl": bootstrap_interval(outcome["kl"], seed)},
    }
