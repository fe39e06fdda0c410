"""A run's circuits put to the test: everything that ``evaluate --full`` adds to a run.

Agreement split by right and wrong, the complement, paired tests between circuits, completeness,
minimality, faithfulness curves with CPR and CMD, and the bound on what the filter missed. Each part is
a pure function of per-prompt outcomes; here they are collected so that all circuits
are measured in one pass over the prompts.
"""

from __future__ import annotations

from collections.abc import Generator, Hashable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from hap_engine.errors import SettingsError
from hap_engine.evaluation import curves, filter_bound, knockouts
from hap_engine.evaluation.evaluate import Setting
from hap_engine.evaluation.measure import PER_PROMPT, Outcome, measure
from hap_engine.evaluation.metrics import faithfulness
from hap_engine.evaluation.statistics import (
    Values,
    bootstrap_interval,
    edge_stability,
    mcnemar,
    paired_difference,
    share_interval,
)
from hap_engine.graph.circuit import Circuit, empty_circuit, full_circuit
from hap_engine.graph.edge_order import EdgeOrder
from hap_engine.graph.overlap import mean_jaccard
from hap_engine.masked.masked_pass import MaskedModel
from hap_engine.progress import Progress
from hap_engine.runs.schema import ADDED_VERSION
from hap_engine.runs.unfinished import NOWHERE, Place
from hap_engine.tasks.pair import EncodedPair
from hap_engine.words import say

PROMPTS = 64  # for the parts that measure a hundred circuits; standard errors twice those of 256
SMALLEST_SPAN = 1e-3  # logits; below it shares of the task are rounding noise


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
    orders: Mapping[str, EdgeOrder]
    filtered: Circuit | None = None


def scrutinise(
    masked: MaskedModel,
    pairs: Sequence[EncodedPair],
    subject: Subject,
    setting: Setting,
    *,
    prompts: int = PROMPTS,
    place: Place = NOWHERE,
) -> Generator[Progress, None, dict[str, Any]]:
    """The run file's ``statistics``.

    Args:
        pairs: held-out prompts; the parts that measure many circuits use the first `prompts`.

    Raises:
        SettingsError: if corruption does not move the logit difference: then no share is defined.
    """
    model = full_circuit(masked.graph)
    complements = {name: (model - circuit).live for name, circuit in subject.circuits.items()}
    parts = {"circuits": subject.circuits, "complements": complements}
    measured = yield from _measure_parts(masked, pairs, parts, place.at("all prompts"))
    full, outcomes = measured.full, measured.parts["circuits"]
    few = pairs[:prompts]
    many = yield from _many(masked, few, subject, setting.seed, place.at("few prompts"))
    return {
        "version": ADDED_VERSION,
        "n_prompts": len(pairs),
        "n_prompts_many": len(few),
        "split": setting.split,
        "ablation": setting.ablation,
        "seed": setting.seed,
        "main": subject.main,
        "agreement": {name: agreement(outcomes[name], full) for name in subject.circuits},
        "complement": {
            name: _means(outcome, measured, setting.seed) for name, outcome in measured.parts["complements"].items()
        },
        "comparisons": {
            name: {
                **compare(outcomes[subject.main], outcomes[name], full, setting.seed),
                "heads": kept_heads(subject, name),
            }
            for name in subject.circuits
            if name != subject.main
        },
        **many,
    }


def agreement(circuit: Mapping[str, Values], full: Mapping[str, Values]) -> dict[str, Any]:
    """Does a circuit make the model's mistakes too? From per-prompt outcomes (`evaluation.measure`).

    A circuit can be faithful on average because it solves the task, not because it works as the model does: published
    circuits keep nearly all right answers and few of the wrong ones. So agreement with the full model is reported for
    the prompts that the model gets right and for those that it gets wrong, by two definitions:

    * ``top1``: the model is right when the answer is its most likely token; a circuit agrees when its most likely
      token is the model's;
    * ``accuracy``: the model is right when the answer beats the distractor; a circuit agrees when it takes the same
      side.

    A part without prompts has no share (null); shares carry their 95 % Wilson interval.
    """
    same = {"top1": circuit["exact_match"] > 0.5, "accuracy": circuit["accuracy"] == full["accuracy"]}
    return {
        key: {"right": _share(agrees[full[key] > 0.5]), "wrong": _share(agrees[full[key] <= 0.5])}
        for key, agrees in same.items()
    }


def compare(
    first: Mapping[str, Values], second: Mapping[str, Values], full: Mapping[str, Values], seed: int
) -> dict[str, Any]:
    """Paired tests of two circuits on the same prompts, first minus second.

    ``kl`` and ``logit_gap`` (absolute distance from the model's logit difference): negative when the
    first is closer to the model. ``exact_match`` and ``accuracy``: McNemar's exact test.
    """
    ours, theirs = (np.abs(side["logit_diff"] - full["logit_diff"]) for side in (first, second))
    return {
        "kl": asdict(paired_difference(first["kl"], second["kl"], seed)),
        "logit_gap": asdict(paired_difference(ours, theirs, seed)),
        **{key: asdict(mcnemar(first[key] > 0.5, second[key] > 0.5)) for key in ("exact_match", "accuracy")},
    }


def _share(agrees: np.ndarray) -> dict[str, Any]:
    count = len(agrees)
    return {
        "n": count,
        "share": float(agrees.mean()) if count else None,
        "interval": share_interval(int(agrees.sum()), count),
    }


