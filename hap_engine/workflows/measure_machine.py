"""Measure how fast this machine is, with torch: ``python -m hap_engine.workflows.measure_machine``.

The page does so in a process of its own, because torch takes seconds to import.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import asdict

import torch

from hap_engine.machine import speed
from hap_engine.machine.speed import Machine
from hap_engine.machine.threads import wait_briefly

REPEATS = 5  # the fastest counts: others were disturbed
SIDE = (512, 640, 1536)  # a product of the size that a small model's MLP has on one batch


def measure(clock: Callable[[], float] = time.perf_counter) -> Machine:
    """Measure with torch, as it is set up now."""
    rows, inner, columns = SIDE
    speeds = {}
    for dtype in (torch.float32, torch.bfloat16):
        a, b = (torch.randn(*shape).to(dtype) for shape in ((rows, inner), (inner, columns)))
        seconds = _fastest(lambda a=a, b=b: a @ b, clock)  # type: ignore[misc]
        speeds[dtype] = 2 * rows * inner * columns / seconds
    big = torch.zeros(16 << 20)
    copied = _fastest(lambda: big.add_(1), clock)
    small = torch.zeros(8, 8)

    def many() -> None:
        for _ in range(1000):
            small.add(1)

    kind, name = gpu()
    return Machine(
        gpu=kind,
        gpu_name=name,
        float32=speeds[torch.float32],
        bfloat16=speeds[torch.bfloat16],
        bandwidth=2 * big.nbytes / copied,
        dispatch=_fastest(many, clock) / 1000,
        threads=torch.get_num_threads(),
    )


def gpu() -> tuple[str, str]:
    """The GPU that torch can use, and what to call it."""
    if torch.cuda.is_available():
        return "cuda", torch.cuda.get_device_name()
    return ("mps", "Apple GPU") if torch.backends.mps.is_available() else ("", "")


def measured() -> Machine:
    """This machine; measured now if it was not before."""
    machine = speed.known()
    if machine is None:
        machine = measure()
        speed.remember(machine)
    return machine


def _fastest(work: Callable[[], object], clock: Callable[[], float]) -> float:
    work()  # warm
    times = []
    for _ in range(REPEATS):
        start = clock()
        work()
        times.append(clock() - start)
    return max(min(times), 1e-9)


if __name__ == "__main__":
    wait_briefly()
    print(json.dumps(asdict(measured())))
