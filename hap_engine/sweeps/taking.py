"""What happens to a cell, as every engine tells it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from hap_engine.sweeps.study import Cell

TRIES = 3  # of a cell whose worker dies under it: one that takes all memory must not be tried for ever


@dataclass(frozen=True)
class Taken:
    """A cell was begun, is to be done again since its worker died, is done (`text`: its run file) or failed
    (`text`: why)."""

    cell: Cell
    state: Literal["begun", "again", "done", "failed"]
    text: str = ""


# Computes cells, the folder being that of the sweep, with so many workers (None: as many as fit).
Engine = Callable[[Sequence[Cell], Path, int | None], Iterator[Taken]]
