"""Run files with junk in them that the check accepts: exports and pages show them, or refuse them in plain words."""

from __future__ import annotations

import json
import random
from contextlib import suppress

import pytest

from app.stored import saved_runs
from hap_engine.errors import RunFileError
from hap_engine.runs.record import Run
from hap_engine.runs.run_file import dumps, loads, runs_folder, save
from tests.builders.mutants import mutants
from tests.builders.pages import open_app
from tests.builders.reading import failures, files, shown
from tests.builders.whole_runs import positional_run, whole_run

ON_PAGES, IN_FILES, SEED = 40, 250, 27  # a page takes half a second, the files of a run a tenth of it


@pytest.fixture(scope="module")
def accepted() -> list[tuple[str, Run]]:
    """The mutants that pass the check, in any order."""
    found = []
    for name, mutant in mutants(json.loads(dumps(whole_run()))):
        with suppress(RunFileError):
            found.append((name, loads(json.dumps(mutant))))
    random.Random(SEED).shuffle(found)
    return found


def test_files_of_mutants(accepted: list[tuple[str, Run]]) -> None:
    wrong = {name: told for name, run in accepted[:IN_FILES] if (told := failures(files(run)))}
    assert not wrong


def test_pages_of_mutants(accepted: list[tuple[str, Run]]) -> None:
    other = save(whole_run(), runs_folder() / "other.json")
    wrong = {}
    for name, run in [("the good one", whole_run()), *accepted[:ON_PAGES]]:
        app = shown(save(run, runs_folder() / f"{run.id}.json"), other)
        if app.exception or app.session_state["failures"]:
            wrong[name] = app.session_state["failures"] or app.exception
    assert not wrong


def test_what_a_newer_program_adds_to_a_prompts_own_circuit_is_let_be() -> None:
    data = json.loads(dumps(positional_run()))
    first, second = data["prompt_circuits"]["prompts"]
    first["own"], second["shared"] = first["own"] | {"words": "many"}, second["shared"] | {"more": 1}
    run = loads(json.dumps(data))
    app = shown(save(run, runs_folder() / f"{run.id}.json"), save(whole_run(), runs_folder() / "other.json"))
    assert app.session_state["failures"] == []
    assert not app.exception


def test_an_id_that_no_file_can_have() -> None:
    for asked in ("a" * 300, "../../etc/passwd", "CON", "\ud83d" + "x" * 90, "a\0b"):
        with pytest.raises(saved_runs.SavedRunError, match="no run"):
            saved_runs.open_run(asked)
    assert not open_app(run="a" * 300).exception
