"""Runs of one descent: found by the run that each goes on from; the sizes that may follow."""

from __future__ import annotations

from dataclasses import replace

import pytest

from app.stored import related_runs
from app.stored.saved_runs import Listed, listed
from hap_engine.errors import SettingsError
from hap_engine.runs.record import Run
from hap_engine.runs.run_file import runs_folder, save
from tests.builders.fakes import fake_run


def run(name: str, before: str = "", sparsity: float = 0.5) -> Run:
    made = fake_run(id=name)
    settings = {**made.settings, "sparsity": sparsity, "continues": before}
    return replace(made, settings=settings, model={**made.model, "reference": "hap-mini", "sha256": "0" * 64})


def names(found: list[Listed]) -> list[str]:
    return [one.id for one in found]


def test_a_descent_is_found_from_any_of_its_runs() -> None:
    runs = [run("a"), run("b", "a", 0.6), run("c", "b", 0.7), run("other"), run("d", "a", 0.8)]
    for one in runs:
        save(one, runs_folder() / f"{one.id}.json")
    every = listed()[0]
    for one in (runs[0], runs[1], runs[2], runs[4]):
        assert names(related_runs.chain(one, every)) == ["a", "b", "c", "d"]
    assert names(related_runs.chain(runs[3], every)) == ["other"]


def test_a_circle_in_damaged_files_ends() -> None:
    runs = [run("a", "b"), run("b", "a")]
    for one in runs:
        save(one, runs_folder() / f"{one.id}.json")
    assert names(related_runs.chain(runs[0], listed()[0])) == ["a", "b"]
    assert names(related_runs.chain(run("gone", "nowhere"), listed()[0])) == []


def test_only_tighter_sizes_with_a_path_are_offered() -> None:
    made = run("a", sparsity=0.95)
    assert related_runs.sizes(made) == [4, 3, 2, 1]  # of few edges: fewer are no path
    with pytest.raises(SettingsError, match="nothing to go on from"):
        related_runs.sizes(replace(made, settings={**made.settings, "method": "eap"}))
