"""What an attack met: counts of which all that may be wrong must be none."""

from __future__ import annotations

import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from types import FrameType
from typing import Any

from hap_engine.errors import HapError

LONGEST = 120  # seconds for one case on a busy machine; one takes less than a second alone
HERE = ("127.", "::1", "localhost", "0.0.0.0")
_asked: list[str] = []


@dataclass
class Tally:
    """Attributes:
    tried, accepted, refused: cases; those that are refused were refused in words.
    tracebacks: errors that nobody foresaw, and cases that took longer than `LONGEST`.
    lost: finished results that were there before and are not as they were.
    wrong: what was accepted and should not have been, or shown to whom it should not have been.
    outside: connections to other machines that were asked for.
    notes: what else was measured.
    """

    part: str
    seed: int
    tried: int = 0
    accepted: int = 0
    refused: int = 0
    tracebacks: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    outside: list[str] = field(default_factory=list)
    seconds: float = 0.0
    notes: dict[str, Any] = field(default_factory=dict)

    @property
    def faults(self) -> list[str]:
        return [*self.tracebacks, *self.lost, *self.wrong, *self.outside]

    def attempt(self, name: str, work: Callable[[], None], harmful: bool = False) -> bool:
        """One case; whether it was accepted.

        Args:
            work: raises HapError where it refuses.
            harmful: it must be refused.
        """
        self.tried += 1
        try:
            with within(LONGEST):
                work()
        except HapError:
            self.refused += 1
            return False
        except Exception as error:
            frames = [f"{Path(one.filename).name}:{one.lineno}" for one in traceback.extract_tb(error.__traceback__)]
            self.tracebacks.append(f"{name}: {error!r:.200} at {' '.join(frames[-4:])}")
            return False
        self.accepted += 1
        if harmful:
            self.wrong.append(f"{name}: accepted")
        return True


@contextmanager
def within(seconds: int) -> Iterator[None]:
    """Raise TimeoutError in here after so many seconds."""

    def late(number: int, frame: FrameType | None) -> None:
        raise TimeoutError(f"it took longer than {seconds} s")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


@contextmanager
def counted(tally: Tally) -> Iterator[Tally]:
    """Time, and connections to elsewhere that this process asks for in here."""
    _listen()
    _asked.clear()
    start = time.monotonic()
    yield tally
    tally.seconds = round(time.monotonic() - start, 1)
    tally.outside += _asked


@cache
def _listen() -> None:
    def heard(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "socket.connect" and isinstance(arguments[1], tuple):
            host = str(arguments[1][0])
        elif event == "socket.getaddrinfo":
            host = str(arguments[0])
        else:
            return
        if not host.startswith(HERE):
            _asked.append(host)

    sys.addaudithook(heard)
