"""Run files that others wrote: mutants are imported, exported again and shown on every part of a page."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from itertools import product
from random import Random
from typing import Any

from app.stored import saved_runs
from hap_engine.runs.run_file import dumps, loads, runs_folder, save
from tests.builders.mutants import JUNK, bytes_changed, parts, replaced
from tests.builders.reading import failures, files, shown
from tests.builders.whole_runs import positional_run, whole_run
from tests.campaign.tally import Tally, counted


def attack(seed: int, count: int) -> Tally:
    """`count` mutated run files: half with one part replaced, a quarter with three, a quarter with bytes changed."""
    with counted(Tally("run files", seed)) as tally:
        other, kept = whole_run(id="other"), whole_run()
        before = {run.id: save(run, runs_folder() / f"{run.id}.json").read_bytes() for run in (other, kept)}
        for name, data, harmful in cases(seed, count):
            tally.attempt(name, lambda data=data, name=name: _open(tally, name, data), harmful)
        for run, content in before.items():
            path = runs_folder() / f"{run}.json"
            if not path.is_file() or path.read_bytes() != content:
                tally.lost.append(run)
    return tally


def cases(seed: int, count: int) -> Iterator[tuple[str, bytes, bool]]:
    """Names, contents, and whether a file must be refused."""
    chance = Random(seed)
    good = [json.loads(dumps(run)) for run in (whole_run(), positional_run())]
    single = [one for run in good for one in product([run], parts(run), JUNK)]
    for run, path, junk in chance.sample(single, count // 2):
        name, mutant = replaced(run, path, junk)
        yield name, json.dumps(mutant).encode(), False
    for _ in range(count // 4):
        name, mutant = _several(chance.choice(good), chance)
        yield name, json.dumps(mutant).encode(), False
    for _ in range(count - count // 2 - count // 4):
        yield bytes_changed(json.dumps(chance.choice(good)).encode(), chance)


def _several(good: dict[str, Any], chance: Random) -> tuple[str, dict[str, Any]]:
    """Three parts replaced, each of what the ones before left."""
    mutant, names = copy.deepcopy(good), []
    for _ in range(3):
        path, junk = chance.choice(list(parts(mutant))), chance.choice(JUNK)
        name, mutant = replaced(mutant, path, junk)
        names.append(name)
    return ", ".join(names), mutant


def _open(tally: Tally, name: str, data: bytes) -> None:
    run, _ = saved_runs.import_run(data)
    try:
        again = loads(dumps(run))
        if dumps(again) != dumps(run):
            tally.wrong.append(f"{name}: another run after it was exported and read again")
        tally.tracebacks += [f"{name}: {told}" for told in failures(files(run))]
        app = shown(runs_folder() / f"{run.id}.json", runs_folder() / "other.json")
        tally.tracebacks += [f"{name}: {told}" for told in app.session_state["failures"]]
        tally.tracebacks += [f"{name}: {told.value}" for told in app.exception]
    finally:
        if run.id not in ("other", whole_run().id):
            saved_runs.delete(run.id)