def kept_heads(subject: Subject, other: str) -> dict[str, Any]:
    """McNemar over heads: does `main` keep heads that `other` misses more often than the reverse?

    The heads are those with a measured role, or, where none was measured, those that either keeps.
    """
    ours, theirs = (subject.circuits[name].heads for name in (subject.main, other))
    heads = sorted(subject.roles) or sorted(ours | theirs)
    test = mcnemar([head in ours for head in heads], [head in theirs for head in heads])
    return {**asdict(test), "roles": bool(subject.roles)}


def stability(circuits: Mapping[int, Circuit], of: Circuit) -> dict[str, Any]:
    """The run file's ``stability``: how many seeds keep each live edge of a circuit.

    Args:
        circuits: one of each seed.

    Raises:
        SettingsError: for fewer than two seeds, or circuits of different models.
    """
    shares = edge_stability(list(circuits.values()))
    heads = sorted(set().union(*(circuit.heads for circuit in circuits.values())))
    return {
        "version": ADDED_VERSION,
        "seeds": sorted(circuits),
        "edges": [round(float(share), 4) for share in shares[of.live.kept]],
        "always": int((shares == 1).sum()),
        "ever": int((shares > 0).sum()),
        "jaccard": mean_jaccard([circuit.live for circuit in circuits.values()]),
        "heads": {head: round(float(np.mean([head in c.heads for c in circuits.values()])), 4) for head in heads},
    }


def resampled(
    circuits: Mapping[int, Circuit],
    own: int,
    orders: Mapping[str, Sequence[EdgeOrder]],
    main: str,
    seeds: Sequence[int],
) -> dict[str, Any]:
    """The run file's ``stability`` over samples of the prompts: that of the run's own size, and ``at`` each size.

    Args:
        circuits: the run's, by size.
        orders: by method, one order of the edges for each of the `seeds`.
    """
    found = {}
    for size in sorted(circuits, reverse=True):
        kept = {name: [order.circuit(size) for order in several] for name, several in orders.items()}
        here = stability(dict(zip(seeds, kept[main], strict=True)), circuits[size])
        jaccard = {name: mean_jaccard(several) for name, several in kept.items()}
        found[size] = here | {"size": size, "jaccard": jaccard}
    at = [{key: here[key] for key in ("size", "edges", "heads", "jaccard")} for here in found.values()]
    return {**found[own], "jaccard": found[own]["jaccard"][main], "resamples": len(seeds), "at": at}


def _many(
    masked: MaskedModel, pairs: Sequence[EncodedPair], subject: Subject, seed: int, place: Place
) -> Generator[Progress, None, dict[str, Any]]:
    """The parts that measure many circuits, in one pass over fewer prompts."""
    circuit = subject.circuits[subject.main]
    sets = knockouts.knock_outs(circuit, subject.roles, seed)
    tried = knockouts.minimality_sets(circuit, subject.roles)
    grids = {name: curves.grid_circuits(order) for name, order in subject.orders.items()}
    cuts = {} if subject.filtered is None else filter_bound.subsets(subject.filtered, seed)
    measured = yield from _measure_parts(
        masked,
        pairs,
        {
            "completeness": knockouts.completeness_circuits(circuit, sets),
            "minimality": knockouts.minimality_circuits(circuit, tried),
            "missed": cuts,
            **{("curve", name): grid for name, grid in grids.items()},
        },
        place,
    )
    span = measured.top - measured.bottom
    report: dict[str, Any] = {
        "completeness": knockouts.completeness(sets, measured.values("completeness", "logit_diff"), span, seed),
        "minimality": knockouts.minimality(tried, measured.values("minimality", "logit_diff"), span),
        "curves": {
            name: curves.curve(grid, measured.parts["curve", name], measured.top, measured.bottom)
            for name, grid in grids.items()
        },
    }
    if subject.filtered is not None:
        report["missed"] = filter_bound.bound(subject.filtered, measured.values("missed", "kl"), seed)
    return report


@dataclass(frozen=True, eq=False)
class _Measured:
    """Outcomes of the full model and of the circuits, part by part.

    Attributes:
        top, bottom: mean logit difference of the full model and with everything corrupted.
    """

    full: Outcome
    top: float
    bottom: float
    parts: Mapping[Any, Mapping[Any, Outcome]]

    def values(self, part: Hashable, metric: str) -> dict[Any, Values]:
        """One metric of a part's circuits."""
        return {key: outcome[metric] for key, outcome in self.parts[part].items()}


def _measure_parts(
    masked: MaskedModel, pairs: Sequence[EncodedPair], parts: Mapping[Any, Mapping[Any, Circuit]], place: Place
) -> Generator[Progress, None, _Measured]:
    """All circuits of all parts in one pass over the prompts. Raises SettingsError where corruption changes nothing."""
    every = {(part, key): circuit for part, circuits in parts.items() for key, circuit in circuits.items()}
    full, outcomes = yield from measure(masked, pairs, {None: empty_circuit(masked.graph), **every}, place=place)
    top, bottom = (float(side["logit_diff"].mean()) for side in (full, outcomes[None]))
    if abs(top - bottom) < SMALLEST_SPAN:
        raise SettingsError(say("evaluation.unmoved", top=top, bottom=bottom))
    by_part = {part: {key: outcomes[part, key] for key in circuits} for part, circuits in parts.items()}
    return _Measured(full, top, bottom, by_part)


def _means(outcome: Outcome, measured: _Measured, seed: int) -> dict[str, Any]:
    means = {key: float(outcome[key].mean()) for key in PER_PROMPT}
    return {
        **means,
        "faithfulness": faithfulness(means["logit_diff"], measured.top, measured.bottom),
        "interval": {"kl": bootstrap_interval(outcome["kl"], seed)},
    }
