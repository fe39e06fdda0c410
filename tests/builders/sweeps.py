"""A sweep's folder without computing: the shipped run of hap-mini stands for each finished cell."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from hap_engine.runs.examples import example
from hap_engine.runs.run_file import dumps
from hap_engine.sweeps.folder import Folder
from hap_engine.sweeps.study import Cell, cells


def made_sweep(path: Path, done: int, failed: str = "", **study: list[object]) -> tuple[Folder, list[Cell]]:
    """The first `done` cells are finished, the next one failed with these words if there are any, the rest wait."""
    folder, wanted = Folder(path), cells({"seed": [0, 1], "sparsity": [0.95, 0.98], **study})
    with folder.driven(wanted):
        for cell in wanted[:done]:
            finish(folder, cell)
        if failed:
            folder.failed(wanted[done], failed)
    return folder, wanted


def finish(folder: Folder, cell: Cell) -> None:
    run = example("hap-mini")
    settings = {**run.settings, "sparsity": cell.config.sparsity, "seed": cell.config.seed}
    folder.finished(cell, dumps(replace(run, id=cell.id, seed=cell.config.seed, settings=settings)))
