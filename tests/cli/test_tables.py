"""What a terminal shows while something goes on."""

from __future__ import annotations

import io
import sys
from collections.abc import Generator

import pytest

from hap_engine.cli.progress_bar import follow
from hap_engine.progress import Progress

STEPS = [Progress("load", step, 100, f"Downloading x: {5 * step} of 500 MB") for step in (0, 7, 52)]
CHECK = Progress("prompts", 1, 1, "It can.", {"check": {"sentence": "It can."}})
PRUNE = Progress("prune", 5, 10, "Pruning edges", {"kl": 0.25, "budget": 1200.0, "expected": 1234.0})


def shown(monkeypatch: pytest.MonkeyPatch, terminal: bool, columns: int = 200) -> str:
    class Screen(io.StringIO):
        def isatty(self) -> bool:
            return terminal

    def work() -> Generator[Progress, None, int]:
        yield from (*STEPS, CHECK, PRUNE)
        return 5

    screen = Screen()
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setenv("COLUMNS", str(columns))
    assert follow(work()) == 5
    return screen.getvalue()


def test_a_download_is_a_bar_with_its_megabytes(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = shown(monkeypatch, terminal=True).split("\r\x1b[2K")
    assert any("████████████············] 52/100" in line and "260 of 500 MB" in line for line in lines)
    assert any("KL 0.250 with 1,234 gates open" in line for line in lines)
    assert sum(line.count("It can.") for line in lines) == 1


def test_a_line_never_wraps(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = shown(monkeypatch, terminal=True, columns=40).split("\r\x1b[2K")
    assert max(len(line.splitlines()[0]) for line in lines if line) <= 39


def test_elsewhere_a_tenth_is_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    assert shown(monkeypatch, terminal=False).splitlines() == [
        "load: Downloading x: 0 of 500 MB",
        "load: 52/100  Downloading x: 260 of 500 MB",
        "prompts: It can.",
        "It can.",
        "prune: Pruning edges",
        "prune: 5/10  KL 0.250 with 1,234 gates open",
    ]
