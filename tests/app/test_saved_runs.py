"""The runs on this machine: names, deletion, import, and what two tabs may do to each other."""

from __future__ import annotations

import json
import os
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from app.stored import saved_runs
from app.stored.saved_runs import is_shipped
from app.work.discoveries import submit
from app.work.worker import Worker
from hap_engine import files
from hap_engine.errors import DiskError, HapError, RunFileError
from hap_engine.progress import Progress
from hap_engine.report.titles import OWN
from hap_engine.runs.record import Run
from hap_engine.runs.run_file import dumps, load, runs_folder, save
from hap_engine.settings import DiscoveryConfig
from tests.builders.fakes import fake_run
from tests.builders.pages import open_app, press, texts, wait_for


def keep(run: Run) -> Run:
    save(run, runs_folder() / f"{run.id}.json")
    return run


@pytest.fixture
def run() -> Run:
    return keep(fake_run())


def test_saved_runs_come_before_the_examples_newest_first() -> None:
    for seed in (1, 2, 3):
        path = save(fake_run(seed=seed), runs_folder() / f"synthetic-{seed}.json")
        os.utime(path, (seed, seed))
    found, damaged = saved_runs.listed()
    assert [run.id for run in found[:3]] == ["synthetic-3", "synthetic-2", "synthetic-1"]
    assert all(run.shipped for run in found[3:])
    assert len(found) > 3
    assert damaged == []


def test_a_run_of_ones_own_hides_the_shipped_one_of_the_same_id() -> None:
    shipped = next(run for run in saved_runs.listed()[0] if run.shipped)
    keep(saved_runs.open_run(shipped.id))
    found = [run for run in saved_runs.listed()[0] if run.id == shipped.id]
    assert [run.shipped for run in found] == [False]


def test_damaged_and_misnamed_files_are_named_and_do_not_hide_the_rest(run: Run) -> None:
    (runs_folder() / "broken.json").write_text("{")
    save(fake_run(seed=5), runs_folder() / "other.json")
    found, damaged = saved_runs.listed()
    assert run.id in [item.id for item in found]
    assert any("broken.json" in text and "not a run file" in text for text in damaged)
    assert any("other.json" in text and "'synthetic-5'" in text for text in damaged)


def test_a_name_lives_beside_the_run(run: Run) -> None:
    before = saved_runs.find(run.id).read_bytes()
    assert saved_runs.rename(run.id, "  For\tclass \u202e 3  ", seen="") == "For class 3"
    assert saved_runs.find(run.id).read_bytes() == before
    assert saved_runs.open_run(run.id).title == "For class 3"
    assert next(item for item in saved_runs.listed()[0] if item.id == run.id).title == "For class 3"
    saved_runs.rename(run.id, "", seen="For class 3")
    assert saved_runs.open_run(run.id).title == run.title
    assert sorted(path.name for path in runs_folder().iterdir()) == [f"{run.id}.json"]


def test_names_are_one_short_line() -> None:
    assert saved_runs.clean_name("a\nb\x00c" + "d" * 500) == "a b c" + "d" * 75


def test_two_tabs_renaming_one_run(run: Run) -> None:
    saved_runs.rename(run.id, "first", seen="")
    with pytest.raises(HapError, match="renamed to 'first' in another tab"):
        saved_runs.rename(run.id, "second", seen="")
    assert saved_runs.given_name(run.id) == "first"
    saved_runs.rename(run.id, "first", seen="")  # the same wish twice is no conflict


def test_many_tabs_at_once_leave_one_winner(run: Run) -> None:
    def attempt(number: int) -> bool:
        try:
            saved_runs.rename(run.id, f"name {number}", seen="")
        except HapError:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        won = [n for n, ok in enumerate(pool.map(attempt, range(16))) if ok]
    assert len(won) == 1
    assert saved_runs.given_name(run.id) == f"name {won[0]}"


def test_deleting_takes_all_files_and_only_once(run: Run) -> None:
    saved_runs.rename(run.id, "gone soon", seen="")
    (runs_folder() / f"{run.id}.safetensors").write_bytes(b"")
    (runs_folder() / f"{run.id}.imported").write_bytes(b"")
    saved_runs.delete(run.id)
    assert list(runs_folder().iterdir()) == []
    with pytest.raises(HapError, match="no run 'synthetic-0' on this machine"):
        saved_runs.delete(run.id)
    with pytest.raises(HapError, match="no run"):
        saved_runs.rename(run.id, "x", seen="")


def test_examples_can_be_named_but_not_deleted() -> None:
    example = saved_runs.listed()[0][0]
    assert example.shipped
    saved_runs.rename(example.id, "mine", seen="")
    assert saved_runs.open_run(example.id).title == "mine"
    with pytest.raises(HapError, match="cannot be deleted"):
        saved_runs.delete(example.id)


def test_importing_overwrites_nothing(run: Run) -> None:
    again, words = saved_runs.import_run(dumps(run).encode())
    assert again.id == run.id
    assert "already" in words
    assert not saved_runs.imported(run.id)  # it was here before
    other = replace(run, seed=99)
    for _ in range(2):  # the second time it is here already
        imported, _ = saved_runs.import_run(dumps(other).encode())
        assert imported.id == "synthetic-0-2"
    assert saved_runs.open_run(run.id).seed == run.seed
    assert saved_runs.open_run("synthetic-0-2").seed == 99
    assert saved_runs.imported("synthetic-0-2")
    assert len(list(runs_folder().glob("*.json"))) == 2


