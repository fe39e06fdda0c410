"""Search the circuit of a finished run again in a few steps: how much of it is owed to the prompts and the seed?

`bootstrap` draws the training prompts anew, with repetition, as often as it is asked (Efron 1979). Each sample has its
own scores, which are means over the same prompts' scores and cost nothing more, its own candidates and its own descent
with another seed. An edge is as trustworthy as the share of samples that keep it.

`per_prompt` searches on single prompts. A circuit is learned from the very prompt that it is measured on: its numbers
say how well so many edges can do there, nothing else.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int

from hap_engine.attribution.scorers import Scores, score_each, weighted
from hap_engine.errors import SettingsError
from hap_engine.evaluation.full_tests import resampled
from hap_engine.evaluation.measure import measure
from hap_engine.evaluation.metrics import deviation
from hap_engine.evaluation.stored_prompts import stored_prompts
from hap_engine.graph.circuit import Circuit, empty_circuit
from hap_engine.graph.clusters import clusters, jaccard_distances
from hap_engine.graph.edge_order import EdgeOrder
from hap_engine.masked.masked_pass import MaskedModel
from hap_engine.masked.opening import is_model_of
from hap_engine.masked.prompt_cache import Prepared
from hap_engine.progress import Progress, mapped
from hap_engine.runs.continue_run import again
from hap_engine.runs.record import Run
from hap_engine.runs.schema import ADDED_VERSION
from hap_engine.runs.unfinished import NOWHERE, Place
from hap_engine.settings import EAP_PROMPTS, IG_PROMPTS, OWN_CIRCUITS, RESAMPLES, SEEDS, SHORT, DiscoveryConfig
from hap_engine.words import say
from hap_engine.workflows.two_stages import find_circuit, in_float32, ordered


@dataclass(frozen=True, eq=False)
class Again:
    """What a run's circuit is searched with.

    Attributes:
        config: the run's, with a short descent among as many candidates as it had.
        prepared: prompts in the precision of training; `exact`: in float32, to score edges on.
        size: live edges of the run's circuit.
    """

    config: DiscoveryConfig
    prepared: Prepared
    exact: Prepared
    size: int

    def seeded(self, number: int) -> DiscoveryConfig:
        """The same with one of the seeds after the run's own."""
        return replace(self.config, seed=(self.config.seed + number) % SEEDS)


def reopen(
    masked: MaskedModel, run: Run, steps: int, split: str = "train", first: int | None = None
) -> Generator[Progress, None, Again]:
    """The run's prompts (the first of a split), ready to be searched on again.

    Raises:
        SettingsError: if the model is another, the circuit has one edge or none, the steps are none, or the file does
            not hold the prompts and settings of the run.
    """
    size = len(run.circuits[run.main].circuit)
    if size < 2:
        raise SettingsError(say("workflows.too_small", size=size))
    config = again(run)
    pruning = replace(config.pruning, steps=steps)
    keep = run.settings.get("kept_share") or config.keep
    config = replace(config, keep=keep, keep_level=None, pruning=pruning)
    masked, pairs = stored_prompts(masked, run, split, first)
    if not is_model_of(masked.model, run):
        raise SettingsError(say("workflows.other_model", name=masked.model.name))
    prepared = yield from Prepared(masked.with_dtype(getattr(torch, config.dtype)), pairs).run()
    exact = yield from in_float32(masked, prepared)
    return Again(config, prepared, exact, size)


def search(
    config: DiscoveryConfig,
    prepared: Prepared,
    scores: Mapping[str, Scores],
    size: int,
    place: Place,
    price: Float[np.ndarray, "writer reader"] | None = None,
) -> Generator[Progress, None, EdgeOrder]:
    """All edges in the order of one search for `size` live edges; `price` as in `find_circuit`."""
    graph = prepared.masked.graph
    if before := place.found():
        return EdgeOrder(graph, before["cells"])
    found = yield from find_circuit(config, prepared, None, scores, size, price, place)
    order = EdgeOrder.by_score(graph, scores["eap"], "these prompts")
    if found.candidates is not None and found.log_alpha is not None:  # no scorer's own circuit
        order = ordered(found.candidates, found.log_alpha).then(order)
    place.conclude(cells=order.cells)
    return order


def _scores(
    found: Again, times: Int[np.ndarray, "sample prompt"], place: Place, most: int = EAP_PROMPTS
) -> Generator[Progress, None, list[dict[str, Scores]]]:
    """Scores by plain EAP and by the scorer of the candidates, for each sample of the prompts.

    Args:
        times: how often each sample has each of `found.exact`.
        most: prompts for the scorer of the candidates.
    """
    graph, tables = found.exact.masked.graph, place.found()
    if not tables:
        for name in dict.fromkeys(("eap", found.config.candidate_scorer)):
            scored = found.exact if name == "eap" else found.exact.first(most)
            each = yield from score_each(scored, name, place.at(name))
            tables[name] = np.stack([weighted(graph, each, row[: len(scored)]) for row in times])
        place.conclude(**tables)
    return [{name: table[number] for name, table in tables.items()} for number in range(len(times))]


