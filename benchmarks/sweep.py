"""What a sweep gains by two workers, one of which is killed: ``python -m benchmarks.sweep``.

    python -m benchmarks.sweep [--cells 24] [--rounds 1] [--preset standard]

The same runs of hap-mini, each with one thread, are computed one after the other in one process and by a local
Ray with two workers, of which one is killed after a third of the cells. A round is both ways and then both again in
the other order, so that a machine that slows down slows both. Each way is a process of its own, timed from its start
to its end, imports and Ray's start included.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import mean, median

from hap_engine.progress import drain
from hap_engine.runs.run_file import load
from hap_engine.settings import PRESETS
from hap_engine.sweeps import on_ray
from hap_engine.sweeps.cell import attempt
from hap_engine.sweeps.drive import drive
from hap_engine.sweeps.folder import Folder
from hap_engine.sweeps.study import Cell, cells
from hap_engine.sweeps.taking import Taken

WORKERS = 2
WAYS = ("alone", "ray")
GOAL = 0.6


def wanted(count: int, preset: str) -> list[Cell]:
    return cells({"task": ["ioi", "pronoun"], "seed": [*range(count // 2)], "preset": [preset]})


def alone(some: Sequence[Cell], folder: Path, workers: int | None) -> Iterator[Taken]:
    """One after the other, in this process."""
    for cell in some:
        yield Taken(cell, "begun")
        text, why = attempt(cell, folder)
        yield Taken(cell, "failed" if why else "done", why or text)


def with_a_death(some: Sequence[Cell], folder: Path, workers: int | None) -> Iterator[Taken]:
    """By Ray; after a third of the cells one of its workers is killed in the middle of its own."""
    done, killed = Counter[str](), False
    for taken in on_ray.compute(some, folder, workers):
        done[taken.cell.id] += taken.state == "done"
        if not killed and done.total() >= len(some) // 3 and (busy := own_workers()):
            killed = True
            os.kill(busy[0], signal.SIGKILL)
        yield taken
    assert killed
    assert done == Counter(cell.id for cell in some), "each cell once"


def own_workers() -> list[int]:
    """Ray's workers that compute a cell now, of the Ray that this process started."""
    parents, names = dict[int, int](), dict[int, str]()
    for path in Path("/proc").glob("[0-9]*"):
        try:
            parents[int(path.name)] = int((path / "stat").read_text().rpartition(")")[2].split()[1])
            names[int(path.name)] = (path / "cmdline").read_text()
        except OSError:  # it ended meanwhile
            continue

    def ours(pid: int) -> bool:
        return pid == os.getpid() or (pid in parents and ours(parents[pid]))

    return [pid for pid, name in names.items() if name.startswith("ray::_compute") and ours(pid)]


def measured(way: str, options: argparse.Namespace) -> tuple[float, float]:
    """Seconds of the whole sweep and, in the median, of a cell."""
    with tempfile.TemporaryDirectory() as place:
        command = [sys.executable, "-m", "benchmarks.sweep", "--way", way, "--out", place]
        command += ["--cells", str(options.cells), "--preset", options.preset]
        started = time.monotonic()
        subprocess.run(command, check=True, env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.getcwd()})
        seconds = time.monotonic() - started
        folder = Folder(Path(place))
        assert len(folder.status().done) == options.cells, "no cell is lost"
        took = [load(folder.file(cell)).seconds["total"] for cell in folder.cells()]
    print(
        f"{way:6} {seconds:7.1f} s; a cell {median(took):.2f} s; load of the machine {os.getloadavg()[0]:.1f}",
        flush=True,
    )
    return seconds, median(took)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cells", type=int, default=24)
    parser.add_argument("--preset", choices=PRESETS, default="standard")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--way", choices=WAYS, help="compute it this way (what each measurement starts)")
    parser.add_argument("--out", type=Path, help="the folder for --way")
    options = parser.parse_args()
    if options.way:
        engine = alone if options.way == "alone" else with_a_death
        failed = drain(drive(wanted(options.cells, options.preset), Folder(options.out), engine, WORKERS))
        assert not failed, failed
        return
    found: dict[str, list[float]] = {way: [] for way in WAYS}
    for _ in range(options.rounds):
        for way in (*WAYS, *reversed(WAYS)):
            found[way].append(measured(way, options)[0])
    ratio = mean(found["ray"]) / mean(found["alone"])
    print(
        f"{options.cells} cells: Ray with {WORKERS} workers, one killed, takes {ratio:.2f} of one after the other "
        f"(goal {GOAL})"
    )


if __name__ == "__main__":
    main()
