"""Give freed memory back to the system during long work.

Batches differ in length, so the C library's heap fills with holes of many sizes: on SmolLM2 a run of 300
steps grew to 13 GB, of which live tensors were less than half. Linux' C library can return the holes.
"""

from __future__ import annotations

import ctypes
import sys

TRIM_BATCHES = 4  # of scoring, whose tensors of all edges are larger
TRIM_STEPS = 25  # a trim costs about one step's page faults, and the heap grows by 0.1 GB a step


def trim() -> None:
    """Return free heap pages to the system; does nothing where the C library cannot."""
    if sys.platform != "linux":
        return
    malloc_trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc has it, musl does not
    if malloc_trim is not None:
        malloc_trim(0)