def bootstrap(
    masked: MaskedModel, run: Run, resamples: int = RESAMPLES, steps: int = SHORT, place: Place = NOWHERE
) -> Generator[Progress, None, Run]:
    """The run with its ``stability`` over samples of its training prompts and seeds, at every size that it has.

    Raises:
        SettingsError: for fewer than two samples or prompts, or as `reopen` does.
    """
    count = len(run.prompts.get("train", ()))
    if resamples < 2 or count < 2:
        raise SettingsError(say("workflows.few_samples", resamples=resamples, prompts=count))
    found = yield from reopen(masked, run, steps)
    graph, main = run.graph, run.main
    samples = np.random.default_rng(run.seed).integers(count, size=(resamples, count))
    times = np.array([np.bincount(drawn, minlength=count) for drawn in samples])
    several = yield from _scores(found, times, place.at("scores"), IG_PROMPTS)
    orders: dict[str, list[EdgeOrder]] = {name: [] for name in ("eap", main)}
    for number, (drawn, scores) in enumerate(zip(samples.tolist(), several, strict=True)):
        orders["eap"].append(EdgeOrder.by_score(graph, scores["eap"], "a sample of the prompts"))
        if main != "eap":
            config, at = found.seeded(1 + number), place.at(f"sample {number}")
            work = search(config, found.prepared.chosen(drawn), scores, found.size, at)
            orders[main].append((yield from part_of(work, number, resamples, "Sample")))
        yield Progress("prune", number + 1, resamples, f"Sample {number + 1} of {resamples}")
    circuits = {size: run.orders[main].circuit(size) for size in run.sizes.get("grid", ()) if main in run.orders}
    circuits[found.size] = run.circuits[main].circuit
    seeds = [found.seeded(1 + number).seed for number in range(resamples)]
    return replace(run, stability={**resampled(circuits, found.size, orders, main, seeds), "steps": steps})


def part_of(
    work: Generator[Progress, None, EdgeOrder], number: int, parts: int, name: str
) -> Generator[Progress, None, EdgeOrder]:
    """One of several searches, its steps counted on from those before."""

    def shown(record: Progress) -> Progress:
        step, total = number * record.total + record.step, parts * record.total
        return Progress("prune", step, total, f"{name} {number + 1} of {parts}")

    return mapped(work, shown)


def per_prompt(
    masked: MaskedModel, run: Run, prompts: int = OWN_CIRCUITS, steps: int = SHORT, place: Place = NOWHERE
) -> Generator[Progress, None, Run]:
    """The run with its ``prompt_circuits``, of the first `prompts` of its test prompts.

    Raises:
        SettingsError: for fewer than two prompts or more than there are, or as `reopen` does.
    """
    count = min(EAP_PROMPTS, len(run.prompts.get("test", ())))
    if not 2 <= prompts <= count:
        raise SettingsError(say("workflows.no_such_prompts", prompts=prompts, count=count))
    found = yield from reopen(masked, run, steps, "test", prompts)
    several = yield from _scores(found, np.eye(prompts, dtype=int), place.at("scores"))
    circuits, rows = list[Circuit](), list[dict[str, Any]]()
    for number, scores in enumerate(several):
        at = place.at(f"prompt {number}")
        work = search(found.config, found.prepared.chosen([number]), scores, found.size, at)
        order = yield from part_of(work, number, prompts, "Prompt")
        circuits.append(order.circuit(found.size))
        rows.append((yield from _measured(found.exact, number, run, circuits[-1])))
    labels, silhouette = clusters(jaccard_distances(circuits))
    for row, circuit, label in zip(rows, circuits, labels.tolist(), strict=True):
        row |= {"edges": np.flatnonzero(circuit.kept).tolist(), "cluster": label}
    told = {"version": ADDED_VERSION, "split": "test", "steps": steps, "size": found.size, "silhouette": silhouette}
    return replace(run, prompt_circuits={**told, "prompts": rows})


def _measured(exact: Prepared, number: int, run: Run, own: Circuit) -> Generator[Progress, None, dict[str, Any]]:
    """KL and deviation on a prompt of its own circuit and (``shared``) of the run's."""
    circuits = {"own": own, "shared": run.circuits[run.main].circuit, "empty": empty_circuit(run.graph)}
    full, outcomes = yield from measure(exact.masked, exact.pairs[number : number + 1], circuits)
    empty = outcomes["empty"]["logit_diff"]
    return {
        name: {
            "kl": float(outcomes[name]["kl"][0]),
            "deviation": float(deviation(outcomes[name]["logit_diff"], full["logit_diff"], empty)[0]),
        }
        for name in ("own", "shared")
    }
