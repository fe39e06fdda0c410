"""Open a finished run again: test its circuits anew, and add what takes longer than a discovery should.

A run file holds its prompts as text, so with its model everything can be measured again:
`reevaluate` repeats the metrics (under another ablation, if asked), `examine` adds ``statistics``
(`full_tests.py`), `with_stability` adds ``stability`` from the runs of other seeds.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from hap_engine.attribution.scorers import score
from hap_engine.errors import SettingsError
from hap_engine.evaluation import curves
from hap_engine.evaluation.evaluate import Setting, evaluate
from hap_engine.evaluation.full_tests import PROMPTS, Subject, scrutinise, stability
from hap_engine.evaluation.stored_prompts import stored_prompts
from hap_engine.graph.circuit import Circuit
from hap_engine.graph.edge_order import EdgeOrder
from hap_engine.masked.ablation import ABLATIONS
from hap_engine.masked.masked_pass import MaskedModel
from hap_engine.masked.opening import is_model_of
from hap_engine.masked.prompt_cache import Prepared
from hap_engine.progress import Progress
from hap_engine.runs.record import Run
from hap_engine.runs.unfinished import NOWHERE, Place
from hap_engine.words import say


def reevaluate(
    masked: MaskedModel,
    run: Run,
    ablation: str = "resample",
    prompts: int | None = None,
    bos: str | None = None,
    place: Place = NOWHERE,
) -> Generator[Progress, None, dict[str, dict[str, Any]]]:
    """The run's ``metrics``, measured again on its test prompts (the first `prompts` of them).

    Args:
        ablation: what cut edges carry: ``resample``, ``mean`` or ``zero`` (`ablation.py`).
        bos: whether prompts begin with the beginning-of-text token, as in `DiscoveryConfig`; None: as in the run.

    Raises:
        UnknownNameError: for another ablation or `bos`.
        SettingsError: if the run has no test prompts or was made on another model.
    """
    masked, pairs = stored_prompts(masked, run, "test", prompts, bos)
    circuits = {name: record.circuit for name, record in run.circuits.items()}
    size = len(circuits[run.main])
    return (yield from evaluate(masked, pairs, circuits, _setting(run, ablation), control_size=size, place=place))


def examine(
    masked: MaskedModel, run: Run, *, prompts: int = PROMPTS, place: Place = NOWHERE
) -> Generator[Progress, None, Run]:
    """The run with its ``statistics``.

    Args:
        prompts: test prompts for the parts that measure many circuits.

    Raises:
        SettingsError: if the run lacks prompts, was made on another model, or corruption does not
            move its metric.
    """
    if prompts < 1:
        raise SettingsError(f"Expected at least 1 prompt for the statistics, got {prompts}.")
    masked, pairs = stored_prompts(masked, run, "test")
    if not is_model_of(masked.model, run):
        raise SettingsError(say("workflows.other_model", name=masked.model.name))
    by_eap = yield from _eap_order(masked, run, place.at("score"))
    orders = {"eap": by_eap}
    filtered = None
    if run.main in run.orders:
        orders[run.main] = run.orders[run.main].then(by_eap)
    elif run.replay.get("edges"):
        orders[run.main] = curves.by_closing(run.replay["edges"], run.replay["last_open"], by_eap)
    if run.replay.get("edges"):
        filtered = Circuit.from_names(run.graph, map(tuple, run.replay["edges"]))
        filtered = filtered | run.circuits[run.main].circuit
    subject = Subject(
        circuits={name: record.circuit for name, record in run.circuits.items()},
        main=run.main,
        roles={head: facts["role"] for head, facts in run.roles.get("heads", {}).items()},
        orders=orders,
        filtered=filtered if run.main == "hap" else None,
    )
    at = place.at("tests")
    statistics = yield from scrutinise(masked, pairs, subject, _setting(run), prompts=prompts, place=at)
    ablations = {}
    for kind in () if masked.graph.positional else ABLATIONS:
        rows = yield from reevaluate(masked, run, kind, prompts, place=place.at(kind))
        ablations[kind] = {name: _without_prompts(row) for name, row in rows.items()}
    return replace(run, statistics={**statistics, "ablations": ablations})


def with_stability(runs: Sequence[Run]) -> list[Run]:
    """The runs, each with the share of seeds that keep each edge of its main circuit.

    Raises:
        SettingsError: if the runs differ in more than their seed, or share one.
    """
    alike = {(run.main, repr(run.graph), run.task["name"], run.sparsity) for run in runs}
    seeds = [run.seed for run in runs]
    if len(alike) > 1 or len(set(seeds)) < len(seeds):
        raise SettingsError(say("workflows.not_alike", seeds=seeds, kinds=len(alike)))
    circuits = {run.seed: run.circuits[run.main].circuit for run in runs}
    return [replace(run, stability=stability(circuits, circuits[run.seed])) for run in runs]


def _without_prompts(row: Mapping[str, Any]) -> dict[str, Any]:
    """A metrics row without its numbers per prompt: the run's own row has them."""
    return {key: value for key, value in row.items() if key != "per_prompt"}


def _eap_order(masked: MaskedModel, run: Run, place: Place) -> Generator[Progress, None, EdgeOrder]:
    """All edges by plain EAP, scored again on the run's training prompts."""
    training = Prepared(*stored_prompts(masked, run, "train"))
    yield from training.run()
    scores = yield from score(training, "eap", place=place)
    return EdgeOrder.by_score(run.graph, scores, "this ranking")


def _setting(run: Run, ablation: str = "resample") -> Setting:
    return Setting("test", ablation, str(run.task.get("corruption", "?")), run.seed)
