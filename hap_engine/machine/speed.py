"""How fast is this machine, and how much memory is free?

Four numbers are measured once (under two seconds of one's time) and kept under ``HAP_HOME``: matrix
products in float32 and in bfloat16, memory bandwidth, and the cost of starting one small operation; with
them, which GPU there is.
`hap_engine.machine.estimate` turns them into seconds; `hap_engine.workflows.measure_machine` measures them.
"""

from __future__ import annotations

import json
import os
import platform
import re
from contextlib import suppress
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from hap_engine.errors import DiskError
from hap_engine.files import home, write_text


@dataclass(frozen=True)
class Machine:
    """Measured speeds; `threads` is what torch used."""

    float32: float  # floating-point operations per second
    bfloat16: float
    bandwidth: float  # bytes per second, read and written
    dispatch: float  # seconds to start a small operation
    threads: int
    gpu: str = ""  # as torch names it: cuda, mps; empty: none
    gpu_name: str = ""

    def rate(self, dtype: str) -> float:
        return float(getattr(self, dtype))


def known() -> Machine | None:
    """This machine as measured before, or None."""
    try:
        data = _kept()[_key()]
        return Machine(**{field.name: data[field.name] for field in fields(Machine)})
    except (KeyError, TypeError):
        return None


def remember(machine: Machine) -> None:
    """Keep a measurement beside those of other machines and numbers of threads, where the disk takes it."""
    with suppress(DiskError):
        write_text(_file(), json.dumps(_kept() | {_key(): asdict(machine)}, indent=1))


def _kept() -> dict[str, Any]:
    """All measurements; none if the file is missing or damaged."""
    try:
        return dict(json.loads(_file().read_text()))
    except (OSError, ValueError, TypeError):
        return {}


def free_memory() -> int | None:
    """Bytes that a run may use: free memory, or what a container's limit leaves; None: unknown."""
    candidates = []
    try:
        text = Path("/proc/meminfo").read_text()
        candidates += [int(kb) * 1024 for kb in re.findall(r"MemAvailable: +(\d+) kB", text)]
        group = Path("/sys/fs/cgroup")
        limit = (group / "memory.max").read_text().strip()
        if limit != "max":
            candidates.append(int(limit) - int((group / "memory.current").read_text()))
    except (OSError, ValueError):
        pass
    if not candidates and hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        candidates.append(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    return max(0, min(candidates)) if candidates else None


def _file() -> Path:
    return home() / "machine.json"


def _key() -> str:
    """Measurements hold for one machine and one number of threads."""
    threads = os.environ.get("OMP_NUM_THREADS", "default")
    return f"{platform.node()} {platform.machine()} {os.cpu_count()} processors, {threads} threads"
