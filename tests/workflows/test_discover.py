"""The whole method on a tiny model: phases, cancelling, determinism, sizes, messages."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from hap_engine.cli.commands import _config
from hap_engine.cli.options import make_parser
from hap_engine.errors import HapError, SettingsError, TaskError, UnknownNameError
from hap_engine.evaluation.measure import circuit_kl
from hap_engine.evaluation.stored_prompts import stored_prompts
from hap_engine.explain import head_facts
from hap_engine.graph.circuit import Circuit
from hap_engine.graph.ranking import edge_budget
from hap_engine.masked.masked_pass import MaskedModel
from hap_engine.masked.opening import open_masked
from hap_engine.masked.prompt_cache import Prepared
from hap_engine.progress import PHASES, Progress
from hap_engine.report.verdict import warnings
from hap_engine.runs.command import command
from hap_engine.runs.record import Run
from hap_engine.runs.run_file import dumps, loads
from hap_engine.settings import (
    PRESETS,
    QUICK_SIZES,
    SMALL_BATCH,
    DiscoveryConfig,
    PruningConfig,
    kept_share,
    run_id,
    with_preset,
)
from hap_engine.tasks.pair import PromptPair
from hap_engine.tasks.task import SplitSizes
from hap_engine.tasks.templates import ioi
from hap_engine.transformer.load import Model, load_model
from hap_engine.workflows.discover import discover
from hap_engine.workflows.run_prompts import try_prompts
from tests.builders.tiny_models import SIZES, finish, make_model, word_tokenizer

FAST = PruningConfig(steps=6, batch_size=4)


def config(**changes: Any) -> DiscoveryConfig:
    base = DiscoveryConfig(model="tiny", sparsity=0.8, keep=0.6, pruning=FAST, sizes=SIZES)
    return dataclasses.replace(base, **changes)


def follow(settings: DiscoveryConfig, model: Model) -> tuple[list[Progress], Run]:
    records, work = [], discover(settings, model)
    while True:
        try:
            records.append(next(work))
        except StopIteration as stop:
            return records, stop.value


@pytest.fixture(scope="module")
def model(gpt2: MaskedModel) -> Model:
    return gpt2.model


@pytest.fixture(scope="module")
def done(model: Model) -> tuple[list[Progress], Run]:
    return follow(config(), model)


def fingerprint(model: Model) -> str:
    """All weights, buffers, and hooks that a cancelled run might have left behind."""
    state = hashlib.sha256()
    for name, value in sorted(model.hf_model.state_dict().items()):
        state.update(name.encode() + value.numpy().tobytes())
    flags = [(p.requires_grad, p.grad is None) for p in model.hf_model.parameters()]
    hooks = sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.hf_model.modules())
    return f"{state.hexdigest()} {flags} {model.hf_model.training} {hooks}"


def test_a_run_is_complete(done: tuple[list[Progress], Run], model: Model) -> None:
    _, run = done
    budget = edge_budget(model.graph, 0.8)
    assert run.main == "hap"
    assert set(run.circuits) == {"hap", "eap", "eap-ig-kl"}
    assert set(run.metrics) == {"full", "empty", "random", *run.circuits}
    assert run.circuits["hap"].n_raw >= budget == run.settings["target_edges"]
    live = len(run.circuits["hap"].circuit)
    assert 0 < live <= budget
    for name, record in run.circuits.items():
        assert record.circuit == record.circuit.live
        assert set(record.values) == {"scores", "ranks"} | ({"gates"} if name == "hap" else set())
        assert all(len(values) == len(record.circuit) for values in record.values.values())
        if name != "hap":
            assert live <= len(record.circuit) <= live + 8, "at equal size, or slightly more"
    assert np.isfinite(run.circuits["hap"].values["gates"]).all()
    assert len(run.history) == FAST.steps
    assert set(run.heads) == set(model.graph.heads)
    assert [len(run.prompts[split]) for split in ("train", "test")] == [8, 8]
    assert set(run.seconds) == {*PHASES, "total"}
    for row in run.metrics.values():
        assert row["ablation"] == "resample (abc)"
        assert row["split"] == "test"
        assert row["n_prompts"] == 8


def test_the_kl_that_is_told_is_that_of_what_was_kept() -> None:
    """Half-open gates had KL 0.00 here, and the sentence said that of the 30 edges that were cut out."""
    pruning = dataclasses.replace(PRESETS["published"], steps=30)
    run = finish(discover(DiscoveryConfig(sizes=SplitSizes(64, 16, 32), pruning=pruning)))
    masked = open_masked(load_model("hap-mini"))
    training = finish(Prepared(*stored_prompts(masked, run, "train")).run()).first(24)
    row = run.metrics["hap"]
    assert row["train_kl"] == pytest.approx(circuit_kl(training, run.circuits["hap"].circuit), rel=1e-4)
    assert row["train_kl"] == pytest.approx(6.15, abs=0.01)
    assert run.history[-1]["kl"] < 0.01
    (sentence,) = warnings(run)
    assert "about 148 gates were still open, and the circuit keeps the best 30" in sentence
    assert (row["n_train"], loads(dumps(run)).metrics["hap"]["train_kl"]) == (24, row["train_kl"])


def test_ranks_of_a_run_are_those_of_all_edges(done: tuple[list[Progress], Run]) -> None:
    record = done[1].circuits["eap"]
    order = np.argsort(record.values["ranks"])
    sizes = np.abs(record.values["scores"])[order]
    assert (np.diff(sizes) <= 0).all()
    best = min(found["eap_rank"] for found in done[1].heads.values())
    assert best >= 1


def test_phases_come_in_order(done: tuple[list[Progress], Run]) -> None:
    """A progress display that has left a phase never sees it again."""
    phases = [record.phase for record in done[0]]
    assert [p for i, p in enumerate(phases) if i == 0 or phases[i - 1] != p] == list(PHASES)[PHASES.index(phases[0]) :]
    for record in done[0]:
        assert 0 <= record.step <= record.total
    assert all(isinstance(record.message, str) and record.message for record in done[0])


def test_pruning_shows_the_circuit_as_it_stands(done: tuple[list[Progress], Run]) -> None:
    shown = [r.data for r in done[0] if r.phase == "prune" and "circuit" in r.data]
    assert [data["step"] for data in shown] == [1, 5, 6]
    for data in shown:
        assert isinstance(data["circuit"], Circuit)
        assert len(data["circuit"]) == round(data["budget"])


def test_the_replay_ends_with_the_circuit(done: tuple[list[Progress], Run]) -> None:
    run = done[1]
    replay = dict(zip(map(tuple, run.replay["edges"]), run.replay["last_open"], strict=True))
    final = {edge for edge, last in replay.items() if last == FAST.steps}
    assert set(run.circuits["hap"].circuit.names()) <= final
    assert len(final) >= run.circuits["hap"].n_raw


def test_one_seed_gives_one_run(done: tuple[list[Progress], Run], model: Model) -> None:
    first, again = json.loads(dumps(done[1])), json.loads(dumps(follow(config(), model)[1]))
    for data in (first, again):
        for volatile in ("created", "seconds"):
            del data[volatile]
        for record in data["history"]:
            del record["seconds"]
    assert first == again
    other = follow(config(seed=1), model)[1]
    assert other.id != done[1].id
    assert other.prompts != done[1].prompts


def test_the_same_run_in_bfloat16(model: Model) -> None:
    run = follow(config(dtype="bfloat16"), model)[1]
    assert run.metrics["full"]["kl"] == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("phase", PHASES)
def test_cancelling_leaves_nothing_behind(model: Model, phase: str) -> None:
    before, work = fingerprint(model), discover(config(), model)
    for record in work:
        if record.phase == phase:
            break
    work.close()
    assert torch.is_grad_enabled()
    assert fingerprint(model) == before


def test_the_callers_grad_mode_is_never_changed(model: Model) -> None:
    modes = {record.phase: torch.is_grad_enabled() for record in discover(config(), model)}
    assert all(modes.values()), modes


def test_a_finished_run_leaves_the_model_alone(model: Model) -> None:
    before = fingerprint(model)
    follow(config(), model)
    assert fingerprint(model) == before


@pytest.mark.parametrize(("method", "circuits"), [("ep", {"ep", "eap"}), ("eap", {"eap"}), ("hap", {"hap", "eap"})])
def test_methods(model: Model, method: str, circuits: set[str]) -> None:
    records, run = follow(config(method=method, scorer="eap"), model)
    assert set(run.circuits) == circuits
    assert run.main == method
    assert bool(run.history) == (method != "eap")
    assert any(r.phase == "prune" for r in records) == (method != "eap")
    live = len(run.circuits[method].circuit)
    assert run.metrics["random"]["n_edges"] == live
    assert run.metrics[method]["n_edges"] == live
    assert len(run.circuits["eap"].circuit) >= live


@pytest.mark.parametrize("family", ["llama", "neox"])
def test_other_families(models: Callable[[str], MaskedModel], family: str) -> None:
    run = follow(config(), models(family).model)[1]
    assert run.graph == models(family).graph
    assert run.model["architecture"] in ("LlamaForCausalLM", "GPTNeoXForCausalLM")


@pytest.mark.parametrize("corruption", ["s2", "s2_io"])
def test_corruptions(model: Model, corruption: str) -> None:
    run = follow(config(corruption=corruption), model)[1]
    assert run.task["corruption"] == run.settings["corruption"] == corruption
    assert run.metrics["full"]["ablation"] == f"resample ({corruption})"


@pytest.mark.parametrize(
    ("changes", "kind", "words"),
    [
        ({"method": "happ"}, UnknownNameError, "Did you mean 'hap'"),
        ({"scorer": "eapig"}, UnknownNameError, "Did you mean 'eap-ig'"),
        ({"task": "iio"}, UnknownNameError, "Did you mean 'ioi'"),
        ({"dtype": "float23"}, UnknownNameError, "Did you mean 'float32'"),
        ({"corruption": "abd"}, UnknownNameError, "Did you mean 'abc'"),
        ({"sparsity": 1.0}, SettingsError, "sparsity between 0 and 1"),
        ({"sparsity": float("nan")}, SettingsError, "sparsity between 0 and 1"),
        ({"sparsity": 98.0}, SettingsError, "got 98"),
        ({"keep": 0.0}, SettingsError, "keep between 0 and 1"),
        ({"keep": 1.5}, SettingsError, "keep between 0 and 1"),
        ({"pruning": PruningConfig(batch_size=17)}, SettingsError, "at most the 8 training prompts"),
        ({"seed": -1}, SettingsError, "seed from 0"),
        ({"seed": 2**31}, SettingsError, "seed from 0"),
    ],
)
def test_bad_settings(changes: dict[str, Any], kind: type[HapError], words: str) -> None:
    with pytest.raises(kind, match=words):
        config(**changes)


@pytest.mark.parametrize("batch", [17, 64, 600])
def test_a_batch_may_be_larger_than_the_few_prompts_that_are_tried_first(batch: int) -> None:
    try_prompts(DiscoveryConfig(pruning=PruningConfig(batch_size=batch)))


@pytest.mark.parametrize(
    ("changes", "words"), [({"sparsity": 0.999}, "at least 2"), ({"keep": 0.05}, "at least .* candidate edges")]
)
def test_settings_that_the_model_refuses(model: Model, changes: dict[str, Any], words: str) -> None:
    with pytest.raises(SettingsError, match=words):
        follow(config(**changes), model)


def test_the_sparsest_circuit_that_is_allowed(model: Model) -> None:
    """Two edges: gates that are all closed in a sample must not end the run."""
    run = follow(config(sparsity=1 - 2.5 / model.graph.n_edges, keep=1.0), model)[1]
    assert len(run.circuits["hap"].circuit) <= 2
    assert run.metrics["random"]["n_edges"] == len(run.circuits["hap"].circuit)


def test_prompts_longer_than_the_model_are_refused() -> None:
    model = make_model("gpt2")
    model.hf_model.config.n_positions = 10
    with pytest.raises(TaskError, match="reads at most 10"):
        follow(config(), model)


def test_ids_follow_settings_and_weights() -> None:
    base = run_id(config(), "weights")
    assert base == run_id(config(model="another path"), "weights"), "the hash names the model"
    assert base == run_id(config(corruption="abc"), "weights"), "the default, spelled out"
    others = [
        run_id(config(), "other"),
        run_id(config(seed=1), "weights"),
        run_id(config(sizes=SplitSizes(9, 6, 8)), "weights"),
        run_id(config(pruning=dataclasses.replace(FAST, lr=0.4)), "weights"),
    ]
    assert len({base, *others}) == 5


@pytest.mark.parametrize(
    ("changes", "share"),
    [
        ({"keep": None}, 0.8),
        ({"keep": None, "sparsity": 0.995}, 0.4),
        ({"keep": None, "sparsity": 0.995, "pruning": PRESETS["one-size"]}, 0.1),
        ({"keep": 0.3}, 0.3),
        ({"method": "ep"}, 1.0),
        ({"keep": None, "sparsity": 0.5}, 1.0),
    ],
)
def test_kept_share(changes: dict[str, Any], share: float) -> None:
    assert kept_share(config(**changes)) == pytest.approx(share)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"sparsity": 0.98765432, "seed": 7, "method": "ep"},
        {"keep": None, "scorer": "eap", "corruption": "s2_io", "dtype": "bfloat16"},
        {"keep": 1 / 3, "pruning": PruningConfig(budget="lagrangian", lr=0.123456789, warm_start=-4.0)},
        {"sizes": SplitSizes(), "pruning": PRESETS["thorough"]},
        {"pruning": PruningConfig(clip=0, ld_weight=0.05)},
    ],
)
def test_the_command_makes_the_same_run(changes: dict[str, Any], model: Model) -> None:
    wanted = config(**changes)
    words = shlex.split(command(wanted, str(model.to_dict()["reference"]), model.sha256))
    assert words[:4] == ["python", "-m", "hap_engine", "discover"]
    read = _config(make_parser().parse_args(words[3:]))
    assert read.model == model.name
    assert run_id(read, "x") == run_id(wanted, "x")


def test_a_small_batch_takes_all_prompts_where_there_are_fewer() -> None:
    assert config(pruning=PruningConfig(batch_size=SMALL_BATCH)).pruning.batch_size > SIZES.train
    assert config(method="eap", pruning=PruningConfig(batch_size=99))  # learns nothing
    own = tuple(PromptPair(f"{i}", "a", "b", "c") for i in range(10))
    assert DiscoveryConfig(task="custom", prompts=own, pruning=PruningConfig(batch_size=99))


def test_presets() -> None:
    quick = with_preset(config(), "quick")
    assert (quick.pruning, quick.sizes) == (PRESETS["quick"], QUICK_SIZES)
    assert with_preset(quick, "thorough").sizes == SplitSizes()
    own = tuple(PromptPair(f"{i}", "a", "b", "c") for i in range(10))
    assert with_preset(DiscoveryConfig(task="custom", prompts=own), "quick").sizes == SplitSizes()  # all of them
    with pytest.raises(UnknownNameError, match="Did you mean 'thorough'"):
        with_preset(config(), "through")


def test_attention_is_stored_for_the_shown_heads(done: tuple[list[Progress], Run]) -> None:
    run = done[1]
    assert len(run.attention) == head_facts.SHOWN_PROMPTS
    for shown, prompt in zip(run.attention, run.prompts["test"], strict=False):
        tokens = shown["tokens"]["clean"]
        assert tokens[-1] == "to"
        assert len(tokens) == len(shown["tokens"]["corrupt"])
        assert shown["roles"] == prompt["roles"]
        assert tokens[shown["roles"]["IO"]] == prompt["answer"].strip()
        for sides in shown["heads"].values():
            for matrix in sides.values():
                assert np.allclose(np.sum(matrix, axis=1), 1, atol=0.02)


def test_a_tokenizer_without_the_names_is_refused(model: Model) -> None:
    few = dataclasses.replace(model, tokenizer=word_tokenizer(names=ioi.NAMES[:3]))
    with pytest.raises(TaskError, match="names that are one token"):
        follow(config(), few)


def test_loading_by_name_is_part_of_the_run(folder: Path) -> None:
    records = []
    for record in discover(config(model=str(folder), method="eap")):
        records.append(record)
        if record.phase == "prompts":
            break
    assert list(dict.fromkeys(r.phase for r in records)) == ["load", "prompts"]
