"""A finished run is searched again on samples of its prompts: what is planted is in all of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from hap_engine.attribution.scorers import score, score_each, weighted
from hap_engine.errors import SettingsError
from hap_engine.evaluation.measure import circuit_kl
from hap_engine.findings import CircuitRecord
from hap_engine.graph.circuit import Circuit, random_circuit
from hap_engine.graph.edge_order import EdgeOrder
from hap_engine.masked.masked_pass import MaskedModel
from hap_engine.masked.opening import open_masked
from hap_engine.masked.prompt_cache import Prepared
from hap_engine.progress import Progress
from hap_engine.report.test_sentences import findings
from hap_engine.runs.record import Run
from hap_engine.runs.run_file import dumps, loads
from hap_engine.tasks.pair import EncodedPair
from hap_engine.workflows.search_again import bootstrap
from tests.builders.planted_runs import planted_run
from tests.builders.tiny_models import finish
from tests.builders.toys import TOYS


@pytest.mark.parametrize("scorer", ["eap", "eap-ig-kl", "eap-abs"])
def test_scores_of_single_prompts_average_to_those_of_all(
    gpt2: MaskedModel, pairs: list[EncodedPair], scorer: str
) -> None:
    prepared = finish(Prepared(gpt2, pairs).run())
    each = finish(score_each(prepared, scorer))
    whole = finish(score(prepared, scorer))
    found = weighted(gpt2.graph, each, np.ones(len(pairs), int))
    np.testing.assert_allclose(found, whole, atol=1e-5 * np.abs(whole).max())
    drawn = [0, 0, 3, 5, 5, 5, 1, 2]
    sample = finish(score(prepared.chosen(drawn), scorer))
    times = np.bincount(drawn, minlength=len(pairs))
    np.testing.assert_allclose(weighted(gpt2.graph, each, times), sample, atol=1e-5 * np.abs(sample).max())


def test_mean_ranks_are_resampled_too(gpt2: MaskedModel, pairs: list[EncodedPair]) -> None:
    prepared = finish(Prepared(gpt2, pairs).run())
    each = finish(score_each(prepared, "rank-mean"))
    assert len(each) == 2
    whole = finish(score(prepared, "rank-mean"))
    assert np.abs(weighted(gpt2.graph, each, np.ones(len(pairs), int)) - whole).mean() < 1e-3


def test_chosen_prompts_are_those_prompts(gpt2: MaskedModel, pairs: list[EncodedPair]) -> None:
    prepared = finish(Prepared(gpt2, pairs).run())
    twice = prepared.chosen([4, 2, 4]).chosen([1, 0])
    assert twice.pairs == [pairs[2], pairs[4]]
    circuit = random_circuit(gpt2.graph, 30, np.random.default_rng(0))
    assert circuit_kl(twice, circuit) == pytest.approx(circuit_kl(prepared.chosen([2, 4]), circuit))
    each = [circuit_kl(prepared.chosen([row]), circuit) for row in (2, 4)]
    assert circuit_kl(twice, circuit) == pytest.approx(np.mean(each))


@pytest.mark.parametrize("name", ["copy suppression", "induction"])
def test_every_sample_keeps_what_is_planted(name: str) -> None:
    toy = TOYS[name]()
    run = planted_run(toy)
    found = loads(dumps(finish(bootstrap(open_masked(toy.model), run, 4, steps=60))))
    assert found.stability["resamples"] == 4
    assert found.stability["edges"] == [1.0] * toy.size
    assert set(found.stability["heads"].values()) == {1.0}
    assert found.stability["jaccard"] == 1
    assert found.stability["seeds"] == [1, 2, 3, 4]
    (said,) = findings(found)
    assert "which reaches the 0.8" in said.answer
    assert f"0 of the {toy.size} edges" in said.detail


def test_each_size_has_its_own_shares() -> None:
    toy = TOYS["induction"]()
    run = planted_run(toy)
    order = EdgeOrder(run.graph, np.flatnonzero(run.circuits["hap"].circuit.kept))
    sizes = {"grid": [toy.size, 2], "orders": {"hap": order.cells.tolist()}}
    found = finish(bootstrap(open_masked(toy.model), replace(run, sizes=sizes), 2, steps=10)).stability
    assert [row["size"] for row in found["at"]] == [toy.size, 2]
    assert [len(row["edges"]) for row in found["at"]] == [len(order.circuit(size)) for size in (toy.size, 2)]
    assert {*found["at"][0]["jaccard"]} == {"eap", "hap"}
    assert found["edges"] == found["at"][0]["edges"]


def test_a_run_of_scores_alone_is_resampled_without_a_descent() -> None:
    toy = TOYS["induction"]()
    run = planted_run(toy, method="eap")
    seen: list[Progress] = []
    work = bootstrap(open_masked(toy.model), run, 3)
    while True:
        try:
            seen.append(next(work))
        except StopIteration as stop:
            found = stop.value.stability
            break
    assert len([record for record in seen if record.phase == "prune"]) == 3
    assert found["jaccard"] == found["at"][0]["jaccard"]["eap"]


def small(run: Run, edges: int) -> Run:
    kept = np.zeros_like(run.graph.edge_mask)
    kept.flat[np.flatnonzero(run.graph.edge_mask)[:edges]] = True
    return replace(run, circuits={"hap": CircuitRecord(Circuit(run.graph, kept), edges)})


@pytest.mark.parametrize(
    ("change", "arguments", "words"),
    [
        (lambda run: run, {"resamples": 1}, "at least 2 samples"),
        (lambda run: run, {"steps": 0}, "steps from 1"),
        (lambda run: small(run, 0), {}, "at least two edges, got one of 0"),
        (lambda run: small(run, 1), {}, "at least two edges, got one of 1"),
        (lambda run: replace(run, prompts={**run.prompts, "train": []}), {}, "of 0"),
        (lambda run: replace(run, settings={**run.settings, "continues": "abc"}), {}, "goes on from run abc"),
        (lambda run: replace(run, model={**run.model, "sha256": "other"}), {}, "Name the model that the run used"),
    ],
)
def test_what_cannot_be_resampled_is_refused(change: Callable[[Run], Run], arguments: Any, words: str) -> None:
    toy = TOYS["induction"]()
    with pytest.raises(SettingsError, match=words):
        finish(bootstrap(open_masked(toy.model), change(planted_run(toy)), **arguments))


def test_it_can_be_cancelled_within_a_step_and_leaves_the_run_as_it_was() -> None:
    toy = TOYS["induction"]()
    run = planted_run(toy)
    work = bootstrap(open_masked(toy.model), run, 2, steps=5)
    phases = [next(work).phase for _ in range(2 * len(toy.pairs) + 3)]
    work.close()
    assert phases[-1] == "prune"
    assert run.stability == {}
