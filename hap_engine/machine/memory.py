"""How much may be held in memory at once, and when it was too much (no torch).

Results depend on limits by rounding alone.
"""

from __future__ import annotations

import ctypes
import sys
from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """What a run may hold.

    Attributes:
        batch: most prompts in one pass with gradients; larger batches are visited in parts.
        cache: bytes of corrupt runs that are kept; beyond that they are computed when needed.
        aside: they are kept in main memory, as narrow as the training computes, and come to their cards batch by batch.
    """

    batch: int = 1024  # the largest batch that the settings allow: nothing is split
    cache: int = 4 * 2**30  # 600 SmolLM2 IOI prompts take 2.6; a step that traces its own takes a third longer
    aside: bool = False  # moving them takes time, and bfloat16 rounds


def out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory is full; torch tells so by words alone on a processor and on Apple's GPUs."""
    text = str(error).lower()
    known = isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"  # torch's
    return known or "out of memory" in text or "can't allocate memory" in text


TRIM_BATCHES = 4  # of scoring, whose tensors of all edges are larger
TRIM_STEPS = 25  # a trim costs about one step's page faults, and the heap grows by 0.1 GB a step


def trim() -> None:
    """Return free heap pages to the system; does nothing where the C library cannot."""
    if sys.platform != "linux":
        return
    malloc_trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc has it, musl does not
    if malloc_trim is not None:
        malloc_trim(0)
