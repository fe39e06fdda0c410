"""Short work behind the page: opening a model, testing an edited circuit (no Streamlit here).

Each piece of work has a key and is a generator of `Progress` records with a result. It runs once in a
daemon thread, one after the other, since a class that clicks at once shares one processor; pages read
snapshots of it, whichever session asked first. (`jobs.py` is its elder
sister for whole discoveries, which queue, can be watched step by step and are written to disk.)
"""

from __future__ import annotations

import threading
import traceback
from collections import OrderedDict
from collections.abc import Callable, Generator
from dataclasses import dataclass, replace
from typing import Any

from hap_engine.errors import HapError
from hap_engine.progress import Progress

STARTING = Progress("load", 0, 1, "Starting")
WAITING = Progress("load", 0, 1, "Waiting for the work before it")
Start = Callable[[], Generator[Progress, None, Any]]


@dataclass(frozen=True, eq=False)
class Work:
    """A piece of work at one moment. `state` is running, done or error."""

    key: str
    state: str = "running"
    progress: Progress = STARTING
    result: Any = None
    error: str = ""


class Background:
    """Work of one sort in this process; methods may be called from any thread.

    Args:
        remember: how many finished results are kept; a later page asks again for the others.
    """

    def __init__(self, remember: int = 24) -> None:
        self._remember = remember
        self._lock = threading.Lock()
        self._turn = threading.Lock()
        self._work: OrderedDict[str, Work] = OrderedDict()
        self._stop: dict[str, threading.Event] = {}

    def start(self, key: str, begin: Start) -> Work:
        """Begin the work unless it is known, failed work included; returns its snapshot."""
        with self._lock:
            known = self._work.get(key)
            if known is not None:
                return known
            self._work[key] = work = Work(key)
            self._stop[key] = stop = threading.Event()
            self._forget_old()
        threading.Thread(target=self._run, args=(key, begin, stop), name=key, daemon=True).start()
        return work

    def get(self, key: str) -> Work | None:
        with self._lock:
            return self._work.get(key)

    def stop(self, key: str) -> None:
        """Cancel running work at its next record, or forget what came of it: it may start anew."""
        with self._lock:
            if key in self._work:
                self._stop[key].set()
                del self._work[key], self._stop[key]

    def _forget_old(self) -> None:
        done = [key for key, work in self._work.items() if work.state != "running"]
        for key in done[: max(0, len(done) + 1 - self._remember)]:
            del self._work[key], self._stop[key]

    def _run(self, key: str, begin: Start, stop: threading.Event) -> None:
        if self._turn.locked():
            self._update(key, stop, progress=WAITING)
        with self._turn:
            if not stop.is_set():
                self._drive(key, begin, stop)

    def _drive(self, key: str, begin: Start, stop: threading.Event) -> None:
        try:
            steps = begin()
            while not stop.is_set():
                self._update(key, stop, progress=next(steps))
            steps.close()
        except StopIteration as end:
            self._update(key, stop, state="done", result=end.value)
        except HapError as error:
            self._update(key, stop, state="error", error=str(error))
        except Exception as error:  # the page must say something, whatever went wrong
            traceback.print_exc()
            text = f"This failed unexpectedly: {type(error).__name__}: {error}. "
            text += "The terminal that started the explorer shows the details."
            self._update(key, stop, state="error", error=text)

    def _update(self, key: str, stop: threading.Event, **changes: Any) -> None:
        with self._lock:
            if not stop.is_set() and key in self._work:
                self._work[key] = replace(self._work[key], **changes)
