"""What orders the edges of one circuit, and the values that its run stored for each of them.

EAP scores and gates have different units, so each circuit is ordered by its own measure; only the
place in that order (1 = strongest) is ever compared with another circuit's.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np

from hap_engine.findings import EDGE_VALUES, CircuitRecord


def measure(record: CircuitRecord) -> tuple[str, np.ndarray]:
    """What orders the edges of a circuit, and that value per edge, strongest = largest."""
    gates, ranks = record.values.get("gates"), record.values.get("ranks")
    if gates is not None and np.isfinite(gates).any():
        return "learned gate (log α), widest = most open", np.nan_to_num(gates, nan=-np.inf)
    if ranks is not None and np.isfinite(ranks).any():
        return "EAP rank, widest = largest |score|", -np.nan_to_num(ranks, nan=np.inf)
    return "nothing: all edges alike", np.zeros(len(record.circuit))


def values(record: CircuitRecord) -> dict[tuple[str, str], dict[str, Any]]:
    """Per edge its ``place`` and its stored values (None where there is none)."""
    strength = measure(record)[1]
    places = np.empty(len(strength), dtype=int)
    places[np.argsort(-strength, kind="stable")] = np.arange(1, len(strength) + 1)
    columns = {key: [_finite(v) for v in record.values[key]] if key in record.values else None for key in EDGE_VALUES}
    return {
        names: {"place": int(places[i])}
        | {key: None if column is None else column[i] for key, column in columns.items()}
        for i, names in enumerate(record.circuit.names())
    }


def first(found: Iterable[float | None]) -> float | None:
    """The first value that is there."""
    return next((value for value in found if value is not None), None)


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
