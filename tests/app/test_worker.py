"""Work behind the page: once per key, watched from anywhere, errors in plain words."""

from __future__ import annotations

import threading
import time
from collections.abc import Generator
from typing import Any

from app.work.worker import Snapshot, Worker
from hap_engine.errors import HapError
from hap_engine.progress import Progress


def ended(worker: Worker, key: str) -> Snapshot:
    for _ in range(500):
        work = worker.get(key)
        assert work is not None
        if not work.live:
            return work
        time.sleep(0.01)
    raise AssertionError("the work did not end")


def counting(result: Any, gate: threading.Event | None = None) -> Generator[Progress, None, Any]:
    for step in range(3):
        yield Progress("evaluate", step, 3)
        if gate is not None:
            gate.wait(5)
    return result


def failing(error: Exception) -> Generator[Progress, None, Any]:
    yield Progress("evaluate", 0, 1)
    raise error


def test_work_runs_once_and_keeps_its_result() -> None:
    worker, calls = Worker(24), []

    def begin() -> Generator[Progress, None, Any]:
        calls.append(1)
        return counting("found")

    for _ in range(5):
        worker.start("a", begin)
    assert ended(worker, "a").result == "found"
    assert worker.start("a", begin).result == "found"
    assert len(calls) == 1


def test_a_plain_error_is_told_and_can_be_tried_again(capsys: Any) -> None:
    worker = Worker(24)
    worker.start("a", lambda: failing(HapError("Expected this, got that. Do so.")))
    assert ended(worker, "a").error == "Expected this, got that. Do so."
    worker.start("a", lambda: counting(1))  # a page that asks again does not hide the error
    assert ended(worker, "a").state == "error"
    worker.forget("a")
    worker.start("a", lambda: failing(ZeroDivisionError("oops")))
    assert "ZeroDivisionError: oops" in ended(worker, "a").error
    worker.forget("a")
    worker.start("a", lambda: counting(1))
    assert ended(worker, "a").result == 1


def test_stopped_work_is_forgotten_and_says_nothing_later() -> None:
    worker, gate = Worker(24), threading.Event()
    worker.start("a", lambda: counting(1, gate))
    worker.forget("a")
    gate.set()
    assert worker.get("a") is None
    worker.start("a", lambda: counting(2))
    assert ended(worker, "a").result == 2
    worker.forget("never begun")


def test_only_the_latest_results_are_remembered() -> None:
    worker = Worker(remember=2)
    for key in "abc":
        worker.start(key, lambda: counting(0))
        ended(worker, key)
    assert [worker.get(key) is None for key in "abc"] == [True, False, False]


def test_work_takes_turns_and_stopped_work_gives_its_turn_up() -> None:
    worker, gate = Worker(24), threading.Event()
    worker.start("first", lambda: counting(1, gate))
    for key in ("second", "third"):
        worker.start(key, lambda: counting(2))
    time.sleep(0.1)
    for key in ("second", "third"):
        work = worker.get(key)
        assert work is not None
        assert work.progress.message.startswith("Waiting")
    worker.forget("second")
    gate.set()
    assert ended(worker, "first").result == 1
    assert ended(worker, "third").result == 2
    assert worker.get("second") is None
