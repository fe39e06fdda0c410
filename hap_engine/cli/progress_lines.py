"""What the terminal says while something goes on: a live bar, or lines of text where no terminal is."""

from __future__ import annotations

import sys
from collections.abc import Generator
from typing import TypeVar

from hap_engine import live_bar
from hap_engine.progress import Progress

T = TypeVar("T")


def follow(work: Generator[Progress, None, T]) -> T:
    """Drive `work` to its end and show on standard error how far it is."""
    return live_bar.follow(work, None if sys.stderr.isatty() else _Lines().show)


class _Lines:
    """A line a phase, and one each tenth of it."""

    def __init__(self) -> None:
        self.phase, self.tenth = "", 0

    def show(self, record: Progress) -> None:
        if record.phase != self.phase:
            self.phase, self.tenth = record.phase, 0
            _say(f"{record.phase}: {record.message}")
        if text := live_bar.said(record):
            _say(text)
        tenth = 10 * record.step // max(1, record.total)
        if record.total >= 10 and tenth > self.tenth:
            self.tenth = tenth
            _say(f"{record.phase}: {record.step}/{record.total}  {live_bar.detail(record)}".rstrip())


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
