"""The runs on this machine: list, name, delete, import (no Streamlit here).

A run lives in ``<id>.json``; what its owner calls it lives beside it in ``<id>.title``, so that naming
never rewrites a result. Two tabs may edit one run: whoever changes something says what they saw
before, and is told if it was changed meanwhile. The examples that ship with the explorer can be
named, but not deleted. A run that the disk refuses stays in memory, as long as the explorer runs.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

from app.classroom import check_change
from app.words import say
from hap_engine.errors import DiskError, HapError, UnfinishedError
from hap_engine.files import Stamp, stamp, write_text
from hap_engine.runs import gallery
from hap_engine.runs.examples import SHIPPED
from hap_engine.runs.merge import changing, merged, with_added
from hap_engine.runs.record import Run
from hap_engine.runs.run_file import dumps, load, loads, runs_folder, save
from hap_engine.runs.schema import ID
from hap_engine.runs.unfinished import forget

FIRST_TASK = b'"task": {"name": "ioi"'  # as `run_file.save` writes it
LONGEST_NAME = 80
_changing = threading.Lock()  # of this process; between programs a file
_unsaved: dict[str, tuple[Run, str]] = {}  # by id: runs that the disk refused, and why


class SavedRunError(HapError):
    """A run that cannot be found, named, deleted or imported."""


@dataclass(frozen=True)
class Listed:
    """A run file that can be opened, as a list shows it."""

    id: str
    shipped: bool
    copied: bool  # the user's copy of a shipped run, which it hides, with what was added here
    title: str
    named: bool
    created: str
    model: str
    task: str
    edges: int
    sparsity: float
    seed: int
    method: str
    kl: float | None
    thumbnail: str  # as HTML, with what was found
    told: str
    has_eap: bool  # holds EAP's circuit beside the one it set out to find
    eap_kl: float | None  # of EAP's circuit of that size
    continues: str  # id of the run from whose circuit it goes on


def find(run_id: str) -> Path:
    """The file of a run, the user's own before a shipped one. Raises SavedRunError."""
    for folder in (runs_folder(), SHIPPED) if ID.fullmatch(run_id) else ():
        if (path := folder / f"{run_id}.json").is_file():
            return path
    raise SavedRunError(say("saved.absent", run=run_id[:64]))


def open_run(run_id: str) -> Run:
    """A run by id, with the name that its owner gave it. Raises HapError."""
    if run_id in _unsaved:
        run = _unsaved[run_id][0]
    else:
        path = find(run_id)
        run = _load(path, stamp(path))
    name = given_name(run_id)
    return replace(run, name=name) if name else run


def listed() -> tuple[list[Listed], list[str]]:
    """All runs, newest saved first and shipped last, and a message for each damaged file."""
    runs = {key: _listed(run) for key, (run, _) in _unsaved.items()}
    damaged = []
    for path in _files():
        try:
            item = _summary(path, stamp(path))
        except FileNotFoundError:  # deleted by another tab meanwhile
            continue
        except HapError as error:
            damaged.append(f"{path.name}: {error}")
            continue
        name = given_name(item.id)
        runs.setdefault(item.id, replace(item, title=name, named=True) if name else item)
    return list(runs.values()), damaged


def example() -> str | None:
    """Id of the shipped run to show first: indirect object identification of a real model, if there is one.

    A first visit waits for this, so files are parsed no further than needed.
    """

    def likely(path: Path) -> tuple[bool, int]:
        return FIRST_TASK in path.read_bytes(), path.stat().st_size  # a real model's is larger

    others = []
    for path in sorted(SHIPPED.glob("*.json"), key=likely, reverse=True):
        with suppress(HapError):
            others.append(_load(path, stamp(path)))
            if others[-1].model["name"] != "hap-mini":
                return others[-1].id
    return others[0].id if others else None


def shipped_at(run_id: str) -> str | None:
    """When the shipped run of that id was computed; None if there is none."""
    path = SHIPPED / f"{run_id}.json"
    return _load(path, stamp(path)).created if path.is_file() else None


def given_name(run_id: str) -> str:
    """What the owner calls a run; empty if they gave it no name."""
    try:
        return clean_name(_title_file(run_id).read_text(encoding="utf-8", errors="replace"))
    except OSError:
        return ""


def rename(run_id: str, name: str, seen: str) -> str:
    """Give a run a name (empty: its own title again); `seen` is the name before, as shown.

    Raises:
        SavedRunError: if the run is gone, or was named by somebody else meanwhile.
    """
    check_change()
    if not unsaved(run_id):
        find(run_id)
    name = clean_name(name)
    with _changing, changing(runs_folder()):
        now = given_name(run_id)
        if now not in (seen, name):
            raise SavedRunError(say("saved.renamed", now=now))
        if name:
            write_text(_title_file(run_id), name)
        else:
            _title_file(run_id).unlink(missing_ok=True)
    return name


def clean_name(name: str) -> str:
    """One printable line of at most 80 characters."""
    line = "".join(c if c.isprintable() else " " for c in name)
    return re.sub(r"\s+", " ", line).strip()[:LONGEST_NAME].strip()


