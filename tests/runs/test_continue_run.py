"""Going on from a finished run: a tighter budget, the same settings, clear refusals."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from hap_engine.cli.commands import main
from hap_engine.errors import SettingsError
from hap_engine.masked.masked_pass import MaskedModel
from hap_engine.progress import drain
from hap_engine.runs.command import command
from hap_engine.runs.continue_run import again, further
from hap_engine.runs.record import Run
from hap_engine.runs.run_file import load
from hap_engine.settings import DiscoveryConfig, PruningConfig, run_id
from hap_engine.tasks.custom import prompts_hash
from hap_engine.tasks.pair import PromptPair
from hap_engine.workflows.discover import discover
from tests.builders.tiny_models import SIZES

FAST = PruningConfig(steps=6, batch_size=4)


@pytest.fixture(scope="module")
def run(gpt2: MaskedModel) -> Run:
    config = DiscoveryConfig(model="tiny", sparsity=0.6, keep=0.8, pruning=FAST, sizes=SIZES)
    return drain(discover(config, gpt2.model))


def test_the_circuit_shrinks_within_the_run_it_goes_on_from(run: Run, gpt2: MaskedModel) -> None:
    config = further(run, 0.8)
    onward = drain(discover(config, gpt2.model))
    before, after = run.circuits["hap"].circuit, onward.circuits["hap"].circuit
    assert 0 < len(after) <= onward.settings["target_edges"] < len(before)
    assert after - before == after - after
    assert onward.settings["continues"] == run.id
    assert onward.settings["kept_share"] == len(before) / run.graph.n_edges
    assert onward.circuits["eap"].circuit != run.circuits["eap"].circuit  # at the new size
    assert onward.command == (f"python -m hap_engine continue {run.id}.json --sparsity 0.8 --steps 6")
    third = further(onward, 0.9)  # and on, from there
    assert third.start is not None
    assert third.start.run == onward.id
    with pytest.raises(SettingsError, match=f"goes on from run {run.id}"):
        again(onward, seed=1)


def test_a_run_that_was_split_by_an_older_rule_is_not_gone_on_from(run: Run) -> None:
    """Its training rows may be test rows by the rule of today."""
    apart = [PromptPair(f"the {noun}s", f"the {noun}", " are", " is") for noun in "abcdefghijkl"]
    for pairs, refused in (([*apart, PromptPair("the sun", "the a", " x", " y")], True), (apart, False)):
        older = {**run.settings, "task": "custom", "corruption": "given", "prompts": prompts_hash(pairs), "sizes": {}}
        stored = {"train": [pair.to_dict() for pair in pairs]}
        given = dataclasses.replace(run, settings=older, prompts=stored, task={**run.task, "name": "custom"})
        if refused:
            with pytest.raises(SettingsError, match="Expected a run whose splits share no prompt"):
                further(given, 0.8)
            given = dataclasses.replace(given, settings={**older, "split_by": "clean and corrupted prompts"})
        assert further(given, 0.8).prompts == tuple(pairs)


def test_the_run_it_goes_on_from_is_part_of_the_name(run: Run) -> None:
    config = further(run, 0.8)
    plain = dataclasses.replace(config, start=None)
    assert run_id(config, "x") != run_id(plain, "x")
    other = dataclasses.replace(run, id="another")
    assert run_id(further(other, 0.8), "x") != run_id(config, "x")


def test_again_gives_the_run_its_own_settings(run: Run, gpt2: MaskedModel) -> None:
    assert run_id(again(run), gpt2.model.sha256) == run.id
    assert again(run, seed=5).seed == 5


def test_what_cannot_be_continued_says_why(run: Run, gpt2: MaskedModel) -> None:
    with pytest.raises(SettingsError, match="sparsity above the run"):
        further(run, 0.5)
    eap = dataclasses.replace(run, settings={**run.settings, "method": "eap"})
    with pytest.raises(SettingsError, match="nothing to go on from"):
        further(eap, 0.8)
    other = dataclasses.replace(run, model={**run.model, "sha256": "0" * 64})
    with pytest.raises(SettingsError, match="made on other weights"):
        drain(discover(further(other, 0.8), gpt2.model))
    own = dataclasses.replace(run, settings={**run.settings, "prompts": "abc"})
    with pytest.raises(SettingsError, match="prompts of your own"):
        further(own, 0.8)
    damaged = dataclasses.replace(run, settings={**run.settings, "pruning": {"steps": "many"}})
    with pytest.raises(SettingsError, match="cannot be used again"):
        again(damaged)
    config = further(run, 0.8)
    with pytest.raises(SettingsError, match="EAP learns nothing"):
        dataclasses.replace(config, method="eap")
    assert "continue" in command(config, "tiny-gpt2", gpt2.model.sha256)


def test_from_the_terminal(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first, out = tmp_path / "first.json", tmp_path / "onward.json"
    words = ["--sparsity", "0.6", "--keep", "0.8", "--steps", "3", "--batch-size", "4"]
    made = ["discover", "--model", str(folder), *words, "--prompts", "8,6,8", "--out", str(first)]
    assert main(made) == 0
    onward = ["continue", str(first), "--sparsity", "0.85", "--model", str(folder)]
    assert main([*onward, "--out", str(out)]) == 0
    assert load(out).settings["continues"] == load(first).id
    assert len(load(out).circuits["hap"].circuit) < len(load(first).circuits["hap"].circuit)
    capsys.readouterr()
    assert main(["continue", str(first), "--sparsity", "0.3"]) == 1
    assert "Expected a sparsity above" in capsys.readouterr().err
    bad = json.loads(first.read_text())
    bad["circuits"]["hap"].pop("gates")
    save_path = tmp_path / "bad.json"
    save_path.write_text(json.dumps(bad))
    assert main(["continue", str(save_path), "--sparsity", "0.85"]) == 1
    assert "nothing to go on from" in capsys.readouterr().err
