"""The folder of a sweep: its run files, the cells that failed, and what is computed now (no torch).

    sweep.json        which cells there are
    <id>.json         a finished cell: an ordinary run file
    failed/<id>.json  why a cell failed; gone when it succeeds
    now.json          which cells are computed at the moment, and since when
    sweep.lock        held by whoever hands out the cells

Everything is replaced as a whole, so the folder can be read at any time, on another machine too.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from hap_engine.errors import HapError, SettingsError
from hap_engine.files import check_writable, hold, read_json, sweep, write_text
from hap_engine.sweeps.study import Cell, of_record, to_record
from hap_engine.words import say

LIST, NOW, LOCK, FAILED = "sweep.json", "now.json", "sweep.lock", "failed"
VERSION = 1
MOST_BYTES = 60 * 2**20  # of a file that is read here
SAMPLE = 16  # finished cells by whose time the rest is judged: the latest, which are most like it


@dataclass(frozen=True)
class Status:
    """How far a sweep is.

    Attributes:
        left: seconds until it is done, by what finished cells took; None while none is finished or nobody computes.
    """

    done: Sequence[Cell]
    running: Sequence[Cell]
    failed: Sequence[tuple[Cell, str]]  # with why
    waiting: Sequence[Cell]
    driven: bool  # a process hands out cells now
    left: float | None


class Folder:
    """A sweep's folder. Its methods read the disk anew each time."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def file(self, cell: Cell) -> Path:
        return self.path / f"{cell.id}.json"

    def cells(self) -> list[Cell]:
        """The cells of the sweep. Raises SettingsError if there is no sweep or it is of a newer version."""
        try:
            data = read_json(self.path / LIST, MOST_BYTES)
            if data["version"] <= VERSION:
                return [of_record(record) for record in data["cells"]]
        except (HapError, OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise SettingsError(say("sweeps.none", path=self.path)) from error
        raise SettingsError(say("sweeps.newer", path=self.path, version=data["version"]))

    @contextmanager
    def driven(self, cells: Sequence[Cell]) -> Iterator[None]:
        """Hand out these cells, as the only one who does. Raises SettingsError if another process does."""
        check_writable(self.path / LIST)
        with (self.path / LOCK).open("ab") as file:
            if not hold(file):
                raise SettingsError(say("sweeps.driven", path=self.path))
            sweep(self.path)
            self._put(LIST, {"version": VERSION, "cells": [to_record(cell) for cell in cells]})
            try:
                yield
            finally:
                (self.path / NOW).unlink(missing_ok=True)

    def started(self, since: Mapping[str, float]) -> None:
        """Note which cells are computed now, by id, and since when (seconds since the epoch)."""
        self._put(NOW, dict(since))

    def finished(self, cell: Cell, text: str) -> Path:
        """Write the run file of a cell."""
        path = write_text(self.file(cell), text)
        (self.path / FAILED / path.name).unlink(missing_ok=True)
        return path

    def failed(self, cell: Cell, why: str) -> None:
        """Note why a cell failed; it is tried again when the sweep is continued."""
        (self.path / FAILED).mkdir(exist_ok=True)
        self._put(f"{FAILED}/{cell.id}.json", {"why": why, "given": dict(cell.given)})

    def missing(self, cells: Sequence[Cell]) -> list[Cell]:
        """Those without a run file."""
        return [cell for cell in cells if not self.file(cell).exists()]

    def status(self) -> Status:
        cells = self.cells()
        missing = self.missing(cells)
        driven, now = self._held(), self._get(NOW)
        running = [cell for cell in missing if driven and cell.id in now]
        told = {cell.id: str(self._get(f"{FAILED}/{cell.id}.json").get("why", "")) for cell in missing}
        failed = [(cell, told[cell.id]) for cell in missing if cell not in running and told[cell.id]]
        waiting = [cell for cell in missing if cell not in running and not told[cell.id]]
        done = [cell for cell in cells if cell not in missing]
        taken = [seconds for cell in done[-SAMPLE:] if (seconds := self._seconds(cell))]
        left = median(taken) * (len(waiting) + len(running) / 2) / len(running) if taken and running else None
        return Status(done, running, failed, waiting, driven, left)

    def _seconds(self, cell: Cell) -> float:
        with suppress(OSError, ValueError, KeyError, TypeError):
            return float(read_json(self.file(cell), MOST_BYTES)["seconds"]["total"])
        return 0.0

    def _held(self) -> bool:
        # To be written, though nothing is: a network's file system locks no other.
        with suppress(OSError), (self.path / LOCK).open("r+b") as file:
            return not hold(file)
        return False

    def _put(self, name: str, data: Mapping[str, Any]) -> None:
        write_text(self.path / name, json.dumps(data, indent=1))

    def _get(self, name: str) -> dict[str, Any]:
        with suppress(OSError, ValueError, TypeError):
            return dict(read_json(self.path / name, MOST_BYTES))
        return {}
