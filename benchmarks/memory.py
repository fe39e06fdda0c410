"""Peak memory of one step, measured in a process of its own.

    python -m benchmarks.memory gpt2-small plain cpu

prints the bytes that loading the model and two steps added to the process (Linux; the high-water mark of
the resident set) or took of a GPU, so weights count in every case and the libraries in none.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch

from benchmarks.subjects import CASES, subject


def peaks(wanted: Sequence[tuple[str, str]], device: str) -> list[int | None]:
    """Bytes of each subject and case; None where the system does not tell.

    On a processor two at a time, each on one thread: their time does not matter here.
    """
    if device == "mps" or (device == "cpu" and not Path("/proc/self/status").exists()):
        return [None] * len(wanted)
    alone = os.environ | ({"OMP_NUM_THREADS": "1"} if device == "cpu" else {})

    def peak(each: tuple[str, str]) -> int:
        command = [sys.executable, "-m", "benchmarks.memory", *each, device]
        done = subprocess.run(command, capture_output=True, text=True, check=True, env=alone)
        return int(done.stdout.split()[-1])

    with ThreadPoolExecutor(2 if device == "cpu" else 1) as pool:
        return list(pool.map(peak, wanted))


def _status(field: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field):
            return int(line.split()[1]) * 1024
    raise KeyError(field)


def main() -> None:
    name, case, device = sys.argv[1:]
    before = 0 if device != "cpu" else _status("VmRSS")
    step = CASES[case](subject(name, device), torch.float32)
    for _ in range(2):
        step()
    after = _status("VmHWM") if device == "cpu" else torch.cuda.max_memory_allocated()
    print(after - before)


if __name__ == "__main__":
    main()
