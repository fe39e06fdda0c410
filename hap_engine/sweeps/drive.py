"""Hand out the cells of a sweep and write what comes back, so that it can be stopped, edited and continued."""

from __future__ import annotations

import time
from collections.abc import Generator, Sequence

from hap_engine.errors import DiskError, SettingsError
from hap_engine.progress import Progress
from hap_engine.sweeps.cell import attempt
from hap_engine.sweeps.folder import Folder
from hap_engine.sweeps.study import Cell
from hap_engine.sweeps.taking import Engine
from hap_engine.words import say

SAID = {"begun": "Computing", "again": "Its process was killed, so again", "done": "Done", "failed": "Failed"}


def drive(
    cells: Sequence[Cell], folder: Folder, engine: Engine, workers: int | None = None
) -> Generator[Progress, None, dict[str, str]]:
    """Compute the cells that the folder lacks; why cells failed, by id.

    Raises:
        SettingsError: if another process drives this sweep, or the engine is not at hand.
        DiskError: if the folder cannot be written; what was finished before is there.
    """
    with folder.driven(cells):
        missing, failed, since = folder.missing(cells), dict[str, str](), dict[str, float]()
        done = len(cells) - len(missing)
        yield Progress("sweep", done, len(cells), say("sweeps.found", done=done, missing=len(missing)))
        for taken in engine(missing, folder.path, workers):
            cell = taken.cell
            if taken.state == "begun":
                since[cell.id] = time.time()
            else:
                since.pop(cell.id, None)
            if taken.state == "done":
                folder.finished(cell, taken.text)
                done += 1
            elif taken.state == "failed":
                failed[cell.id] = taken.text
                folder.failed(cell, taken.text)
            folder.started(since)
            yield Progress("sweep", done, len(cells), f"{SAID[taken.state]}: {title(cell)}", {"state": taken.state})
    return failed


def one(folder: Folder, number: int) -> str:
    """Compute one cell of the folder's list, as a job of an array does; what went wrong, or nothing.

    Raises:
        SettingsError: if the list has no cell of that number.
        DiskError: if the folder cannot be written.
    """
    listed = folder.cells()
    if not 0 <= number < len(listed):
        raise SettingsError(say("sweeps.no_cell", number=number, last=len(listed) - 1))
    cell = listed[number]
    if folder.file(cell).exists():
        return ""
    text, why = attempt(cell, folder.path)
    try:
        if why:
            folder.failed(cell, why)
        else:
            folder.finished(cell, text)
    except DiskError as error:
        return str(error)
    return why


def title(cell: Cell) -> str:
    """What tells a cell from others: the settings that the study names."""
    return ", ".join(f"{name} {value}" for name, value in cell.given.items())
