"""Work behind the page: one queue, one thread, snapshots for every page that asks (no Streamlit here).

A piece of work is a generator of `Progress` records with a result, known by a key of its own. Pieces take turns,
since a class that clicks at once shares one processor and a model gains nothing from company. Pages of any session
only read snapshots; cancelled work stops at its next record.
"""

from __future__ import annotations

import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from hap_engine.crash_report import explain, foreseen
from hap_engine.progress import Progress

WAITING = Progress("load", 0, 1, "Waiting for the work before it")
STARTING = Progress("load", 0, 1, "Starting")
Begin = Callable[[], Generator[Progress, None, Any]]


@dataclass(frozen=True, eq=False)
class Snapshot:
    """A piece of work at one moment.

    Attributes:
        about: what it was started for.
        owner: who started it.
        state: queued, running, cancelling, done, cancelled or error.
        latest: what its records carried so far, the last of each name.
        history: the data of every record that told a KL.
        phase_started: seconds since the epoch.
        phase_step: the first step that was told of the phase.
    """

    key: str
    about: Any = None
    owner: str = ""
    state: str = "queued"
    progress: Progress = WAITING
    latest: Mapping[str, Any] = field(default_factory=dict)
    history: tuple[Mapping[str, Any], ...] = ()
    result: Any = None
    error: str = ""
    phase_started: float = 0.0
    phase_step: int = 0

    @property
    def live(self) -> bool:
        return self.state in ("queued", "running", "cancelling")

    def after(self, record: Progress) -> Snapshot:
        """The work one record later."""
        data = {key: value for key, value in record.data.items() if key not in ("circuit", "order")}
        anew = record.phase != self.progress.phase or record.step < self.progress.step
        return replace(
            self,
            progress=record,
            latest={**self.latest, **record.data},
            history=(*self.history, *data.get("before", ()), *([data] if "kl" in data else [])),
            phase_started=time.time() if anew else self.phase_started,
            phase_step=record.step if anew else self.phase_step,
        )


class _Piece:
    """Work that may go on after it was forgotten: its thread holds it, the pages no longer find it."""

    def __init__(self, begin: Begin, now: Snapshot) -> None:
        self.begin, self.now, self.stop = begin, now, False


class Worker:
    """A queue of work in this process; methods may be called from any thread.

    Args:
        remember: how much ended work is kept; a later page begins anew what was forgotten.
    """

    def __init__(self, remember: int) -> None:
        self._remember = remember
        self._lock = threading.Lock()
        self._known: dict[str, _Piece] = {}
        self._queue: deque[_Piece] = deque()
        self._at_work = False  # a thread serves the queue

    def start(self, key: str, begin: Begin, about: Any = None, owner: str = "") -> Snapshot:
        """Put work into the queue unless its key is known, failed work included; returns its snapshot."""
        with self._lock:
            if key not in self._known:
                self._forget_old()
                self._known[key] = piece = _Piece(begin, Snapshot(key, about, owner))
                self._queue.append(piece)
                if not self._at_work:
                    self._at_work = True
                    threading.Thread(target=self._serve, name=key, daemon=True).start()
            return self._known[key].now

    def get(self, key: str) -> Snapshot | None:
        with self._lock:
            piece = self._known.get(key)
            return piece.now if piece else None

    def live(self) -> list[Snapshot]:
        """Work that waits or goes on, oldest first."""
        with self._lock:
            return [piece.now for piece in self._known.values() if piece.now.live]

    def cancel(self, key: str) -> None:
        """Take work out of the queue, or ask it to stop at its next record."""
        with self._lock:
            piece = self._known.get(key)
            if piece is None or not piece.now.live:
                return
            piece.stop, queued = True, piece in self._queue
            if queued:
                self._queue.remove(piece)
            piece.now = replace(piece.now, state="cancelled" if queued else "cancelling")

    def forget(self, key: str) -> None:
        """Cancel work and forget what came of it: it may start anew."""
        self.cancel(key)
        with self._lock:
            self._known.pop(key, None)

    def _forget_old(self) -> None:
        """Make room for one more, so that no more than `remember` results are ever in memory."""
        ended = [key for key, piece in self._known.items() if not piece.now.live]
        for key in ended[: max(0, len(ended) + 1 - self._remember)]:
            del self._known[key]

    def _serve(self) -> None:
        """The thread: one piece after the other until none waits."""
        while piece := self._next():
            ended = self._drive(piece)
            with self._lock:
                piece.now = replace(piece.now, **ended)

    def _next(self) -> _Piece | None:
        with self._lock:
            if not self._queue:
                self._at_work = False
                return None
            piece = self._queue.popleft()
            piece.now = replace(piece.now, state="running", progress=STARTING, phase_started=time.time())
            return piece

    def _drive(self, piece: _Piece) -> dict[str, Any]:
        """Work until the end; returns what the snapshot then says."""
        try:
            steps = piece.begin()
            try:
                while not piece.stop:
                    record = next(steps)
                    with self._lock:
                        piece.now = piece.now.after(record)
            finally:
                steps.close()
        except StopIteration as end:
            return {"state": "done", "result": end.value}
        except Exception as error:  # the page must say something, whatever went wrong
            if not foreseen(error):
                traceback.print_exc()
            return {"state": "error", "error": explain(error, f"work behind the page, {piece.now.key}")}
        return {"state": "cancelled"}
