"""Runs in the background: progress, joining, cancelling, queueing, errors. No torch, no model."""

from __future__ import annotations

import threading
import time
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

from app.work.discoveries import MAX_WAITING, REMEMBERED, Discover, Opening, TooManyJobsError, submit
from app.work.worker import Worker
from hap_engine.errors import HapError, UnknownNameError
from hap_engine.progress import PHASES, Progress
from hap_engine.runs.record import Run
from hap_engine.runs.run_file import load, runs_folder
from hap_engine.settings import DiscoveryConfig
from tests.builders.fakes import fake_run
from tests.builders.pages import wait_for


class Work:
    """A fake engine whose steps the test releases one by one."""

    def __init__(self, phases: tuple[str, ...] = PHASES, fail: Exception | None = None) -> None:
        self.phases, self.fail = phases, fail
        self.go = threading.Semaphore(0)
        self.closed = threading.Event()
        self.begun = threading.Event()
        self.running = 0
        self.most = 0

    def __call__(self, config: DiscoveryConfig, _: Opening | None) -> Generator[Progress, None, Run]:
        self.running += 1
        self.most = max(self.most, self.running)
        self.begun.set()
        try:
            for phase in self.phases:
                self.go.acquire()
                data: dict[str, Any] = {"kl": 1.0, "step": 1, "budget": 5, "expected": 6} if phase == "prune" else {}
                yield Progress(phase, 1, 2, phase, data)
            if self.fail:
                raise self.fail
            return fake_run(seed=config.seed)
        finally:
            self.running -= 1
            self.closed.set()


class Jobs(Worker):
    """A queue of runs that a fake engine makes."""

    def __init__(self, engine: Discover) -> None:
        super().__init__(REMEMBERED)
        self.engine = engine

    def submit(self, config: DiscoveryConfig, opening: Opening | None = None) -> str:
        return submit(self, config, opening, self.engine)


def config(seed: int = 0) -> DiscoveryConfig:
    return DiscoveryConfig(seed=seed)


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HAP_HOME", str(tmp_path))


def test_a_run_reports_its_phases_and_is_on_disk_when_done() -> None:
    work = Work()
    jobs = Jobs(work)
    job = jobs.submit(config())
    work.go.release(4)
    while (snapshot := jobs.get(job)) and snapshot.progress.phase != "prune":
        time.sleep(0.01)
    work.go.release(9)
    done = wait_for(jobs, job, "done")
    assert done.history == ({"kl": 1.0, "step": 1, "budget": 5, "expected": 6},)
    assert load(runs_folder() / f"{done.result}.json").id == done.result


def test_equal_settings_share_one_live_job() -> None:
    work = Work()
    jobs = Jobs(work)
    job = jobs.submit(config())
    assert jobs.submit(config()) == job
    assert len(jobs.live()) == 1
    work.go.release(9)
    wait_for(jobs, job, "done")


def test_weights_that_no_name_here_leads_to_are_opened_as_the_job_is_told() -> None:
    told: list[Opening | None] = []

    def work(config: DiscoveryConfig, opening: Opening | None) -> Generator[Progress, None, Run]:
        told.append(opening)
        yield Progress("load", 0, 1, "", {"check": {"solved": True}})
        return fake_run()

    gone = DiscoveryConfig(model="nowhere.gguf")
    opening = Opening("a" * 64, lambda: iter(()))  # type: ignore[arg-type,return-value]
    jobs = Jobs(work)
    with pytest.raises(HapError, match="no file or folder"):
        jobs.submit(gone)
    wait_for(jobs, jobs.submit(gone, opening), "done")
    assert told == [opening]


@pytest.mark.parametrize("step", range(len(PHASES)))
def test_cancelling_works_in_every_phase_and_saves_nothing(step: int) -> None:
    work = Work()
    jobs = Jobs(work)
    job = jobs.submit(config())
    work.begun.wait(5)
    if step:
        work.go.release(step)
    jobs.cancel(job)
    snapshot = jobs.get(job)
    assert snapshot
    assert snapshot.state in ("cancelling", "cancelled")  # the answer is immediate
    work.go.release(1)
    wait_for(jobs, job, "cancelled")
    assert work.closed.is_set()
    assert not list(runs_folder().glob("*")) if runs_folder().exists() else True


def test_two_runs_wait_for_each_other() -> None:
    work = Work()
    jobs = Jobs(work)
    first, second = jobs.submit(config(0)), jobs.submit(config(1))
    work.begun.wait(5)
    states = {jobs.get(job).state for job in (first, second)}  # type: ignore[union-attr]
    assert states == {"running", "queued"}
    work.go.release(2 * len(PHASES))
    wait_for(jobs, first, "done")
    wait_for(jobs, second, "done")
    assert work.most == 1


def test_a_queued_run_can_be_cancelled_before_it_starts() -> None:
    work = Work()
    jobs = Jobs(work)
    first, second = jobs.submit(config(0)), jobs.submit(config(1))
    work.begun.wait(5)
    jobs.cancel(second)
    assert jobs.get(second).state == "cancelled"  # type: ignore[union-attr]
    work.go.release(len(PHASES))
    wait_for(jobs, first, "done")
    assert jobs.get(second).state == "cancelled"  # type: ignore[union-attr]


def test_a_cancelled_run_that_waited_makes_room_at_once() -> None:
    work = Work()
    jobs = Jobs(work)
    threads = threading.active_count()
    first, *others = [jobs.submit(config(seed)) for seed in range(MAX_WAITING + 1)]
    assert threading.active_count() == threads + 1  # those that wait cost no thread
    for job in others:
        jobs.cancel(job)
    assert [job.key for job in jobs.live()] == [first]
    again = [jobs.submit(config(seed)) for seed in range(1, MAX_WAITING + 1)]
    assert again == others
    for job in jobs.live():
        jobs.cancel(job.key)
    work.go.release(99)
    wait_for(jobs, first, "cancelled")


def test_errors_become_plain_text() -> None:
    told = Jobs(Work(phases=(), fail=HapError("Expected a, got b. Use c.")))
    assert wait_for(told, told.submit(config()), "error").error == "Expected a, got b. Use c."
    bug = Jobs(Work(phases=(), fail=RuntimeError("boom")))
    message = wait_for(bug, bug.submit(config()), "error").error
    assert "RuntimeError: boom" in message
    assert "Traceback" not in message


def test_unknown_models_and_full_queues_are_refused() -> None:
    work = Work()
    jobs = Jobs(work)
    with pytest.raises(UnknownNameError, match="hap-mini"):
        jobs.submit(DiscoveryConfig(model="hap-mimi"))
    for seed in range(MAX_WAITING + 1):
        jobs.submit(config(seed))
    with pytest.raises(TooManyJobsError, match=str(MAX_WAITING)):
        jobs.submit(config(99))
    for job in jobs.live():
        jobs.cancel(job.key)
    work.go.release(99)


def test_unknown_jobs_are_none_and_cancelling_them_is_harmless() -> None:
    jobs = Jobs(Work())
    assert jobs.get("nothing") is None
    jobs.cancel("nothing")
