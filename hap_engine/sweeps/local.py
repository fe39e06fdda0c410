"""Cells computed by processes of this machine, as many as its memory and its processors allow."""

from __future__ import annotations

import multiprocessing
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

from hap_engine.machine.estimate import bytes_of
from hap_engine.machine.speed import free_memory
from hap_engine.machine.threads import wait_briefly
from hap_engine.sweeps.cell import attempt
from hap_engine.sweeps.study import Cell
from hap_engine.sweeps.taking import TRIES, Taken
from hap_engine.words import say

SHARE = 0.8  # of the free memory


def compute(cells: Sequence[Cell], folder: Path, workers: int | None = None) -> Iterator[Taken]:
    """Each cell as it begins and as it ends. A cell whose process dies is tried again, `TRIES` times in all."""
    count, tries, left = workers or fitting(cells), Counter[str](), list(cells)
    while left:
        pool = ProcessPoolExecutor(
            count, multiprocessing.get_context("spawn"), initializer=_alone, initargs=(count, os.getpid())
        )
        running: dict[Future[tuple[str, str]], Cell] = {}
        try:
            while left or running:
                while left and len(running) < count:  # no more: whoever is handed out counts as begun
                    future = pool.submit(attempt, left[0], folder)  # a broken pool raises: the cell is still left
                    running[future] = left.pop(0)
                    yield Taken(running[future], "begun")
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    text, why = future.result()
                    yield Taken(running.pop(future), "failed" if why else "done", why or text)
        except BrokenProcessPool:
            for cell in running.values():  # any of them may be the one that died
                tries[cell.id] += 1
                if tries[cell.id] < TRIES:
                    left.insert(0, cell)
                    yield Taken(cell, "again")
                else:
                    yield Taken(cell, "failed", say("sweeps.died", tries=TRIES))
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
            for process in list((getattr(pool, "_processes", None) or {}).values()):
                process.terminate()


def fitting(cells: Sequence[Cell]) -> int:
    """Processes that fit into the free memory, at most one a processor and one a cell."""
    free = free_memory()
    needed = [held for cell in _distinct(cells) if (held := bytes_of(cell.config)) is not None]
    room = int(SHARE * free / max(needed)) if free and needed else 1
    return max(1, min(os.cpu_count() or 1, len(cells), room))


def _distinct(cells: Sequence[Cell]) -> list[Cell]:
    """One cell of each model and task, whose estimates differ by more than a little."""
    return list({(cell.config.model, cell.config.task): cell for cell in cells}.values())


def _alone(count: int, driver: int) -> None:
    """A worker's share of the processors; it ends when whoever started it is gone."""
    import signal
    import threading
    import time

    os.environ["OMP_NUM_THREADS"] = str(max(1, (os.cpu_count() or 1) // count))
    wait_briefly()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the driver, who ends its workers

    def watch() -> None:
        while os.getppid() == driver:
            time.sleep(1)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
