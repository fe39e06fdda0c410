"""`torchrun -m hap_engine discover`: one run file, whatever happens to a process."""

from __future__ import annotations

from pathlib import Path

import pytest

from hap_engine.cli import commands
from hap_engine.runs.run_file import load
from tests.builders import shared_run, shared_work

SCRIPT = Path(shared_run.__file__)


def test_a_killed_process_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HAP_HOME", str(tmp_path / "together"))
    shared_work.torchrun(2, SCRIPT, "killed", fails=True)
    runs = tmp_path / "together" / "runs"
    assert [path.suffix for path in runs.iterdir() if path.suffix != ".lock"] == [".state"]
    told = shared_work.torchrun(2, SCRIPT, "whole")
    assert "It goes on from there" in told
    assert told.count("Written to") == 1
    (path,) = runs.iterdir()
    monkeypatch.setenv("HAP_HOME", str(tmp_path / "alone"))
    assert commands.main([*shared_run.COMMAND, *shared_run.FLOAT]) == 0
    alone = load(tmp_path / "alone" / "runs" / path.name)  # the same id
    shared_work.agree(shared_work.content(load(path)), shared_work.content(alone))


def test_processes_that_compute_different_runs_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HAP_HOME", str(tmp_path))
    told = shared_work.torchrun(2, SCRIPT, "differ", fails=True)
    assert "Expected every process to compute the same run, and they have another choice of settings" in told


def test_other_commands_say_that_they_work_in_one_process(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(commands, "OTHERS", True)
    assert commands.main(["models"]) == 1
    assert "hap models works in one process. Start it without torchrun." in capsys.readouterr().err
