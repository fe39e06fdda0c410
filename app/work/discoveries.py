"""Runs in the background: equal settings share one, a few may wait, a finished one is on disk (no Streamlit here).

The id of a job is that of the run which it will write.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

from app.classroom import check_cancel, check_job
from app.stored import task_answers
from app.stored.saved_runs import keep_computed
from app.work import heavy_imports
from app.work.worker import Begin, Worker
from hap_engine.errors import HapError, ModelError
from hap_engine.files import check_writable
from hap_engine.models.catalog import identity, resolve
from hap_engine.models.reader import reader_of
from hap_engine.progress import Progress
from hap_engine.runs.record import Run
from hap_engine.runs.run_file import runs_folder
from hap_engine.runs.unfinished import Interrupted, Unfinished
from hap_engine.settings import DiscoveryConfig, run_id
from hap_engine.workflows.run_prompts import settled

REMEMBERED = 32  # jobs; the runs of forgotten ones stay on disk
MAX_WAITING = 8  # more than that is somebody leaning on the button
_submitting = threading.Lock()  # one at a time: the limits and the start belong together


@dataclass(frozen=True)
class Opening:
    """How to open weights that are known, wherever they lie; their reference may name nothing here."""

    identity: str
    begin: Begin


Discovery = Generator[Progress, None, Run]
Discover = Callable[[DiscoveryConfig, Opening | None], Discovery]


class TooManyJobsError(HapError):
    """The queue is full."""


def _discover(config: DiscoveryConfig, opening: Opening | None, resumed: str = "") -> Discovery:
    """The engine, imported when the first run starts: torch takes seconds to load."""
    yield Progress("load", 0, 1, "Loading PyTorch and TransformerLens")
    heavy_imports.load()
    from hap_engine.workflows.discover import discover

    masked = (yield from opening.begin()) if opening else None
    state = Unfinished(runs_folder(), run=resumed)
    return (yield from discover(config, masked.model if masked else None, state))


def submit(
    worker: Worker,
    config: DiscoveryConfig,
    opening: Opening | None = None,
    discover: Discover = _discover,
    owner: str = "",
) -> str:
    """Start a run, or join the live one with equal settings; returns the job's id.

    Args:
        opening: opens the model; None: ``config.model`` names it.
        owner: who starts it, and may cancel it.

    Raises:
        HapError: if the model cannot be found, the queue is full, the disk too, or a class may not start it.
    """
    check_job(config, 0)  # before the model's name is looked up on the disk
    check_writable(runs_folder() / "run.json")
    job = run_id(_settled(config), opening.identity if opening else _model(config))
    with _submitting:
        known = worker.get(job)
        if known is None or not known.live:
            live = len(worker.live())
            check_job(config, live)
            if live > MAX_WAITING:
                raise TooManyJobsError(f"Expected at most {MAX_WAITING} runs waiting. Cancel one, or let one finish.")
            worker.forget(job)
            worker.start(job, lambda: _kept(discover(config, opening), config), config, owner)
    return job


def go_on(worker: Worker, left: Interrupted, owner: str = "") -> str:
    """Go on with an interrupted run; as `submit`."""
    return submit(worker, left.config, discover=partial(_discover, resumed=left.run), owner=owner)


def cancel(worker: Worker, job: str, visitor: str) -> None:
    """Stop a run, or take it out of the queue. Raises ClassroomError where `visitor` did not start it."""
    known = worker.get(job)
    if known is not None:
        check_cancel(known.owner, visitor)
        worker.cancel(job)


def _kept(steps: Discovery, config: DiscoveryConfig) -> Generator[Progress, None, str]:
    """A run's work that keeps on disk what it finds out; returns the run's id."""
    with closing(steps):
        while True:
            try:
                record = next(steps)
            except StopIteration as end:
                keep_computed(end.value)
                return str(end.value.id)
            if "check" in record.data:
                with suppress(HapError):  # a model that is not found by its name is on no list of tasks
                    _remember(config, record.data["check"])
            yield record


def _remember(config: DiscoveryConfig, check: Mapping[str, Any]) -> None:
    """What a run found out about the model and the task, for the list of tasks."""
    usual = config.corruption in (None, config.find_task().default_corruption)
    if usual and config.bos == "auto" and not config.prompts:
        task_answers.remember(resolve(config.model), {config.task: check})


def _settled(config: DiscoveryConfig) -> DiscoveryConfig:
    """The settings by which the run will be named; as they are where no name here leads to its model's tokenizer."""
    with suppress(ModelError):
        reader = reader_of(resolve(config.model))
        return config if reader is None else settled(config, reader)
    return config


def _model(config: DiscoveryConfig) -> str:
    source = resolve(config.model)
    return identity(source) or source.reference
