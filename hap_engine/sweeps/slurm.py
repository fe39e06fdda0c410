"""Cells computed by Slurm: one job array, each of whose jobs computes one cell of the sweep's list and writes it
into the folder, which all machines share."""

from __future__ import annotations

import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from hap_engine.errors import SettingsError
from hap_engine.files import write_text
from hap_engine.machine.estimate import bytes_of
from hap_engine.sweeps.study import Cell
from hap_engine.words import say

SCRIPT = "sweep.sbatch"
SPARE = 1.5  # times the estimate: Slurm ends a job that takes more


def script(cells: Sequence[Cell], folder: Path, listed: Sequence[Cell], workers: int | None = None) -> str:
    """The job array that computes some of the cells of the sweep's list."""
    costs = [held for cell in cells if (held := bytes_of(cell.config)) is not None]
    places = {cell.id: place for place, cell in enumerate(listed)}
    numbers = ",".join(str(places[cell.id]) for cell in cells)
    command = shlex.join([sys.executable, "-m", "hap_engine", "sweep", "--out", str(folder.resolve()), "--cell"])
    lines = [
        "#!/bin/sh",
        "#SBATCH --job-name=hap-sweep",
        f"#SBATCH --array={numbers}{f'%{workers}' if workers else ''}",
        "#SBATCH --cpus-per-task=1",
        *([f"#SBATCH --mem={max(1, int(SPARE * max(costs) / 1e6))}M"] if costs else []),
        *(["#SBATCH --gres=gpu:1"] if any(cell.config.device != "cpu" for cell in cells) else []),
        f"#SBATCH --output={folder.resolve()}/slurm-%A_%a.txt",
        f'exec {command} "$SLURM_ARRAY_TASK_ID"',
    ]
    return "\n".join(lines) + "\n"


def submit(cells: Sequence[Cell], folder: Path, listed: Sequence[Cell], workers: int | None = None) -> str:
    """Write the job array and hand it to ``sbatch``; says what was done. Raises SettingsError if Slurm refuses it."""
    path = write_text(folder / SCRIPT, script(cells, folder, listed, workers))
    if shutil.which("sbatch") is None:
        return say("sweeps.no_slurm", path=path)
    done = subprocess.run(["sbatch", str(path)], check=False, capture_output=True, text=True)
    if done.returncode:
        raise SettingsError(say("sweeps.refused", path=path, why=done.stderr.strip()))
    return say("sweeps.submitted", path=path, said=done.stdout.strip(), count=len(cells))
