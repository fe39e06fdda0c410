"""A live line per phase on the terminal."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Generator
from typing import TypeVar

from hap_engine.progress import Progress, drain

T = TypeVar("T")


def follow(work: Generator[Progress, None, T]) -> T:
    """Drive `work` to its end with one live line per phase on standard error."""
    bar = _Bar(sys.stderr.isatty())
    found = drain(work, bar.show)
    bar.end()
    return found


class _Bar:
    """A progress line that is rewritten on a terminal; elsewhere a line a phase, and one each tenth of it."""

    def __init__(self, live: bool) -> None:
        self.live, self.phase, self.started, self.tenth = live, "", time.monotonic(), 0

    def show(self, record: Progress) -> None:
        if record.phase != self.phase:
            self.end()
            self.phase, self.started, self.tenth = record.phase, time.monotonic(), 0
            if not self.live:
                print(f"{record.phase}: {record.message}", file=sys.stderr, flush=True)
        if "check" in record.data:  # said once and kept, for it may spare a run
            self.end()
            print(record.data["check"]["sentence"], file=sys.stderr, flush=True)
        share = record.step / max(1, record.total)
        extra = "" if "check" in record.data else record.message
        if "kl" in record.data:
            extra = f"KL {record.data['kl']:.3f} with {record.data['expected']:,.0f} gates open"
        if not self.live:
            if record.total >= 10 and int(10 * share) > self.tenth:
                self.tenth = int(10 * share)
                print(f"{record.phase}: {record.step}/{record.total}  {extra}".rstrip(), file=sys.stderr, flush=True)
            return
        filled = round(24 * share)
        took = time.monotonic() - self.started
        left = f"{took / share * (1 - share):4.0f} s left" if share > 0.02 else ""
        line = f"{record.phase:9}[{'█' * filled}{'·' * (24 - filled)}] {record.step}/{record.total} {left}  {extra}"
        width = shutil.get_terminal_size().columns - 1  # a line that wraps could not be rewritten
        print(f"\r\x1b[2K{line[:width]}", end="", file=sys.stderr, flush=True)

    def end(self) -> None:
        if self.phase and self.live:
            print(file=sys.stderr)
