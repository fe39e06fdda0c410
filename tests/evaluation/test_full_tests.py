"""What ``evaluate --full`` adds, on planted circuits (where the answers are known) and on a real run."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hap_engine.cli.commands import main
from hap_engine.errors import ModelError, RunFileError, SettingsError
from hap_engine.evaluation import filter_bound, knockouts
from hap_engine.evaluation.evaluate import Setting, evaluate
from hap_engine.evaluation.full_tests import Subject, scrutinise
from hap_engine.evaluation.measure import measure
from hap_engine.graph.circuit import Circuit, empty_circuit, full_circuit
from hap_engine.graph.graph import Graph
from hap_engine.masked.masked_pass import MaskedModel
from hap_engine.masked.opening import open_masked
from hap_engine.runs.record import Run
from hap_engine.runs.run_file import dumps, loads, save
from hap_engine.settings import DiscoveryConfig, PruningConfig
from hap_engine.workflows.discover import discover
from hap_engine.workflows.retest import examine, reevaluate, with_stability
from tests.builders.fakes import fake_run
from tests.builders.planted import Planted
from tests.builders.tiny_models import SIZES, finish, random_pairs
from tests.builders.toys import copy_suppression, redundancy

SETTING = Setting("test", "resample", "abc", 0)


@pytest.fixture(scope="module")
def toy() -> tuple[Planted, MaskedModel]:
    made = copy_suppression()
    return made, open_masked(made.model)


@pytest.fixture(scope="module")
def run(llama: MaskedModel) -> Run:
    config = DiscoveryConfig(
        model="tiny", sparsity=0.6, keep=0.8, sizes=SIZES, pruning=PruningConfig(steps=3, batch_size=4)
    )
    return finish(discover(config, llama.model))


@pytest.fixture(scope="module")
def examined(run: Run, llama: MaskedModel) -> Run:
    return finish(examine(llama, run, prompts=4))


def subject(circuit: Circuit, **changes: Any) -> Subject:
    base = Subject({"hap": circuit}, "hap", {}, {}, None)
    return dataclasses.replace(base, **changes)


# -- what the numbers say where the truth is known ------------------------------------------------


def test_the_whole_circuit_is_complete_and_minimal(toy: tuple[Planted, MaskedModel]) -> None:
    planted, masked = toy
    found = finish(scrutinise(masked, planted.pairs, subject(planted.truths[0]), SETTING))
    assert found["completeness"]["max_gap"] < 0.05
    nodes = {row["node"]: row["effect"] for row in found["minimality"]["nodes"]}
    assert set(nodes) == {"a0.h0", "a1.h0", "a2.h0"}
    assert min(nodes.values()) > 0.5
    assert found["minimality"]["needed"] == 3
    assert abs(found["complement"]["hap"]["faithfulness"]) < 0.1, "nothing is left without it"
    right = found["agreement"]["hap"]["top1"]["right"]
    assert (right["n"], right["share"]) == (len(planted.pairs), 1)


def test_a_useless_node_is_not_needed(toy: tuple[Planted, MaskedModel]) -> None:
    planted, masked = toy
    idle = [("input", "m1"), ("m1", "logits")]
    padded = planted.truths[0] | Circuit.from_names(masked.graph, idle)
    found = finish(scrutinise(masked, planted.pairs, subject(padded), SETTING))
    effects = {row["node"]: row["effect"] for row in found["minimality"]["nodes"]}
    assert effects["m1"] < 0.01
    assert found["minimality"]["needed"] == 3


def test_a_missing_back_up_shows_in_completeness_and_the_complement() -> None:
    """One path of two is faithful, but the model goes on without it and the circuit does not."""
    planted = redundancy()
    masked, path = open_masked(planted.model), planted.truths[0]
    roles = {"a0.h0": "carrier"}
    found = finish(scrutinise(masked, planted.pairs, subject(path, roles=roles), SETTING))
    (carriers,) = [row for row in found["completeness"]["sets"] if row["name"] == "carrier"]
    assert carriers["nodes"] == ["a0.h0"]
    assert carriers["gap"] > 0.9
    # m1 -> logits is in the path, so the rest is cut off; the back-up alone is not enough either
    assert found["complement"]["hap"]["faithfulness"] < 0.1


def test_redundant_mates_are_knocked_out_together() -> None:
    """Each of two carriers is idle while the other works; minimality finds the set that shows it."""
    planted = redundancy()
    masked, both = open_masked(planted.model), planted.truths[0] | planted.truths[1]
    alone = finish(scrutinise(masked, planted.pairs, subject(both), SETTING))
    effects = {row["node"]: row["effect"] for row in alone["minimality"]["nodes"]}
    assert effects["a0.h0"] < 0.02
    roles = dict.fromkeys(("a0.h0", "a0.h1"), "carrier")
    found = finish(scrutinise(masked, planted.pairs, subject(both, roles=roles), SETTING))
    rows = {row["node"]: row for row in found["minimality"]["nodes"]}
    assert rows["a0.h0"]["effect"] > 0.9
    assert rows["a0.h0"]["given"] == ["a0.h1"]


def test_the_bound_sees_what_a_filter_dropped(toy: tuple[Planted, MaskedModel]) -> None:
    planted, masked = toy
    truth = planted.truths[0]
    lost = Circuit.from_names(masked.graph, [("a1.h0", "a2.h0<q>")])
    reports = {}
    for name, kept in (("good", truth), ("bad", truth - lost)):
        cuts = filter_bound.subsets(kept, seed=0, count=10)
        _, outcomes = finish(measure(masked, planted.pairs, cuts))
        reports[name] = filter_bound.bound(kept, {k: v["kl"] for k, v in outcomes.items()}, seed=0)
    good, bad = reports["good"], reports["bad"]
    assert good["all"] < 1e-3 < 1 < bad["all"]
    assert good["subsets"][-1]["max"] < 1e-3
    half = bad["subsets"][-1]
    assert half["share"] == 0.5
    assert half["max"] > 1
    assert half["seen"] == pytest.approx(1 - 0.5**10)
    assert half["exceeded_at_most"] == pytest.approx(1 - 0.05 ** (1 / 10))
    assert bad["n_dropped"] == masked.graph.n_edges - len(truth) + 1


def test_the_bound_where_nothing_was_dropped() -> None:
    graph = Graph(1, 2, 2)
    cuts = filter_bound.subsets(full_circuit(graph), seed=0)
    assert list(cuts) == [filter_bound.ALL]
    assert filter_bound.bound(full_circuit(graph), {filter_bound.ALL: np.zeros(2)}, 0)["subsets"] == []


def test_knock_outs_by_hand() -> None:
    graph = Graph(2, 2, 2)
    circuit = Circuit.from_names(graph, [("input", "a0.h0<v>"), ("a0.h0", "m1"), ("input", "m1"), ("m1", "logits")])
    assert knockouts.nodes_of(circuit) == ("a0.h0", "m1")
    assert knockouts.without(circuit, ["a0.h0"]).names() == [("input", "a0.h0<v>"), ("input", "m1"), ("m1", "logits")]
    sets = knockouts.knock_outs(circuit, {"a0.h0": "mover", "a1.h1": "mover"}, seed=0)
    assert [k.name for k in sets] == ["mover", *(f"random half {i}" for i in range(1, 6))]
    assert sets[0].nodes == ("a0.h0",), "a head outside the circuit is no part of it"
    assert all(len(k.nodes) == 1 for k in sets)
    assert knockouts.knock_outs(empty_circuit(graph), {}, 0) == []
    assert knockouts.completeness([], {}, 1.0, 0) == {"sets": []}


def test_a_role_may_be_called_as_a_random_half_is() -> None:
    graph = Graph(2, 2, 2)
    circuit = Circuit.from_names(graph, [("input", "a0.h0<v>"), ("a0.h0", "m1"), ("input", "m1"), ("m1", "logits")])
    sets = knockouts.knock_outs(circuit, {"a0.h0": "random half 1", "m1": "random half 2"}, seed=0)
    made = knockouts.completeness_circuits(circuit, sets)
    assert made["circuit", sets[0]] == knockouts.without(circuit, ["a0.h0"]).live
    assert made["circuit", sets[1]] == knockouts.without(circuit, ["m1"]).live


# -- bad input ------------------------------------------------------------------------------------


def test_a_constant_metric_is_refused(toy: tuple[Planted, MaskedModel]) -> None:
    """Answer and distractor are one token: the difference is 0, whatever is cut."""
    planted, masked = toy
    flat = [dataclasses.replace(p, distractor_id=p.answer_id) for p in planted.pairs]
    with pytest.raises(SettingsError, match="that corruption changes"):
        finish(scrutinise(masked, flat, subject(planted.truths[0]), SETTING))
    report = finish(evaluate(masked, flat, {"hap": planted.truths[0]}, SETTING, control_size=5))
    assert np.isnan(report["hap"]["faithfulness"])
    assert "faithfulness" not in report["hap"]["interval"]
    assert report["hap"]["interval"]["logit_diff"] == [0, 0]


def test_one_prompt_has_no_interval(toy: tuple[Planted, MaskedModel]) -> None:
    planted, masked = toy
    circuit, pairs = planted.truths[0], planted.pairs[:1]
    assert finish(evaluate(masked, pairs, {"hap": circuit}, SETTING, control_size=5))["hap"]["interval"] == {}
    found = finish(scrutinise(masked, pairs, subject(circuit), SETTING))
    assert found["complement"]["hap"]["interval"]["kl"] is None
    assert all(row["interval"] is None for row in found["completeness"]["sets"])


def test_an_empty_circuit_has_nothing_to_knock_out(toy: tuple[Planted, MaskedModel]) -> None:
    planted, masked = toy
    found = finish(scrutinise(masked, planted.pairs, subject(empty_circuit(masked.graph)), SETTING))
    assert found["minimality"]["nodes"] == found["completeness"]["sets"] == []
    assert found["complement"]["hap"]["faithfulness"] == pytest.approx(1, abs=1e-4)


def test_runs_that_cannot_be_examined(run: Run, llama: MaskedModel, gpt2: MaskedModel) -> None:
    with pytest.raises(SettingsError, match="no test prompts"):
        finish(reevaluate(llama, dataclasses.replace(run, prompts={})))
    with pytest.raises(ModelError, match=r"82 edges.*110 edges.*Name the right model"):
        finish(examine(gpt2, run))
    with pytest.raises(SettingsError, match="at least 1 prompt"):
        finish(examine(llama, run, prompts=0))
    other = dataclasses.replace(run, model={**run.model, "sha256": "0" * 64})
    with pytest.raises(SettingsError, match="has other weights, another config or tokenizer"):
        finish(examine(llama, other))  # they would be written into the run as its own


# -- the run file ---------------------------------------------------------------------------------


def test_an_examined_run_survives_the_disk(examined: Run, run: Run) -> None:
    read = loads(dumps(examined))
    assert dumps(read) == dumps(examined)
    found = read.statistics
    assert set(found["curves"]) == {"eap", "hap"}
    assert found["curves"]["eap"]["faithfulness"][-1] == pytest.approx(1, abs=1e-3)
    assert set(found["comparisons"]) == {"eap", "eap-ig-kl"}
    assert set(found["complement"]) == set(run.circuits)
    assert found["missed"]["n_dropped"] > 0
    assert set(found["ablations"]) == {"resample", "mean", "zero"}
    assert found["ablations"]["mean"]["full"]["kl"] == pytest.approx(0, abs=1e-4)
    assert (found["n_prompts"], found["n_prompts_many"]) == (8, 4)
    assert found["ablation"] == "resample (abc)"


def test_metrics_measured_again_are_the_runs(run: Run, llama: MaskedModel) -> None:
    again = finish(reevaluate(llama, run))
    for name in run.circuits:
        assert again[name]["kl"] == pytest.approx(run.metrics[name]["kl"], abs=1e-5)


def test_damaged_additions_are_refused(examined: Run) -> None:
    data = json.loads(dumps(examined))
    for change, message in (
        ({"version": 2}, "version 2; this program reads 1"),
        ({"curves": {"eap": {}}}, "lacks shares"),
        ({"minimality": None}, "lacks minimality"),
    ):
        broken = {**data, "statistics": {**data["statistics"], **change}}
        with pytest.raises(RunFileError, match=message):
            loads(json.dumps(broken))
    graph = Graph(2, 2, 2)
    steady = with_stability([fake_run(graph, seed=s, edges=12) for s in (0, 1)])[0]
    data = json.loads(dumps(steady))
    data["stability"]["edges"].pop()
    with pytest.raises(RunFileError, match="one share for each of the 12 edges"):
        loads(json.dumps(data))


def test_stability_of_three_seeds() -> None:
    runs = [fake_run(Graph(2, 2, 2), seed=s, edges=12) for s in (0, 1, 2)]
    found = with_stability(runs)
    for run in found:
        read = loads(dumps(run))
        assert read.stability["seeds"] == [0, 1, 2]
        shares = read.stability["edges"]
        assert len(shares) == len(run.circuits["hap"].circuit)
        assert min(shares) >= 0.3333
        assert sum(share == 1 for share in shares) == read.stability["always"]
    with pytest.raises(SettingsError, match="different seeds"):
        with_stability([runs[0], runs[0]])
    with pytest.raises(SettingsError, match="different seeds"):
        with_stability([runs[0], fake_run(Graph(2, 2, 1), seed=1, edges=12)])
    with pytest.raises(SettingsError, match="at least two seeds"):
        with_stability(runs[:1])


def test_the_commands(examined: Run, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plain = dataclasses.replace(examined, statistics={})
    path = save(plain, tmp_path / "run.json")
    assert main(["evaluate", str(path), "--model", str(folder), "--full"]) == 1
    assert "Name the right model" in capsys.readouterr().err
    seeds = [save(fake_run(Graph(2, 2, 2), seed=s, edges=12), tmp_path / f"{s}.json") for s in (0, 1)]
    assert main(["stability", *map(str, seeds)]) == 0
    assert "2 seeds" in capsys.readouterr().out
    assert loads(seeds[1].read_bytes()).stability["seeds"] == [0, 1]
    assert main(["stability", str(seeds[0])]) == 1
    assert "at least two seeds" in capsys.readouterr().err


def test_evaluate_full_writes_into_the_run(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "run.json"
    base = ["--prompts", "8,6,8", "--sparsity", "0.8", "--keep", "0.6", "--steps", "3"]
    assert main(["discover", "--model", str(folder), *base, "--out", str(out)]) == 0
    capsys.readouterr()
    assert main(["evaluate", str(out), "--model", str(folder), "--full", "--prompts", "3"]) == 0
    shown = capsys.readouterr().out
    for word in ("CPR", "completeness", "minimality", "McNemar", "stage one drops"):
        assert word in shown
    assert loads(out.read_bytes()).statistics["n_prompts_many"] == 3


def test_pairs_of_several_lengths_keep_their_order(llama: MaskedModel) -> None:
    """Paired tests need every circuit's numbers in one prompt order."""
    pairs = random_pairs([7, 4, 9, 5])
    full, found = finish(measure(llama, pairs, {"all": full_circuit(llama.graph)}))
    np.testing.assert_allclose(found["all"]["logit_diff"], full["logit_diff"], atol=1e-4)
