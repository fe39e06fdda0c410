"""The parts of the campaign: how many cases each has, and what it does."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.campaign import kills, model_files, prompt_files, run_files, sessions, walks
from tests.campaign.tally import Tally


@dataclass(frozen=True)
class Part:
    """`short` cases run among the tests, in a few seconds; `cases` in a whole campaign."""

    attack: Callable[[int, int], Tally]
    cases: int
    short: int

    @property
    def about(self) -> str:
        """What it does, in words."""
        return ABOUT[self.attack.__module__.rpartition(".")[2]]


ABOUT: Mapping[str, str] = tomllib.loads(Path(__file__).with_name("parts.toml").read_text(encoding="utf-8"))
PARTS: Mapping[str, Part] = {
    "runs": Part(run_files.attack, 1_000, 20),
    "prompts": Part(prompt_files.attack, 1_000, 60),
    "models": Part(model_files.attack, 300, 16),
    "sessions": Part(sessions.attack, 50, 4),
    "walks": Part(walks.attack, 100, 2),
    "kills": Part(kills.attack, 50, 1),
}
