"""Is there another circuit as good? Of two separate paths each is the other's rival; of one there is none."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from hap_engine.errors import RunFileError, SettingsError
from hap_engine.evaluation.evaluate import Setting, evaluate
from hap_engine.findings import CircuitRecord
from hap_engine.graph.circuit import empty_circuit
from hap_engine.graph.overlap import edge_overlap
from hap_engine.masked.opening import open_masked
from hap_engine.report.rivals import alike, rival_verdict
from hap_engine.report.titles import RIVAL
from hap_engine.report.verdict import warnings
from hap_engine.runs.record import Run
from hap_engine.runs.run_file import dumps, loads
from hap_engine.workflows.rivals import find_rival
from tests.builders.planted import Planted
from tests.builders.planted_runs import planted_run
from tests.builders.tiny_models import finish
from tests.builders.toys import TOYS
from tests.builders.two_ways import two_ways


def measured(toy: Planted) -> Run:
    """The run of a toy, its metrics really measured."""
    run = planted_run(toy)
    setting = Setting("test", "resample", "abc", 0)
    work = evaluate(open_masked(toy.model), toy.pairs, {"hap": run.circuits["hap"].circuit}, setting, control_size=2)
    return replace(run, metrics=finish(work), task={**run.task, "corruption": "abc"})


def test_two_separate_paths_are_rivals_without_a_common_edge() -> None:
    toy = two_ways()
    run = loads(dumps(finish(find_rival(open_masked(toy.model), measured(toy)))))
    assert run.circuits[RIVAL].circuit == toy.truths[1]
    assert edge_overlap(run.circuits["hap"].circuit, run.circuits[RIVAL].circuit).shared == 0
    assert run.metrics[RIVAL]["kl"] == pytest.approx(0, abs=1e-3)
    assert run.rival.get("price") is None, "the first circuit's edges were forbidden"
    said = rival_verdict(run)
    assert "they share 0 (Jaccard 0.00" in said
    assert "two circuits with few common edges are about as good" in said
    assert said in warnings(run)


def test_a_chain_has_no_rival() -> None:
    toy = TOYS["induction"]()
    run = loads(dumps(finish(find_rival(open_masked(toy.model), measured(toy), steps=60))))
    assert run.circuits[RIVAL].circuit == toy.truths[0]
    assert run.rival["tried"][0]["price"] == 0
    assert run.rival["tried"][1].get("price") is None
    assert "no circuit with few common edges was found" in rival_verdict(run)
    assert warnings(run) == []


def test_a_second_search_takes_the_place_of_the_first() -> None:
    toy = two_ways()
    masked = open_masked(toy.model)
    once = finish(find_rival(masked, measured(toy)))
    twice = finish(find_rival(masked, once))
    assert twice.circuits[RIVAL].circuit == once.circuits[RIVAL].circuit
    assert list(twice.circuits) == ["hap", RIVAL]


def test_a_worse_circuit_is_no_rival() -> None:
    toy = two_ways()
    run = finish(find_rival(open_masked(toy.model), measured(toy)))
    worse = {**run.metrics, RIVAL: {**run.metrics[RIVAL], "kl": 1.0}}
    assert "It is not as good" in rival_verdict(replace(run, metrics=worse))
    assert warnings(replace(run, metrics=worse)) == []
    assert rival_verdict(measured(toy)) == ""


def test_about_as_good_is_a_tenth_or_what_no_eye_tells_apart() -> None:
    assert alike(0.32, 0.30, 4.0)
    assert not alike(0.34, 0.30, 4.0)
    assert alike(0.008, 0.0, 4.0)
    assert not alike(0.009, 0.0, 4.0)
    assert alike(0.1, 0.3, 4.0)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            lambda run: replace(run, settings={**run.settings, "method": "eap"}, circuits={"eap": run.circuits["hap"]}),
            "of hap or ep",
        ),
        (lambda run: replace(run, circuits={"hap": CircuitRecord(empty_circuit(run.graph), 0)}), "got one of 0"),
        (lambda run: replace(run, prompts={**run.prompts, "train": []}), "no train prompts"),
    ],
)
def test_what_has_no_rival_is_refused(change: Callable[[Run], Run], words: str) -> None:
    toy = two_ways()
    with pytest.raises(SettingsError, match=words):
        finish(find_rival(open_masked(toy.model), change(planted_run(toy))))


def test_it_can_be_cancelled_within_a_step() -> None:
    toy = two_ways()
    run = measured(toy)
    work = find_rival(open_masked(toy.model), run)
    while next(work).phase != "prune":
        pass
    next(work)
    work.close()
    assert RIVAL not in run.circuits


def test_a_damaged_section_is_refused() -> None:
    run = replace(
        planted_run(two_ways()), rival={"version": 1, "price": 0.1, "steps": 60, "n_prompts": 4, "tried": [{}]}
    )
    with pytest.raises(RunFileError, match="lacks kl"):
        loads(dumps(run))
