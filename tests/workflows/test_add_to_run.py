"""A finished run takes up an own circuit and numbers per prompt, measured as the others were."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from hap_engine.errors import RunFileError, SettingsError
from hap_engine.evaluation.evaluate import Setting, evaluate
from hap_engine.explain.what_if import Bench
from hap_engine.graph.circuit import Circuit, empty_circuit, full_circuit, random_circuit
from hap_engine.graph.edits import Change, apply
from hap_engine.masked.masked_pass import MaskedModel
from hap_engine.picture.finding import finding
from hap_engine.report.by_prompt import by_prompt, closer, measured, summary
from hap_engine.report.every_size import circuit_at
from hap_engine.report.metric_sentences import overlap, read
from hap_engine.report.titles import OWN
from hap_engine.runs.record import Run
from hap_engine.runs.run_file import dumps, loads
from hap_engine.tasks.pair import EncodedPair
from hap_engine.workflows.add_to_run import add_circuit, add_curves, add_cuts, add_per_prompt, add_size
from tests.builders.fakes import fake_run
from tests.builders.tiny_models import finish


def stored(pair: EncodedPair) -> dict[str, Any]:
    texts = {key: getattr(pair.pair, key) for key in ("clean", "corrupt", "answer", "distractor")}
    return {**texts, "roles": dict(pair.roles)}


@pytest.fixture(scope="module")
def run(gpt2: MaskedModel, pairs: list[EncodedPair]) -> Run:
    """A run of the tiny GPT-2 whose metrics were really measured, without numbers per prompt."""
    made = fake_run(gpt2.graph, edges=30)
    circuits = {name: record.circuit for name, record in made.circuits.items()}
    setting = Setting("test", "resample", "abc", 0)
    metrics = finish(evaluate(gpt2, pairs, circuits, setting, control_size=20))
    for row in metrics.values():
        row.pop("per_prompt", None)
    task = {**made.task, "corruption": "abc"}
    return replace(made, task=task, metrics=metrics, prompts={"test": [stored(pair) for pair in pairs]})


def test_numbers_per_prompt_average_to_the_stored_means(gpt2: MaskedModel, run: Run) -> None:
    assert not measured(run, "hap")
    revised = finish(add_per_prompt(gpt2, run))
    for name in ("full", "empty", "hap", "eap"):
        rows = revised.metrics[name]["per_prompt"]
        assert np.mean(rows["kl"]) == pytest.approx(run.metrics[name]["kl"], rel=1e-3, abs=1e-5)
        assert np.mean(rows["logit_diff"]) == pytest.approx(run.metrics[name]["logit_diff"], rel=1e-3, abs=1e-3)
    assert loads(dumps(revised)).metrics["hap"]["per_prompt"] == revised.metrics["hap"]["per_prompt"]


def test_an_own_circuit_stands_beside_the_others(gpt2: MaskedModel, run: Run) -> None:
    circuit = random_circuit(run.graph, 25, np.random.default_rng(1)) | run.circuits["hap"].circuit
    revised = finish(add_circuit(gpt2, run, circuit))
    assert revised.circuits[OWN].circuit == circuit.live
    row = revised.metrics[OWN]
    assert (row["n_edges"], row["n_prompts"], row["split"]) == (len(circuit.live), 8, "test")
    known = revised.circuits[OWN].values["gates"]
    assert np.isfinite(known).sum() == np.isfinite(run.circuits["hap"].values["gates"]).sum()
    again = loads(dumps(revised))
    assert again.circuits[OWN].circuit == circuit.live
    assert again.fingerprint != run.fingerprint
    replaced = finish(add_circuit(gpt2, revised, run.circuits["eap"].circuit))
    assert replaced.circuits[OWN].circuit == run.circuits["eap"].circuit
    for key in ("kl", "logit_diff", "faithfulness"):
        assert replaced.metrics[OWN][key] == pytest.approx(run.metrics["eap"][key], abs=1e-4)


def test_what_cannot_be_added_is_refused(gpt2: MaskedModel, run: Run) -> None:
    with pytest.raises(SettingsError, match="no path of edges"):
        finish(add_circuit(gpt2, run, empty_circuit(run.graph)))
    with pytest.raises(SettingsError, match="already"):
        finish(add_circuit(gpt2, run, full_circuit(run.graph), "hap"))
    for taken in ("eap-ig", "ep", "random", "full"):
        with pytest.raises(SettingsError, match="Choose another name"):
            finish(add_circuit(gpt2, run, full_circuit(run.graph), taken))
    mean = {name: {**row, "ablation": "mean"} for name, row in run.metrics.items()}
    with pytest.raises(SettingsError, match="'mean'"):
        finish(add_circuit(gpt2, replace(run, metrics=mean), full_circuit(run.graph)))


def with_outcomes(full: list[float], circuit: list[float]) -> Run:
    """A synthetic run with these logit differences."""

    def row(values: list[float]) -> dict[str, Any]:
        return {
            "logit_diff": values,
            "kl": [abs(a - b) for a, b in zip(full, values, strict=True)],
            "top1": [float(value > 1) for value in values],
            "exact_match": [1.0] * len(values),
        }

    made = fake_run(prompts={"test": [{"clean": str(i)} for i in range(len(full))]})
    rows = {"full": row(full), "hap": row(circuit), "eap": row([0.0] * len(full))}
    metrics = {key: {**made.metrics[key], "per_prompt": value} for key, value in rows.items()}
    return replace(made, metrics={**made.metrics, **metrics})


def test_prompts_are_sorted_into_four_outcomes() -> None:
    run = with_outcomes([2.0, 2.0, -1.0, -1.0], [2.0, -3.0, 0.5, -1.0])
    found = by_prompt(run, "hap")
    assert [o.index for o in found] == [1, 2, 0, 3]  # furthest from the model first
    assert {o.index: o.status for o in found} == {0: "both", 1: "lost", 2: "won", 3: "neither"}
    assert summary(run, "hap").startswith("On 1 of 4 test prompts HAP fails")
    assert {o.index: o.status for o in by_prompt(run, "hap", "first")}[2] == "neither"
    assert "on 2 of 4" in closer(run, "eap", "hap")
    assert "exactly where" in summary(with_outcomes([1.0], [3.0]), "hap")


@pytest.mark.parametrize("broken", [[1.0], "text", [1.0, 2.0, None, 4.0]])
def test_damaged_numbers_per_prompt_are_refused(broken: Any) -> None:
    run = with_outcomes([2.0, 2.0, -1.0, -1.0], [2.0, -3.0, 0.5, -1.0])
    run.metrics["hap"]["per_prompt"]["kl"] = broken  # type: ignore[index]
    with pytest.raises(RunFileError, match="per_prompt"):
        loads(dumps(run))


def test_every_metric_is_read_in_words() -> None:
    run = fake_run()
    sentences = read(run, "hap")
    assert set(sentences) == {"kl", "logit_diff", "faithfulness", "accuracy", "top1", "exact_match"}
    assert "50% of the prompts" in sentences["accuracy"]
    assert "recovered" in sentences["faithfulness"]
    odd = {**run.metrics["hap"], "faithfulness": float("nan"), "logit_diff": -2.0}
    told = read(replace(run, metrics={**run.metrics, "hap": odd}), "hap")
    assert "faithfulness" not in told
    assert "wrong answer" in told["logit_diff"]


def test_overlapping_intervals_are_told() -> None:
    run = fake_run()

    def between(a: list[float], b: list[float]) -> Run:
        rows = {"eap": a, "hap": b}
        return replace(
            run,
            metrics={
                key: {**row, "interval": {"kl": rows[key]}} if key in rows else row for key, row in run.metrics.items()
            },
        )

    assert "HAP is closer" in overlap(between([2, 3], [0, 1]), "eap", "hap")
    assert "do not tell" in overlap(between([0.5, 3], [0, 1]), "eap", "hap")
    assert overlap(run, "eap", "hap") == ""


def test_the_full_graph_is_its_own_reading(gpt2: MaskedModel, run: Run) -> None:
    everything = Circuit(run.graph, run.graph.edge_mask.copy())
    revised = finish(add_circuit(gpt2, run, everything))
    assert revised.metrics[OWN]["faithfulness"] == pytest.approx(1, abs=1e-3)


def test_a_run_of_one_size_takes_up_curves_and_then_one_more_size(
    gpt2: MaskedModel, run: Run, pairs: list[EncodedPair]
) -> None:
    learned = replace(run, prompts={**run.prompts, "train": run.prompts["test"]})
    curves = finish(add_curves(gpt2, learned))
    own = run.circuits["hap"].circuit
    assert {"eap", "hap"} <= curves.orders.keys()
    assert circuit_at(curves, "hap", run.graph.n_edges // 2) == own
    assert not (circuit_at(curves, "hap", 20).kept & ~own.kept).any()
    assert len(circuit_at(curves, "eap", 50)) > len(own)
    assert "cpr" not in curves.sizes["metrics"]["hap"]
    assert "cpr" in curves.sizes["metrics"]["eap"]
    more = loads(dumps(finish(add_size(gpt2, curves, 25))))
    assert more.sizes["grid"] == sorted({*curves.sizes["grid"], 25}, reverse=True)
    at = more.sizes["grid"].index(25)
    circuit = {"hap": circuit_at(more, "hap", 25)}
    row = finish(evaluate(gpt2, pairs, circuit, Setting("test", "resample", "abc", 0), control_size=9))["hap"]
    assert more.sizes["metrics"]["hap"]["kl"][at] == pytest.approx(row["kl"], abs=1e-5)
    with pytest.raises(SettingsError, match="up to"):
        finish(add_size(gpt2, more, run.graph.n_edges))
    with pytest.raises(SettingsError, match="no train prompts"):
        finish(add_curves(gpt2, run))


def test_single_cuts_are_what_changed_circuits_answer(gpt2: MaskedModel, run: Run, pairs: list[EncodedPair]) -> None:
    revised = finish(add_cuts(gpt2, run))
    assert loads(dumps(revised)).cuts == revised.cuts
    bench = Bench(gpt2, pairs[: revised.cuts["n_prompts"]])
    for name, row in revised.cuts["circuits"].items():
        circuit = run.circuits[name].circuit
        assert set(row["off"]) == circuit.heads
        assert not set(row["on"]) & circuit.heads
        head = min(row["off"])
        cut = bench.read(apply(circuit, [Change(False, (head,))]))
        np.testing.assert_allclose(row["off"][head], cut.answer, atol=1e-4)
    told = finding(revised, "eap", "hap", 1)["cuts"]["right"]
    assert told["base"] == revised.cuts["circuits"]["hap"]["base"][1]


def test_stored_words_are_what_each_node_promotes_on_that_prompt(
    gpt2: MaskedModel, run: Run, pairs: list[EncodedPair]
) -> None:
    revised = finish(add_cuts(gpt2, run))
    stored = revised.cuts["promoted"]
    assert {"m0", *revised.cuts["circuits"]["hap"]["off"]} <= set(stored)
    assert any(rows[1]["promotes"] for rows in stored.values())
    bench = Bench(gpt2, pairs[1:2])
    for node in stored:
        told = finding(revised, "eap", "hap", 1)["promoted"][node]
        for way, words in zip(("promotes", "holds"), bench.promoted(node, 3), strict=True):
            assert told[way] == [(word, pytest.approx(x, abs=2e-4)) for word, x in words[: len(told[way])]]
            assert all(abs(x) < 7e-4 for _, x in words[len(told[way]) :])
    assert finding(revised, "eap", "hap", revised.cuts["n_prompts"])["promoted"] == {}
    foreign = {**revised.cuts, "promoted": {"a99.h0": stored["m0"]}}
    short = {**revised.cuts, "promoted": {"m0": stored["m0"][:1]}}
    for cuts in (foreign, short):
        with pytest.raises(RunFileError):
            loads(dumps(replace(run, cuts=cuts)))


def test_cuts_of_what_the_run_lacks_are_refused(gpt2: MaskedModel, run: Run) -> None:
    cuts = {"version": 1, "n_prompts": 1, "circuits": {"hap": {"base": [0.5], "off": {"a99.h0": [0.1]}, "on": {}}}}
    with pytest.raises(RunFileError, match=r"a99\.h0"):
        loads(dumps(replace(run, cuts=cuts)))
    cuts["n_prompts"] = 2
    with pytest.raises(RunFileError):
        loads(dumps(replace(run, cuts=cuts)))
