"""``hap sweep``: many runs, their status and their table."""

from __future__ import annotations

import argparse
import sys
from functools import partial
from pathlib import Path
from typing import Any

from hap_engine.cli.progress_lines import follow
from hap_engine.errors import HapError, SettingsError
from hap_engine.machine.estimate import duration
from hap_engine.sweeps import local, on_ray, slurm
from hap_engine.sweeps.drive import drive, one, title
from hap_engine.sweeps.folder import Folder
from hap_engine.sweeps.study import Cell, cells, names, read_study
from hap_engine.sweeps.taking import Engine
from hap_engine.words import say

ON = ("local", "ray", "slurm")


def sweep(options: argparse.Namespace) -> None:
    """What the options ask for: one cell, the status, the table, or the sweep itself."""
    folder = Folder(options.out or _usual(options.study))
    if options.cell is not None:
        if why := one(folder, options.cell):
            raise SettingsError(why)
    elif options.status:
        _status(folder)
    elif options.table:
        _table(folder)
    else:
        _sweep(options, folder)


def _usual(study: Path | None) -> Path:
    if study is None:
        raise SettingsError(say("sweeps.where"))
    return study.with_suffix("")


def _sweep(options: argparse.Namespace, folder: Folder) -> None:
    if options.on not in ON:
        raise SettingsError(say("sweeps.on", on=options.on, known=", ".join(ON)))
    wanted = _cells(options, folder)
    if options.on == "slurm":
        with folder.driven(wanted):
            print(slurm.submit(folder.missing(wanted), folder.path, wanted, options.workers))
        return
    engine: Engine = local.compute if options.on == "local" else partial(on_ray.compute, address=options.address)
    failed = follow(drive(wanted, folder, engine, options.workers))
    _table(folder, bool(failed))
    if failed:
        first = next(iter(failed.values()))
        raise HapError(say("sweeps.some_failed", count=len(failed), folder=folder.path, first=first))


def _cells(options: argparse.Namespace, folder: Folder) -> list[Cell]:
    """Those of the study file, with what the options say instead; without either those that the folder lists."""
    study: dict[str, list[Any]] = read_study(options.study) if options.study else {}
    given = {name: getattr(options, name) for name in names() if getattr(options, name, None) is not None}
    return cells(study | given) if study or given else folder.cells()


def _status(folder: Folder) -> None:
    found = folder.status()
    done, running, failed, waiting = map(len, (found.done, found.running, found.failed, found.waiting))
    print(say("sweeps.status", done=done, running=running, failed=failed, waiting=waiting))
    for cell in found.running:
        print(f"  running  {cell.id}  {title(cell)}")
    for cell, why in found.failed:
        print(f"  failed   {cell.id}  {why.splitlines()[0]}")
    if found.left is not None:
        print(say("sweeps.left", time=duration(found.left)))
    elif not found.driven and found.waiting:
        print(say("sweeps.nobody", path=folder.path))


def _table(folder: Folder, partial_table: bool = False) -> None:
    from hap_engine.sweeps.table import summary, write

    if partial_table and not folder.status().done:
        return
    path = write(folder)
    print(summary(folder).to_string(index=False))
    print(f"\nWritten to {path}", file=sys.stderr)
