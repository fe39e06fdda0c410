"""Long lists of whole numbers in a run file, as text: an order of 800,000 edges takes 4 MB and no time to read.

Base64 of 32-bit integers, the smallest byte first. Short lists stay lists, which people can read.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from hap_engine.errors import RunFileError
from hap_engine.graph.graph import Graph

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


def packed_replay(replay: Mapping[str, Any], graph: Graph) -> Mapping[str, Any]:
    """A long replay with its edges as cells (``writer x number of readers + reader``), both of its lists as texts."""
    edges, width = replay.get("edges", ()), len(graph.readers)
    if len(edges) < LONG:
        return replay
    rows, columns = graph.writer_index, graph.reader_index
    cells = [rows[writer] * width + columns[reader] for writer, reader in edges]
    return {**replay, "edges": packed(cells), "last_open": packed(replay["last_open"])}


def unpacked_replay(replay: Mapping[str, Any], graph: Graph) -> Mapping[str, Any]:
    """The inverse of `packed_replay`. Raises RunFileError."""
    if not isinstance(replay.get("edges"), str):
        return replay
    cells = np.asarray(unpacked(replay["edges"], "replay"))
    if (
        not cells.size
        or cells.min() < 0
        or cells.max() >= graph.edge_mask.size
        or not graph.edge_mask.flat[cells].all()
    ):
        raise RunFileError("The run file's replay should hold edges of its graph.")
    names = [[writer.name for writer in graph.writers], [reader.name for reader in graph.readers]]
    ends = np.unravel_index(cells, graph.edge_mask.shape)
    pairs = zip(*(np.array(side, dtype=object)[at].tolist() for side, at in zip(names, ends, strict=True)), strict=True)
    return {**replay, "edges": list(map(list, pairs)), "last_open": unpacked(replay.get("last_open", ()), "replay")}
