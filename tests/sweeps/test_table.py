"""The table of a sweep takes means over seeds, and over no other setting in which runs differ."""

from __future__ import annotations

from pathlib import Path

from hap_engine.sweeps.table import frame, summary, varied
from tests.builders.sweeps import made_sweep


def test_runs_of_other_settings_share_no_mean(tmp_path: Path) -> None:
    folder, _ = made_sweep(tmp_path / "small", 8, positions=["", "roles"])
    assert varied(frame(folder)) == ["positions"]
    means = summary(folder)
    assert set(means["positions"]) == {"", "roles"}
    assert set(means["runs"]) == {2}  # seeds


def test_a_sweep_of_seeds_has_the_usual_columns(tmp_path: Path) -> None:
    folder, _ = made_sweep(tmp_path / "small", 4)
    assert varied(frame(folder)) == []
    assert list(summary(folder).columns[:5]) == ["model", "task", "sparsity", "circuit", "steps"]