def delete(run_id: str) -> str:
    """Delete a run of the user with all its files; returns what it was called.

    Raises:
        SavedRunError: if it is gone already, or is one of the examples.
    """
    check_change()
    with _changing, changing(runs_folder()):
        if run_id in _unsaved:
            return _unsaved.pop(run_id)[0].title
        path = find(run_id)
        if path.parent == SHIPPED:
            raise SavedRunError(say("saved.shipped"))
        called = given_name(run_id) or _summary(path, stamp(path)).title
        path.unlink(missing_ok=True)
        for other in (path.with_suffix(".safetensors"), _title_file(run_id), _mark(run_id)):
            other.unlink(missing_ok=True)
    return called


def import_run(data: bytes) -> tuple[Run, str]:
    """Add a run file to the runs here; returns the run and what happened, in one sentence.

    Nothing is ever overwritten: a file with a known id and other content gets an id of its own.

    Raises:
        RunFileError: if it is not a run file that can be shown.
    """
    check_change()
    run = loads(data)
    with _changing, changing(runs_folder()):
        for candidate in _ids(run.id):
            try:
                here = find(candidate)
            except SavedRunError:
                if candidate != run.id:
                    run = replace(run, id=candidate)
                save(run, runs_folder() / f"{candidate}.json")
                write_text(_mark(candidate), "")
                return run, f"Imported “{run.title}”."
            if _same(here, replace(run, id=candidate)):
                return replace(run, id=candidate), f"“{run.title}” is here already."
    raise AssertionError("unreachable: ids never end")


def keep_computed(run: Run) -> None:
    """Keep a run that was computed here, with what had been added to it when it was computed before."""
    with _changing, changing(runs_folder()):
        with suppress(HapError, FileNotFoundError):
            run = with_added(run, open_run(run.id))
        _keep(run)


def keep(run: Run, seen: Run) -> None:
    """Write what was changed of a run that was `seen`; where the disk refuses, it stays in memory: see `unsaved`.

    Raises:
        HapError: if the run is gone, or the same was changed by somebody else meanwhile.
    """
    check_change()
    with _changing, changing(runs_folder()):
        _keep(merged(run, seen, open_run(run.id)))


def write_again(run_id: str) -> None:
    """Try once more to write a run that the disk refused."""
    if run_id in _unsaved:
        _keep(_unsaved[run_id][0])


def _keep(run: Run) -> None:
    try:
        save(run, runs_folder() / f"{run.id}.json")
        _unsaved.pop(run.id, None)
        with suppress(UnfinishedError, OSError):
            forget(runs_folder(), run.id)
    except DiskError as error:
        _unsaved[run.id] = run, str(error)


def unsaved(run_id: str) -> str:
    """Why the disk refused a run; empty for a run that is on it."""
    return _unsaved[run_id][1] if run_id in _unsaved else ""


def imported(run_id: str) -> bool:
    """Was this run computed elsewhere and brought here as a file?"""
    return _mark(run_id).is_file()


def _ids(run_id: str) -> Iterator[str]:
    yield run_id
    number = 2
    while True:
        yield f"{run_id[:56]}-{number}"
        number += 1


def _same(path: Path, run: Run) -> bool:
    try:
        return dumps(load(path)) == dumps(run)
    except HapError:
        return False


def _files() -> list[Path]:
    saved = []
    for path in runs_folder().glob("*.json"):
        try:
            saved.append((path.stat().st_mtime, path))
        except FileNotFoundError:
            continue
    return [path for _, path in sorted(saved, reverse=True)] + sorted(SHIPPED.glob("*.json"), reverse=True)


def _title_file(run_id: str) -> Path:
    return runs_folder() / f"{run_id}.title"


def _mark(run_id: str) -> Path:
    return runs_folder() / f"{run_id}.imported"


@lru_cache(maxsize=8)
def _load(path: Path, stamp: Stamp) -> Run:
    return load(path)


@lru_cache(maxsize=1024)
def _summary(path: Path, stamp: Stamp) -> Listed:
    run = load(path)
    if path.stem != run.id:
        raise SavedRunError(say("saved.other", expected=path.stem, found=run.id))
    return _listed(run, path.parent == SHIPPED)


def _listed(run: Run, shipped: bool = False) -> Listed:
    return Listed(
        id=run.id,
        shipped=shipped,
        copied=not shipped and is_shipped(run),
        title=run.title,
        named=False,
        created=run.created,
        model=str(run.model["name"]),
        task=str(run.task["title"]),
        edges=len(run.circuits[run.main].circuit),
        sparsity=run.sparsity,
        seed=run.seed,
        method=run.main,
        kl=run.metrics.get(run.main, {}).get("kl"),
        thumbnail=gallery.thumbnail(run),
        told=gallery.told(run),
        has_eap="eap" in run.circuits and run.main != "eap",
        eap_kl=run.metrics.get("eap", {}).get("kl"),
        continues=str(run.settings.get("continues") or ""),
    )


def is_copy(run: Run) -> bool:
    """A shipped run with what was added to it here."""
    return is_shipped(run) and (run.id in _unsaved or find(run.id).parent != SHIPPED)


def is_shipped(run: Run) -> bool:
    """Computed elsewhere before; so is the user's copy of such a run, with a circuit of their own."""
    return shipped_at(run.id) == run.created
