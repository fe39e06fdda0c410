"""A run: what one discovery found, as it is kept on disk and shown in a notebook."""

from __future__ import annotations

from dataclasses import dataclass

from hap_engine.findings import Findings


@dataclass(frozen=True)
class Run(Findings):
    """One discovery. `run_file` writes and reads it."""
