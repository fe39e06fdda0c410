"""Run files: a real run survives the disk; everything else is refused with one plain sentence."""

from __future__ import annotations

import copy
import json
import math
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hap_engine import files
from hap_engine.errors import RunFileError
from hap_engine.graph.graph import Graph
from hap_engine.masked.masked_pass import MaskedModel
from hap_engine.runs import run_file
from hap_engine.runs.record import Run
from hap_engine.runs.run_file import dumps, load, loads, save
from hap_engine.settings import DiscoveryConfig, PruningConfig
from hap_engine.workflows.discover import discover
from tests.builders.fakes import fake_run
from tests.builders.mutants import mutants
from tests.builders.tiny_models import SIZES, finish
from tests.builders.whole_runs import positional_run, whole_run


@pytest.fixture(scope="module")
def run(llama: MaskedModel) -> Run:
    """A real run of a tiny model."""
    config = DiscoveryConfig(
        model="tiny", sparsity=0.6, keep=0.8, sizes=SIZES, pruning=PruningConfig(steps=3, batch_size=4)
    )
    return finish(discover(config, llama.model))


@pytest.fixture
def data(run: Run) -> dict[str, Any]:
    return json.loads(dumps(run))


def refuse(data: Any) -> str:
    with pytest.raises(RunFileError) as caught:
        loads(json.dumps(data))
    message = str(caught.value)
    assert "\n" not in message
    assert len(message) < 600
    return message


def test_a_real_run_survives_the_disk(run: Run, tmp_path: Path) -> None:
    path = save(run, tmp_path / "deep" / "run.json")
    read = load(path)
    assert dumps(read) == dumps(run)
    assert read.graph == run.graph
    for name, held in run.circuits.items():
        assert read.circuits[name].circuit == held.circuit
        assert read.circuits[name].n_raw == held.n_raw
        for key, values in held.values.items():
            np.testing.assert_allclose(read.circuits[name].values[key], values, rtol=1e-6)
    assert read.title == run.title
    assert (read.main, read.sparsity) == ("hap", 0.6)


