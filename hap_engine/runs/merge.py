"""Several who change one run, in two tabs, two explorers or a terminal: what each of them added stays."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from hap_engine.errors import DiskError, RunFileError
from hap_engine.files import claimed
from hap_engine.report.titles import OWN
from hap_engine.runs.record import Run
from hap_engine.runs.run_file import dumps, load, loads
from hap_engine.runs.schema import ADDED
from hap_engine.words import say

DEEP = 2  # sections and what is named in them: no circuit is half of one and half of another
WAIT = 10.0  # seconds for whoever writes just now


@contextmanager
def changing(folder: Path) -> Iterator[None]:
    """Alone change the runs of a folder: reading, merging and writing belong together.

    Raises:
        DiskError: if somebody else goes on changing them.
    """
    with ExitStack() as held:
        try:
            alone = held.enter_context(claimed(folder / "changes.lock", WAIT))
        except DiskError:  # nobody can write there, so nobody is in the way
            alone = True
        if not alone:
            raise DiskError(say("runs.changing", folder=folder))
        yield


def merged(mine: Run, seen: Run, now: Run) -> Run:
    """The run as it is `now`, with what `mine` has changed of the run that was `seen`.

    Raises:
        RunFileError: if the same was changed in another way meanwhile.
    """
    if dumps(now) == dumps(seen):
        return mine
    ours, before, theirs = (json.loads(dumps(run)) for run in (mine, seen, now))
    return loads(json.dumps(_merged(ours, before, theirs, "", DEEP)))


def _merged(mine: Any, seen: Any, now: Any, where: str, deep: int) -> Any:
    if mine in (seen, now):
        return now
    if now == seen:
        return mine
    if deep and isinstance(mine, dict) and isinstance(now, dict):
        before = seen if isinstance(seen, dict) else {}
        names = [*now, *(name for name in mine if name not in now)]
        parts = {n: _merged(mine.get(n), before.get(n), now.get(n), f"{where} {n}", deep - 1) for n in names}
        return {name: part for name, part in parts.items() if part is not None}
    raise RunFileError(say("runs.both", what=where.strip()))


def with_added(run: Run, before: Run) -> Run:
    """A run that was computed anew, with what was added to it after it was computed before.

    One's own circuit is of the graph and stays; what says something of the run's circuits stays if they are the same.
    """
    if before.graph != run.graph:
        return run
    known = {name: record.circuit for name, record in before.circuits.items()}
    same = all(known.get(name) == record.circuit for name, record in run.circuits.items())
    names = [name for name in known if name not in run.circuits and (same or name == OWN)]
    return replace(
        run,
        circuits={**run.circuits, **{name: before.circuits[name] for name in names}},
        metrics={**run.metrics, **{name: before.metrics[name] for name in names if name in before.metrics}},
        **{name: getattr(before, name) for name in ADDED if same and getattr(before, name)},
    )


def with_changes(run: Run, seen: Run | None, path: Path) -> Run:
    """What to write to `path` of a run that was changed since it was `seen` there, or computed anew (None).

    Raises:
        RunFileError: as `merged` does.
    """
    try:
        now = load(path) if path.is_file() else run
    except RunFileError:  # whoever named the file wants it written over
        return run
    if now.id != run.id:
        return run
    return merged(run, seen, now) if seen else with_added(run, now)
