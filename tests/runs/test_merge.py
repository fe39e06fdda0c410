"""Several who change one run: both changes stay, or the second is refused; nothing is written over unseen."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from hap_engine.cli.commands import _kept
from hap_engine.errors import DiskError, RunFileError
from hap_engine.files import claimed
from hap_engine.report.titles import OWN
from hap_engine.runs import merge, run_file
from hap_engine.runs.merge import changing, merged, with_added, with_changes
from hap_engine.runs.record import Run
from hap_engine.runs.run_file import dumps, load, loads, save
from tests.builders.fakes import fake_run


@pytest.fixture
def run() -> Run:
    return loads(dumps(fake_run()))


def named(run: Run, name: str, source: str = "eap") -> Run:
    """The run with one more circuit."""
    metrics = {**run.metrics, name: run.metrics[source]}
    return replace(run, circuits={**run.circuits, name: run.circuits[source]}, metrics=metrics)


def test_what_both_added_stays(run: Run) -> None:
    both = merged(named(run, "a"), run, named(run, "b"))
    assert {*both.circuits} == {*run.circuits, "a", "b"}
    assert {*both.metrics} == {*run.metrics, "a", "b"}
    assert dumps(merged(run, named(run, "a"), named(named(run, "a"), "b"))) == dumps(named(run, "b")), "taken away"
    assert merged(named(run, "a"), run, run).circuits.keys() == named(run, "a").circuits.keys()
    assert dumps(merged(named(run, "a"), run, named(run, "a"))) == dumps(named(run, "a")), (
        "the same wish is no conflict"
    )


def test_the_same_changed_in_two_ways_is_refused(run: Run) -> None:
    with pytest.raises(
        RunFileError, match="The run's circuits mine was changed in another window or program meanwhile"
    ):
        merged(named(run, OWN, "hap"), run, named(run, OWN))


def test_many_who_add_at_once_lose_nothing(run: Run, tmp_path: Path) -> None:
    path = save(run, tmp_path / "run.json")

    def add(number: int) -> None:
        with changing(tmp_path):
            save(with_changes(named(run, f"c{number}"), run, path), path)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(add, range(16)))
    assert {*load(path).circuits} == {*run.circuits, *(f"c{number}" for number in range(16))}
    assert [found.name for found in tmp_path.iterdir()] == ["run.json"]


def test_whoever_waits_in_vain_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(merge, "WAIT", 0.1)
    with claimed(tmp_path / "changes.lock", 0) as alone:
        assert alone
        with pytest.raises(DiskError, match="Another program changes the runs"), changing(tmp_path):
            pass


def test_a_run_computed_anew_keeps_what_says_something_of_its_circuits(run: Run) -> None:
    before = replace(named(named(run, OWN), "rival"), stability={"version": 1, "seeds": [1, 2]})
    again = replace(run, created="2026-01-02T00:00:00+00:00")
    found = with_added(again, before)
    assert (found.created, found.stability) == (again.created, before.stability)
    assert {*found.circuits} == {*run.circuits, OWN, "rival"}
    other = replace(again, circuits={**run.circuits, "hap": run.circuits["eap"]})
    found = with_added(other, before)
    assert (found.stability, {*found.circuits}) == ({}, {*run.circuits, OWN})


def test_a_finished_result_that_meets_another_is_kept_aside(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Hours of work of a terminal, and the same section was computed on the page meanwhile."""
    monkeypatch.setattr(run_file.tempfile, "tempdir", str(tmp_path / "aside"))
    path = save(named(run, OWN), tmp_path / "run.json")
    where, problem = _kept(named(run, OWN, "hap"), run, path)
    assert "What was found now is in" in str(problem)
    assert load(where).circuits[OWN].circuit == run.circuits["hap"].circuit
    assert load(path).circuits[OWN].circuit == run.circuits["eap"].circuit
    path.write_text("{", encoding="utf-8")
    assert _kept(run, None, path) == (path, None)
