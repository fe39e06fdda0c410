"""Background runs that survive reruns, reloads and other tabs (no Streamlit here).

One `Jobs` object serves the whole process. A job is one discovery in a daemon thread; the page only
ever reads snapshots. Jobs wait for each other (a model on two cores gains nothing from sharing
them), equal settings share one job, and a cancelled job stops at its next progress record.
Finished runs are written to disk before the job says that it is done.
"""

from __future__ import annotations

import threading
import time
import traceback
from collections import OrderedDict
from collections.abc import Callable, Generator
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from app.classroom import check_job
from app.stored import task_answers
from app.stored.shelf import keep_computed
from app.work import heavy_imports
from app.work.background import Start
from hap_engine.errors import HapError
from hap_engine.models.catalog import resolve, weights_sha256
from hap_engine.progress import Progress
from hap_engine.runs.record import Run
from hap_engine.settings import DiscoveryConfig, run_id

MAX_JOBS = 32  # remembered; older finished ones are forgotten (their runs stay on disk)
MAX_WAITING = 8  # more than that is somebody leaning on the button
LIVE = ("queued", "running", "cancelling")


@dataclass(frozen=True)
class Opening:
    """How to open weights that are known, wherever they lie; their reference may name nothing here."""

    sha256: str
    begin: Start


Discover = Callable[[DiscoveryConfig, Opening | None], Generator[Progress, None, Run]]


@dataclass(frozen=True)
class Snapshot:
    """A job at one moment. `state` is queued, running, cancelling, done, cancelled or error."""

    id: str
    config: DiscoveryConfig
    state: str = "queued"
    phase: str = "load"
    step: int = 0
    total: int = 1
    message: str = "Waiting for the run before it"
    history: tuple[dict[str, Any], ...] = ()
    check: Any = None  # can the model do the task? (`task_check.TaskCheck.to_dict`)
    circuit: Any = None  # the circuit as it stands, from the latest preview
    error: str = ""
    run_id: str = ""
    started: float = 0.0
    phase_started: float = 0.0

    @property
    def live(self) -> bool:
        return self.state in LIVE


class TooManyJobsError(HapError):
    """The queue is full."""


class Jobs:
    """The registry of jobs; all methods may be called from any thread."""

    def __init__(self, discover: Discover | None = None) -> None:
        self._discover = discover or _discover
        self._lock = threading.Lock()
        self._turn = threading.Lock()  # one run at a time
        self._jobs: OrderedDict[str, Snapshot] = OrderedDict()
        self._stop: dict[str, threading.Event] = {}

    def submit(self, config: DiscoveryConfig, opening: Opening | None = None) -> str:
        """Start a run, or join the live one with equal settings; returns the job's id.

        Args:
            opening: opens the model; None: ``config.model`` names it.

        Raises:
            HapError: if the model cannot be found or the queue is full.
        """
        check_job(config, 0)  # before the model's name is looked up on the disk
        job = run_id(config, opening.sha256 if opening else _weights(config))
        with self._lock:
            if job in self._jobs and self._jobs[job].live:
                return job
            live = sum(known.live for known in self._jobs.values())
            check_job(config, live)
            if live > MAX_WAITING:
                raise TooManyJobsError(f"Expected at most {MAX_WAITING} runs waiting. Cancel one, or let one finish.")
            self._jobs.pop(job, None)
            self._jobs[job] = Snapshot(job, config, started=time.time())
            self._stop[job] = threading.Event()
            self._forget()
        threading.Thread(target=self._work, args=(job, opening), name=f"run-{job}", daemon=True).start()
        return job

    def get(self, job: str) -> Snapshot | None:
        with self._lock:
            return self._jobs.get(job)

    def live(self) -> list[Snapshot]:
        """Jobs that are queued or running, oldest first."""
        with self._lock:
            return [job for job in self._jobs.values() if job.live]

    def cancel(self, job: str) -> None:
        """Ask a job to stop; it does at its next progress record."""
        with self._lock:
            if job in self._jobs and self._jobs[job].live:
                self._stop[job].set()
                queued = self._jobs[job].state == "queued"
                state = "cancelled" if queued else "cancelling"
                self._jobs[job] = replace(self._jobs[job], state=state)

    def _forget(self) -> None:
        for job in [job for job, known in self._jobs.items() if not known.live]:
            if len(self._jobs) <= MAX_JOBS:
                return
            del self._jobs[job], self._stop[job]

    def _update(self, job: str, **changes: Any) -> None:
        with self._lock:
            self._jobs[job] = replace(self._jobs[job], **changes)

    def _work(self, job: str, opening: Opening | None) -> None:
        stop = self._stop[job]
        with self._turn:
            if stop.is_set():
                return
            self._update(job, state="running", message="Starting", phase_started=time.time())
            try:
                run = self._follow(job, stop, opening)
            except HapError as error:
                self._update(job, state="error", error=str(error))
            except Exception as error:  # the page must say something, whatever went wrong
                traceback.print_exc()
                self._update(
                    job,
                    state="error",
                    error=f"The run stopped on an unexpected error: {type(error).__name__}: {error}. "
                    "The terminal that started the explorer shows the details.",
                )
            else:
                done = {"state": "done", "run_id": run.id} if run else {"state": "cancelled"}
                self._update(job, **done)

    def _follow(self, job: str, stop: threading.Event, opening: Opening | None) -> Run | None:
        """Drive the run; None when it was cancelled."""
        work = self._discover(self._jobs[job].config, opening)
        try:
            while not stop.is_set():
                self._record(job, next(work))
        except StopIteration as end:
            run: Run = end.value
            keep_computed(run)
            return run
        finally:
            work.close()
        return None

    def _record(self, job: str, record: Progress) -> None:
        now, known = time.time(), self._jobs[job]
        changes: dict[str, Any] = {
            "phase": record.phase,
            "step": record.step,
            "total": record.total,
            "message": record.message,
        }
        if record.phase != known.phase:
            changes["phase_started"] = now
        if "kl" in record.data:
            changes["history"] = (
                *known.history,
                {key: value for key, value in record.data.items() if key != "circuit"},
            )
        if "circuit" in record.data:
            changes["circuit"] = record.data["circuit"]
        if "check" in record.data:
            changes["check"] = record.data["check"]
            with suppress(HapError):  # a model that is not found by its name is on no list of tasks
                self._remember(known.config, record.data["check"])
        self._update(job, **changes)

    @staticmethod
    def _remember(config: DiscoveryConfig, check: dict[str, Any]) -> None:
        """What a run found out about the model and the task, for the list of tasks."""
        usual = config.corruption in (None, config.find_task().default_corruption)
        if usual and not config.prompts:
            task_answers.remember(resolve(config.model), {config.task: check})


def _weights(config: DiscoveryConfig) -> str:
    source = resolve(config.model)
    return weights_sha256(source) or source.reference


def _discover(config: DiscoveryConfig, opening: Opening | None) -> Generator[Progress, None, Run]:
    """The engine, imported when the first run starts: torch takes seconds to load."""
    yield Progress("load", 0, 1, "Loading PyTorch and TransformerLens")
    heavy_imports.load()
    from hap_engine.workflows.discover import discover

    masked = (yield from opening.begin()) if opening else None
    return (yield from discover(config, masked.model if masked else None))