def test_saving_leaves_no_partial_file(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    save(run, path)
    save(run, path)
    assert [p.name for p in tmp_path.iterdir()] == ["run.json"]


def test_a_failed_save_keeps_the_old_file(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = save(run, tmp_path / "run.json")
    before = path.read_bytes()
    monkeypatch.setattr(run_file, "dumps", lambda _: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        save(run, path)
    assert [p.name for p in tmp_path.iterdir()] == ["run.json"]
    assert path.read_bytes() == before


def test_readers_never_see_half_a_run(run: Run, tmp_path: Path) -> None:
    path, stop, seen = save(run, tmp_path / "run.json"), threading.Event(), []

    def read() -> None:
        while not stop.is_set():
            seen.append(json.loads(path.read_text())["id"])

    reader = threading.Thread(target=read)
    reader.start()
    for _ in range(5):
        save(run, path)
    stop.set()
    reader.join()
    assert set(seen) == {run.id}


def test_markup_in_texts_is_kept_as_it_is(tmp_path: Path) -> None:
    text = '<script>alert("a5.h1<q> & co")</script> ünïcode 👩‍🏫'
    run = fake_run(prompts={"train": [], "test": [{"clean": text}]}, name=text)
    read = load(save(run, tmp_path / "run.json"))
    assert read.prompts["test"][0]["clean"] == text
    assert read.title == text


def test_values_follow_their_edges(data: dict[str, Any]) -> None:
    """A file may list edges in any order."""
    shuffled = copy.deepcopy(data)
    record = shuffled["circuits"]["hap"]
    order = np.random.default_rng(0).permutation(len(record["edges"]))
    for key in ("edges", "scores", "ranks", "gates"):
        record[key] = [record[key][i] for i in order]
    a, b = loads(json.dumps(shuffled)), loads(json.dumps(data))
    for key in ("scores", "ranks", "gates"):
        np.testing.assert_array_equal(a.circuits["hap"].values[key], b.circuits["hap"].values[key])


def test_numbers_that_json_lacks(tmp_path: Path) -> None:
    """NaN is written as null and read as NaN: gates that EP never saw, a faithfulness without span."""
    run = fake_run(Graph(2, 2, 2), edges=20)
    metrics = copy.deepcopy(dict(run.metrics))
    metrics["hap"]["faithfulness"] = math.nan
    text = dumps(fake_run(Graph(2, 2, 2), edges=20, metrics=metrics))
    assert "NaN" not in text
    read = loads(text)
    assert np.isnan(read.circuits["eap"].values["gates"]).all()
    assert math.isnan(read.metrics["hap"]["faithfulness"])


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "null", '{"format": "other"}', "\x00", "NaN", "1e999", '{"id": "a", "id": "b"}']
)
def test_files_that_are_no_runs(text: str) -> None:
    with pytest.raises(RunFileError, match="not a run file"):
        loads(text)


@pytest.mark.parametrize("text", [b"\xff\xfe\x00", b"\x80abc", b"[" * 100_000, b'{"a":' * 50_000])
def test_bytes_that_are_no_runs(text: bytes) -> None:
    with pytest.raises(RunFileError, match="not a run file"):
        loads(text)


def test_too_large_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "big.json"
    with path.open("wb") as file:
        file.truncate(run_file.MAX_BYTES + 1)
    with pytest.raises(RunFileError, match="at most 60 MB"):
        load(path)
    with pytest.raises(RunFileError, match="at most 60 MB"):
        loads(" " * (run_file.MAX_BYTES + 1))


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(RunFileError, match=r"gone\.json: No such file"):
        load(tmp_path / "gone.json")
    with pytest.raises(RunFileError, match="Is a directory"):
        load(tmp_path)


def change(path: str, value: Any) -> Callable[[dict[str, Any]], None]:
    def apply(data: dict[str, Any]) -> None:
        *parents, last = path.split("/")
        for key in parents:
            data = data[int(key) if isinstance(data, list) else key]
        data[int(last) if isinstance(data, list) else last] = value

    return apply


BROKEN = {
    "newer version": (change("version", 2), "has version 2; this program reads up to 1"),
    "version zero": (change("version", 0), "version from 1"),
    "version as text": (change("version", "1"), "version from 1"),
    "version as truth value": (change("version", True), "version from 1"),
    "no graph": (change("graph", None), "'graph' should be a mapping"),
    "impossible graph": (change("graph/n_heads", 0), "graph sizes"),
    "seed as truth value": (change("seed", True), "'seed' should be a whole number"),
    "id with a slash": (change("id", "../../etc"), "letters, digits"),
    "unknown edge": (change("circuits/hap/edges/0", ["input", "a9.h9<q>"]), "edge that its graph lacks"),
    "backward edge": (change("circuits/hap/edges/0", ["m1", "a0.h0<q>"]), "edge that its graph lacks"),
    "edge of three": (change("circuits/hap/edges/0", ["input", "m0", "m1"]), "pair of names"),
    "edge of numbers": (change("circuits/hap/edges/0", [1, 2]), "pair of names"),
    "too few values": (change("circuits/hap/scores", [1.0]), "one number (or null) per edge"),
    "text as a value": (change("circuits/hap/scores/0", "0.5"), "one number (or null) per edge"),
    "fewer raw than live": (change("circuits/hap/n_raw", 1), "states 1 raw edges"),
    "no main circuit": (change("settings/method", "ep"), "holds no such circuit"),
    "sparsity of one": (change("settings/sparsity", 1), "sparsity between 0 and 1"),
    "sparsity NaN": (change("settings/sparsity", math.nan), "NaN is no number in JSON"),
    "id of a device": (change("id", "CON"), "no device's name"),
    "half a character": (change("name", "\ud800"), "not valid JSON"),
    "a scorer as number": (change("settings/scorer", 5), "'scorer' should be text"),
    "sizes as a list": (change("settings/sizes", []), "'sizes' should be a mapping"),
    "edges of a row as list": (change("metrics/hap/n_edges", [1]), "'n_edges' should be a number"),
    "nested too deeply": (change("machine", json.loads("[" * 500 + "]" * 500)), "nested more than 32 levels"),
    "metric as text": (change("metrics/hap/kl", "low"), "metrics of 'hap' lack numbers for kl"),
    "metric row as list": (change("metrics/hap", []), "metrics of 'hap'"),
    "unknown head": (change("heads/a9.h9", {}), "heads that its graph lacks"),
    "prompts as text": (change("prompts/test", "x"), "'prompts' 'test' should be a list"),
    "a prompt as text": (change("prompts/test/0", "x"), "'prompts' 'test' entry should be a mapping"),
    "a model's name as number": (change("model/name", 5), "'model' 'name' should be text, got 5"),
    "history as numbers": (change("history", [1]), "'history' entry should be a mapping"),
    "a rank as text": (change("heads/a0.h0/eap_rank", "1"), "'eap_rank' should be a whole number"),
    "a role without name": (change("roles/heads", {"a0.h0": {}}), "'a0.h0' lacks role"),
    "a replay of one list": (change("replay", {"edges": [["input", "m0"]]}), "one last step for each edge"),
    "attention as text": (change("attention", ["x"]), "'attention' entry should be a mapping"),
    "attention of other size": (change("attention/0/tokens/clean", ["a"]), "1 by 1 numbers"),
    "no title": (change("task", {"name": "ioi"}), "'task' lacks title"),
    "roles as a number": (change("roles/heads", 5), "heads"),
    "a role as text": (change("roles/heads", {"a0.h0": "name_mover"}), "heads"),
    "a head as text": (change("heads/a0.h0", "x"), "heads"),
    "a number beyond floats": (change("circuits/hap/scores/0", 10**400), "number"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_runs(data: dict[str, Any], name: str) -> None:
    apply, words = BROKEN[name]
    apply(data)
    assert words in refuse(data)


def test_an_edge_listed_twice(data: dict[str, Any]) -> None:
    record = data["circuits"]["hap"]
    record["edges"][1] = record["edges"][0]
    assert "lists an edge twice" in refuse(data)


@pytest.mark.parametrize(("made", "parts"), [(whole_run, ""), (positional_run, "graph/")])
def test_no_junk_anywhere_crashes_the_reader(made: Callable[[], Run], parts: str) -> None:
    """Every part of a run, replaced by every kind of junk: read, or refused; never another error."""
    failures = []
    for name, mutant in mutants(json.loads(dumps(made()))):
        if not name.startswith(parts):
            continue
        try:
            loads(json.dumps(mutant))
        except RunFileError:
            pass
        except Exception as error:
            failures.append(f"{name}: {error!r}"[:150])
    assert not failures, "\n".join(failures)


def test_home_is_an_environment_variable(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HAP_HOME", str(tmp_path))
    assert run_file.runs_folder() == tmp_path / "runs"
    monkeypatch.delenv("HAP_HOME")
    assert files.home().name == "hap-explorer"