@pytest.mark.parametrize("data", [b"", b"\xff\xfe", b"[]", b'{"format": "hap-run", "version": 1}'])
def test_files_that_are_no_runs_are_refused_and_leave_nothing(data: bytes) -> None:
    with pytest.raises(RunFileError):
        saved_runs.import_run(data)
    assert not runs_folder().exists()


def test_an_id_cannot_leave_the_folder() -> None:
    for attack in ("../../etc/passwd", "..", "", "/etc/passwd", "a/b", "x\x00y"):
        with pytest.raises(HapError):
            saved_runs.find(attack)


def test_the_verdict_of_a_list_is_computed() -> None:
    run = fake_run()
    kept = run.circuits["eap"].circuit.heads
    heads = [h for h, r in run.roles["heads"].items() if r["role"] == "s_inhibition"]
    count = sum(head in kept for head in heads)
    assert f"EAP keeps {count} and HAP keeps" in saved_runs._listed(run).told
    assert "Distance from the full model" in saved_runs._listed(replace(run, roles={})).told
    assert json.loads(dumps(run))["id"] == run.id


def test_computing_a_run_again_keeps_the_circuit_that_its_owner_added(run: Run) -> None:
    mine = {**run.circuits, OWN: run.circuits["eap"]}
    keep(replace(run, circuits=mine, metrics={**run.metrics, OWN: run.metrics["eap"]}))
    again = replace(run, created="2026-01-02T00:00:00+00:00")
    saved_runs.keep_computed(again)
    found = saved_runs.open_run(run.id)
    assert found.created == again.created
    assert found.circuits[OWN].circuit == run.circuits["eap"].circuit
    assert found.metrics[OWN] == run.metrics["eap"]
    (runs_folder() / f"{run.id}.json").write_text("damaged")
    saved_runs.keep_computed(again)
    assert OWN not in saved_runs.open_run(run.id).circuits


def test_two_tabs_that_add_to_one_run(run: Run) -> None:
    """Each drew the run before the other added to it."""
    seen = saved_runs.open_run(run.id)
    mine = replace(
        seen, circuits={**seen.circuits, OWN: seen.circuits["eap"]}, metrics={**seen.metrics, OWN: seen.metrics["eap"]}
    )
    saved_runs.keep(mine, seen)
    saved_runs.keep(replace(seen, settings={**seen.settings, "note": 1}), seen)
    found = saved_runs.open_run(run.id)
    assert (OWN in found.circuits, found.settings["note"]) == (True, 1)
    other = replace(mine, circuits={**mine.circuits, OWN: seen.circuits["hap"]})
    with pytest.raises(HapError, match="changed in another window or program meanwhile"):
        saved_runs.keep(other, seen)


def test_a_run_that_was_deleted_while_it_was_open_stays_deleted(run: Run) -> None:
    seen = saved_runs.open_run(run.id)
    saved_runs.delete(run.id)
    with pytest.raises(HapError, match="it was deleted"):
        saved_runs.keep(replace(seen, settings={**seen.settings, "note": 1}), seen)
    assert list(runs_folder().iterdir()) == []


def test_a_clock_that_stands_hides_no_change(run: Run) -> None:
    path = saved_runs.find(run.id)
    os.utime(path, (1, 1))
    assert "note" not in saved_runs.open_run(run.id).settings
    save(replace(run, settings={**run.settings, "note": 1}), path)
    os.utime(path, (1, 1))
    assert saved_runs.open_run(run.id).settings["note"] == 1


def test_a_run_computed_here_is_no_example() -> None:
    listed = next(run for run in saved_runs.listed()[0] if run.shipped)
    example = saved_runs.open_run(listed.id)
    assert is_shipped(example)
    keep(example)
    assert is_shipped(saved_runs.open_run(listed.id)), "a copy with something added"
    keep(replace(example, created="2026-01-02T00:00:00+00:00"))
    assert not is_shipped(saved_runs.open_run(listed.id))


def test_a_run_that_the_disk_refuses_is_shown_listed_and_written_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The work of minutes, and then the disk is full: it must not be lost."""
    good = os.environ["HAP_HOME"]
    (tmp_path / "file").write_text("")
    jobs = Worker(2)

    def work(*_: object) -> Generator[Progress, None, Run]:
        yield Progress("evaluate", 1, 1)
        monkeypatch.setenv("HAP_HOME", str(tmp_path / "file" / "home"))
        return fake_run(seed=9)

    job = submit(jobs, DiscoveryConfig(), discover=work)
    assert wait_for(jobs, job, "done").result == "synthetic-9"
    app = open_app(run="synthetic-9")
    assert not app.exception
    assert "only in the explorer's memory" in texts(app)
    assert "HAP\\_HOME" in texts(app)
    assert "synthetic-9" in [run.id for run in saved_runs.listed()[0]]
    press(app, "Write it again")
    assert "only in the explorer's memory" in texts(app)
    monkeypatch.setenv("HAP_HOME", good)
    press(app, "Write it again")
    assert "only in the explorer's memory" not in texts(app)
    assert load(runs_folder() / "synthetic-9.json").id == "synthetic-9"


def test_a_disk_without_room_is_told_before_the_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    with monkeypatch.context() as patch:
        patch.setenv("HAP_HOME", str(tmp_path / "file" / "home"))
        with pytest.raises(DiskError, match="Choose another place"):
            submit(Worker(2), DiscoveryConfig(), discover=lambda *_: made(fake_run()))
    monkeypatch.setattr(files, "FREE", 2**60)
    with pytest.raises(DiskError, match=r"the disk is full\. Free some space there"):
        submit(Worker(2), DiscoveryConfig(), discover=lambda *_: made(fake_run()))


def made(run: Run) -> Generator[Progress, None, Run]:
    yield Progress("evaluate", 1, 1)
    return run
