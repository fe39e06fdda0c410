"""The record that long work yields: the app, the terminal and the tests consume the same ones."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

PHASES = ("load", "prompts", "score", "prune", "evaluate", "roles")


@dataclass(frozen=True)
class Progress:
    """`step` of `total` in a phase is done; `data` carries what the phase can show meanwhile."""

    phase: str
    step: int
    total: int
    message: str = ""
    data: Mapping[str, Any] = field(default_factory=dict)
