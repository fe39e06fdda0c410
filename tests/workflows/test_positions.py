"""A run whose edges act at spans of the prompts, from its making to every other use of its file."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import networkx as nx
import numpy as np
import pytest
import torch

from app.export import graphs, tables
from hap_engine.errors import RunFileError, SettingsError, TaskError, UnknownNameError
from hap_engine.evaluation.measure import measure
from hap_engine.evaluation.stored_prompts import stored_prompts
from hap_engine.explain.head_facts import attention_between_spans
from hap_engine.explain.what_if import Bench
from hap_engine.graph.circuit import Circuit
from hap_engine.graph.eapig_file import to_eapig
from hap_engine.graph.graph import WHOLE
from hap_engine.masked.masked_pass import MaskedModel
from hap_engine.masked.opening import open_masked
from hap_engine.picture.scene import build
from hap_engine.report.two_runs import comparable
from hap_engine.runs.mib_folder import write_submission
from hap_engine.runs.record import Run
from hap_engine.runs.run_file import load, save
from hap_engine.settings import DiscoveryConfig, PruningConfig, run_id
from hap_engine.tasks.task import SplitSizes
from hap_engine.transformer.load import load_model
from hap_engine.workflows.add_to_run import add_circuit, add_cuts, add_size
from hap_engine.workflows.discover import discover
from hap_engine.workflows.retest import examine, reevaluate
from hap_engine.workflows.rivals import find_rival
from hap_engine.workflows.search_again import bootstrap, per_prompt
from tests.builders.tiny_models import finish

CONFIG = DiscoveryConfig(
    sparsity=0.99, positions="roles", sizes=SplitSizes(64, 32, 32), pruning=PruningConfig(steps=20)
)


@pytest.fixture(scope="module")
def masked() -> MaskedModel:
    return open_masked(load_model("hap-mini"))


def stored(run: Run, folder: Path) -> Run:
    """Written, and read again."""
    save(run, folder / "run.json")
    return load(folder / "run.json")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """From its file."""
    path = tmp_path_factory.mktemp("runs")
    made = finish(discover(CONFIG))
    found = stored(made, path)
    assert found.graph == made.graph
    assert {n: r.circuit for n, r in found.circuits.items()} == {n: r.circuit for n, r in made.circuits.items()}
    return found


def test_it_says_where_edges_act(run: Run) -> None:
    names = [span.name for span in run.graph.spans]
    assert names[-1] == "END"
    assert {"IO", "S1", "S1+1", "S2"} < {*names}
    circuit = run.circuits["hap"].circuit
    assert circuit.live == circuit
    assert abs(len(circuit) - 0.01 * run.graph.n_edges) < 2
    assert all(reader == "logits" or reader.partition("@")[2] in names for _, reader in circuit.names())
    assert run.metrics["hap"]["kl"] < run.metrics["eap"]["kl"]
    assert run.settings["positions"] == "roles"
    assert "--positions roles" in run.command
    for prompt in run.prompts["test"]:
        assert prompt["spans"][-1] == len(names) - 1
        for role, place in prompt["roles"].items():
            assert names[prompt["spans"][place]] == role


def test_it_says_what_heads_with_a_role_do_at_each_span(run: Run) -> None:
    names = {span.name for span in run.graph.spans}
    for head in run.roles["heads"]:
        assert {*run.heads[head]["effects_at_spans"]} <= names
    movers = [head for head, facts in run.roles["heads"].items() if facts["role"] == "name_mover"]
    for head in movers:
        effects = run.heads[head]["effects_at_spans"]
        assert max(effects, key=lambda name: abs(effects[name])) == "END"


def test_a_run_without_positions_is_the_run_that_it_was() -> None:
    plain = replace(CONFIG, positions="")
    assert "positions" not in plain.to_dict()
    assert run_id(plain, "x") != run_id(CONFIG, "x")


def test_what_is_measured_again_is_what_was_measured(run: Run, masked: MaskedModel) -> None:
    there, pairs = stored_prompts(masked, run, "test")
    assert there.graph == run.graph
    circuit = run.circuits["hap"].circuit
    _, outcomes = finish(measure(there, pairs, {"hap": circuit}))
    np.testing.assert_allclose(outcomes["hap"]["kl"].mean(), run.metrics["hap"]["kl"], rtol=1e-4)


def test_it_is_less_bound_than_its_collapsed_circuit(run: Run, masked: MaskedModel) -> None:
    """The circuit without spans keeps its edges at all of them, so it has more of them."""
    circuit = run.circuits["hap"].circuit
    whole = circuit.collapsed()
    assert whole.graph.spans == WHOLE
    assert len(whole) < len(circuit)
    at = {(w, r.partition("@")[0]) for w, r in circuit.names()}
    assert {*whole.names()} == at


def test_it_is_added_to(run: Run, masked: MaskedModel) -> None:
    own = Circuit(run.graph, run.circuits["hap"].circuit.kept | run.circuits["eap"].circuit.kept)
    assert finish(add_circuit(masked, run, own)).metrics["mine"]["kl"] >= 0
    size = run.sizes["grid"][-1] + 5
    assert size in finish(add_size(masked, run, size)).sizes["grid"]
    assert finish(add_cuts(masked, run)).cuts
    examined = finish(examine(masked, run, prompts=8))
    assert examined.statistics


def test_its_heads_can_be_asked(run: Run, masked: MaskedModel) -> None:
    bench = Bench(*stored_prompts(masked, run, "test", 2))
    whole = bench.full()
    cell = run.graph.edge("input", "a0.h0<v>@S2")
    without = bench.without_edge(cell)
    assert without != whole
    name = sorted(run.circuits["hap"].circuit.heads)[0]
    assert bench.promoted(name)


def test_it_stores_where_heads_attend_as_a_loop_over_tokens_finds_it(run: Run, masked: MaskedModel) -> None:
    there, pairs = stored_prompts(masked, run, "test", 3)
    found, count = attention_between_spans(there, pairs), len(run.graph.spans)
    sums, having = np.zeros((count, count)), np.zeros(count)
    for pair in pairs:
        tokens = torch.tensor([pair.clean_ids])
        pattern = there.patterns(there.trace(tokens, torch.tensor([tokens.shape[1] - 1])), 1)[2, 0]
        for span in set(pair.spans):
            rows = [at for at, other in enumerate(pair.spans) if other == span]
            having[span] += 1
            for key, other in enumerate(pair.spans):
                sums[span, other] += float(sum(pattern[at, key] for at in rows)) / len(rows)
    np.testing.assert_allclose(found["a1.h2"], sums / np.maximum(having, 1)[:, None], atol=1e-4)
    tables = {head: np.array(facts["between_spans"]) for head, facts in run.heads.items()}
    assert tables.keys() == set(run.graph.heads)
    for table in tables.values():
        np.testing.assert_allclose(table.sum(axis=1), 1, atol=1e-3)
        for span, row in zip(run.graph.spans, table, strict=True):
            assert {*np.flatnonzero(row)} <= {*span.sees}
    assert attention_between_spans(masked, [replace(pair, spans=()) for pair in pairs]) == {}


@pytest.mark.parametrize("table", [[], [[0.5]], [[2.0] * 8] * 8, [[-0.1] * 8] * 8])
def test_attention_between_other_spans_is_refused(run: Run, tmp_path: Path, table: list[list[float]]) -> None:
    heads = {**run.heads, "a0.h0": {**run.heads["a0.h0"], "between_spans": table}}
    with pytest.raises(RunFileError, match="between spans should be 8 by 8 shares"):
        stored(replace(run, heads=heads), tmp_path)


def test_prompts_in_spans_that_the_graph_lacks_are_refused(run: Run, tmp_path: Path) -> None:
    rows = [{**prompt, "spans": [8]} for prompt in run.prompts["test"]]
    with pytest.raises(RunFileError, match="numbers below 8"):
        stored(replace(run, prompts={**run.prompts, "test": rows}), tmp_path)


def test_it_is_drawn_and_exported(run: Run) -> None:
    scene = build(run, "eap", "hap")
    assert len(scene.edges) == len(run.circuits["eap"].circuit | run.circuits["hap"].circuit)
    assert "@S2" in tables.edges_csv(run)
    graph = nx.parse_graphml(graphs.graphml(run, "hap"), force_multigraph=True)
    assert {data["reader"] for *_, data in graph.edges(data=True)} == {
        r for _, r in run.circuits["hap"].circuit.names()
    }
    assert "digraph" in graphs.dot(run, "hap")
    written = to_eapig(run.circuits["hap"].circuit)
    assert sum(edge["in_graph"] for edge in written["edges"].values()) == len(run.circuits["hap"].circuit.collapsed())
    assert not any("@" in name for name in json.dumps(written).split('"'))


def test_what_knows_no_positions_says_so(run: Run, tmp_path: Path) -> None:
    with pytest.raises(RunFileError, match="at spans of the prompts"):
        write_submission([run], tmp_path)
    plain = replace(run, graph=run.graph.whole)
    assert "other parts of the prompts" in comparable(run, plain)
    with pytest.raises(UnknownNameError, match="halves"):
        replace(CONFIG, positions="halves")


def test_a_rival_is_found(run: Run, masked: MaskedModel) -> None:
    found = finish(find_rival(masked, run, steps=5))
    assert found.rival
    assert found.circuits["rival"].circuit.graph == run.graph


def test_too_sparse_a_positional_circuit_is_refused() -> None:
    with pytest.raises(SettingsError):
        finish(discover(replace(CONFIG, sparsity=0.99999)))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_its_stability_and_its_prompts(run: Run, dtype: str) -> None:
    masked, run = open_masked(load_model("hap-mini")), replace(run, settings={**run.settings, "dtype": dtype})
    assert finish(bootstrap(masked, run, 2, 5)).stability["edges"]
    assert len(finish(per_prompt(masked, run, 2, 5)).prompt_circuits["prompts"]) == 2


@pytest.mark.parametrize("kind", ["mean", "zero"])
def test_other_ablations_are_refused(run: Run, masked: MaskedModel, kind: str) -> None:
    with pytest.raises(SettingsError, match=f"Expected the ablation resample, got {kind}"):
        finish(reevaluate(masked, run, kind))
    assert not finish(examine(masked, run, prompts=8)).statistics["ablations"]


def test_prompts_without_their_spans_are_refused(run: Run, masked: MaskedModel) -> None:
    circuit = run.circuits["hap"].circuit
    _, pairs = stored_prompts(masked, run, "test")
    bare = [replace(pair, spans=()) for pair in pairs]
    with pytest.raises(TaskError, match="prompts whose tokens lie in its spans"):
        finish(measure(masked.at_spans(run.graph.spans), bare, {"hap": circuit}))
    for spans in ([], [0], [-1] * 20):
        rows = [{**prompt, "spans": spans} for prompt in run.prompts["test"]]
        with pytest.raises(TaskError, match="do not say in which span each token lies"):
            stored_prompts(masked, replace(run, prompts={**run.prompts, "test": rows}), "test")
