"""Cells computed by Ray: on this machine, or on a cluster whose address is given.

Run files come back as text and are written by whoever drives the sweep. A cell whose worker dies is given to another
one by Ray itself, which goes on from its state where both machines see the sweep's folder. Every machine needs the same
program and weights, which is checked by hash before the cell begins.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from hap_engine.errors import SettingsError
from hap_engine.machine.estimate import bytes_of
from hap_engine.sweeps.cell import attempt, program
from hap_engine.sweeps.study import Cell
from hap_engine.sweeps.taking import TRIES, Taken
from hap_engine.words import say

AHEAD = 2  # cells handed out for each processor: a worker that is done need not wait for the driver


def compute(
    cells: Sequence[Cell], folder: Path, workers: int | None = None, address: str | None = None
) -> Iterator[Taken]:
    """Each cell as it begins and as it ends.

    Args:
        address: of the cluster's head (``ray start --head`` prints it); None: a Ray of its own on this machine.

    Raises:
        SettingsError: if Ray is not installed, no cluster answers, or one goes away.
    """
    ray = _connected(address, workers)
    try:
        work, left, place = ray.remote(_compute), list(cells), folder.resolve()
        running: dict[Any, Cell] = {}
        most = AHEAD * max(1, int(ray.cluster_resources().get("CPU", 1)))
        while left or running:
            while left and len(running) < most:
                cell = left.pop(0)
                running[work.options(**_asked(cell)).remote(cell, program(), place)] = cell
                yield Taken(cell, "begun")
            (done,), _ = ray.wait(list(running), num_returns=1)
            cell = running.pop(done)
            try:
                text, why = ray.get(done)
            except ray.exceptions.RayTaskError as error:
                text, why = "", str(error.cause)
            except ray.exceptions.RayError:
                text, why = "", say("sweeps.died", tries=TRIES)
            yield Taken(cell, "failed" if why else "done", why or text)
    except (ConnectionError, getattr(ray.exceptions, "RaySystemError", ConnectionError)) as error:
        raise SettingsError(say("sweeps.gone")) from error
    finally:
        ray.shutdown()


def _compute(cell: Cell, expected: str, folder: Path) -> tuple[str, str]:
    """On the worker."""
    if program() != expected:
        return "", say("sweeps.other_program")
    return attempt(cell, folder if folder.is_dir() else None)


def _asked(cell: Cell) -> dict[str, Any]:
    """What a cell needs of a machine, by its estimate."""
    held = bytes_of(cell.config)
    memory = {"memory": held} if held is not None else {}
    return {"num_cpus": 1, "num_gpus": int(cell.config.device != "cpu"), "max_retries": TRIES - 1, **memory}


def _connected(address: str | None, workers: int | None) -> Any:
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"  # Ray reports its use to its makers unless told not to
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    try:
        import ray
    except ImportError as error:
        raise SettingsError(say("sweeps.no_ray")) from error
    own: dict[str, Any] = {"num_cpus": workers or os.cpu_count(), "include_dashboard": False}
    try:
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR, **({} if address else own))
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise SettingsError(say("sweeps.no_cluster", address=address, why=str(error).splitlines()[0])) from error
    return ray
