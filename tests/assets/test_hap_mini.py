"""The bundled model and the shipped runs: what the README and the model card claim."""

from __future__ import annotations

from pathlib import Path

import pytest

from hap_engine.findings import METRICS
from hap_engine.masked.opening import open_masked
from hap_engine.models.catalog import BUNDLED
from hap_engine.runs.examples import example
from hap_engine.runs.record import Run
from hap_engine.runs.run_file import load
from hap_engine.settings import DiscoveryConfig
from hap_engine.tasks.builtin import TASKS
from hap_engine.tasks.task import SplitSizes
from hap_engine.transformer.load import Model, load_model
from hap_engine.workflows.ask_model import TaskCheck, check_task
from hap_engine.workflows.discover import discover
from tests.builders.tiny_models import finish

RUNS = sorted((Path(__file__).parents[2] / "assets" / "runs").glob("*.json"))


@pytest.fixture(scope="module")
def mini() -> Model:
    return load_model("hap-mini")


@pytest.fixture(scope="module")
def run(mini: Model) -> Run:
    return finish(discover(DiscoveryConfig(model="hap-mini", sparsity=0.98), mini))


def test_the_bundled_model_is_small_and_complete() -> None:
    files = {path.name: path.stat().st_size for path in BUNDLED["hap-mini"].iterdir()}
    assert {"config.json", "model.safetensors", "tokenizer.json", "README.md"} <= set(files)
    assert sum(files.values()) < 5e6


def test_it_solves_ioi_on_unseen_pairs_and_not_on_corrupted_prompts(run: Run) -> None:
    full, empty = run.metrics["full"], run.metrics["empty"]
    assert full["accuracy"] >= 0.99
    assert full["top1"] >= 0.99
    assert empty["accuracy"] < 0.65
    assert empty["top1"] < 0.05


@pytest.mark.parametrize("name", ["ioi", "greater-than", "pronoun", "agreement", "induction"])
def test_it_does_its_tasks(name: str, mini: Model) -> None:
    task = TASKS[name]
    sets = task.generate(mini.tokenizer, SplitSizes(1, 1, 256), 0, task.default_corruption)
    found: TaskCheck = finish(check_task(open_masked(mini), sets.test))
    assert found.accuracy >= 0.99
    assert found.broken


def test_hap_halves_the_kl_of_eap_at_equal_size(run: Run) -> None:
    sizes = {name: len(record.circuit) for name, record in run.circuits.items()}
    assert sizes["hap"] <= 30 <= sizes["eap"]
    assert run.metrics["hap"]["kl"] <= 0.5 * run.metrics["eap"]["kl"]
    assert run.metrics["random"]["kl"] > 10 * run.metrics["hap"]["kl"]
    assert run.metrics["hap"]["exact_match"] >= 0.9


@pytest.mark.parametrize("name", ["greater-than", "pronoun", "agreement", "induction"])
def test_hap_beats_eap_on_its_other_tasks(name: str, mini: Model) -> None:
    found = finish(discover(DiscoveryConfig(model="hap-mini", task=name, sparsity=0.95), mini))
    assert len(found.circuits["hap"].circuit) <= 75
    assert found.metrics["hap"]["kl"] < found.metrics["eap"]["kl"]


def test_it_has_an_s_inhibition_head_by_causal_evidence(run: Run) -> None:
    roles = {head: found["role"] for head, found in run.roles["heads"].items()}
    assert "s_inhibition" in roles.values()
    assert [head for head, role in roles.items() if role == "name_mover"] == ["a3.h0", "a3.h1"]


@pytest.mark.parametrize("path", RUNS, ids=[path.stem for path in RUNS])
def test_shipped_runs_are_whole_and_say_where_they_come_from(path: Path) -> None:
    shipped = load(path)
    assert path.stem == shipped.id
    assert path.stat().st_size < 3.0e6
    assert shipped.command.startswith("python -m hap_engine discover --model ")
    assert len(shipped.model["sha256"]) == 64
    assert shipped.created.startswith("20")
    assert set(shipped.metrics) >= {"full", "empty", "random", "eap", "hap"}
    assert all(set(METRICS) <= set(row) for row in shipped.metrics.values())
    assert {row["split"] for row in shipped.metrics.values()} == {"test"}
    assert len(shipped.prompts["test"]) == 256
    assert len(shipped.attention) >= 2
    kept = shipped.circuits["eap"].circuit.heads | shipped.circuits["hap"].circuit.heads
    assert kept <= set(shipped.cuts["promoted"])  # an example says without weights what follows from each head


def test_a_run_of_each_kind_ships() -> None:
    assert {load(path).model["source"] for path in RUNS} == {"bundled", "gguf"}


@pytest.fixture(scope="module")
def real() -> Run:
    return example("SmolLM2")


def test_the_shipped_real_run_is_faithful_where_eap_is_not(real: Run) -> None:
    hap, eap = real.metrics["hap"], real.metrics["eap"]
    assert len(real.circuits["hap"].circuit) <= 706
    assert hap["kl"] <= 0.70
    assert 0.8 <= hap["faithfulness"] <= 1.4
    assert eap["kl"] > 3 * hap["kl"]


def test_the_shipped_real_run_says_what_the_model_says(real: Run) -> None:
    """On four prompts of five down to 2 % of the edges, on three of four at its own 1 %."""
    sizes = real.sizes["grid"]
    assert min(real.sizes["metrics"]["hap"]["exact_match"][: sizes.index(1413) + 1]) >= 0.80
    assert real.metrics["hap"]["exact_match"] >= 0.75


@pytest.mark.parametrize("path", RUNS, ids=[path.stem for path in RUNS])
def test_every_shipped_circuit_is_closer_to_its_model_than_eap(path: Path) -> None:
    shipped = load(path)
    assert shipped.metrics["hap"]["n_edges"] <= shipped.metrics["eap"]["n_edges"]
    assert shipped.metrics["hap"]["kl"] < shipped.metrics["eap"]["kl"]
