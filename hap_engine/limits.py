"""How much may be held in memory at once (no torch). Results depend on it by rounding alone."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """What a run may hold.

    Attributes:
        batch: most prompts in one pass with gradients; larger batches are visited in parts.
        cache: bytes of corrupt runs that are kept; beyond that they are computed when needed.
    """

    batch: int = 1024  # the largest batch that the settings allow: nothing is split
    cache: int = (
        4 * 2**30
    )  # 600 SmolLM2 IOI prompts take 2.6; a step that traces its own takes a third longer
