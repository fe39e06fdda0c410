"""Long lists of whole numbers in a run file, as text: an order of 800,000 edges takes 4 MB and no time to read.

Base64 of 32-bit integers, the smallest byte first. Short lists stay lists, which people can read.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence

import numpy as np

from hap_engine.errors import RunFileError

LONG = 100_000  # numbers; the orders of SmolLM2's edges have 35,000
NUMBER = np.dtype("<i4")  # cells of a graph are below 10^8


def packed(numbers: Sequence[int]) -> Sequence[int] | str:
    """As it stands in the file."""
    if len(numbers) < LONG:
        return numbers
    return base64.b64encode(np.asarray(numbers, dtype=NUMBER).tobytes()).decode()


def unpacked(stored: Sequence[int] | str, where: str) -> Sequence[int]:
    """The inverse of `packed`. Raises RunFileError, naming `where`, for a text that is none of its own."""
    if not isinstance(stored, str):
        return stored
    try:
        found: list[int] = np.frombuffer(base64.b64decode(stored, validate=True), dtype=NUMBER).tolist()
    except (ValueError, binascii.Error) as error:
        raise RunFileError(f"The run file's {where} should be numbers, or base64 of 32-bit ones.") from error
    return found
