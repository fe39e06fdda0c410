"""Work behind the page: once per key, watched from anywhere, errors in plain words."""

from __future__ import annotations

import threading
import time
from collections.abc import Generator
from typing import Any

from app.work.background import Background, Work
from hap_engine.errors import HapError
from hap_engine.progress import Progress


def ended(registry: Background, key: str) -> Work:
    for _ in range(500):
        work = registry.get(key)
        assert work is not None
        if work.state != "running":
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
    registry, calls = Background(), []

    def begin() -> Generator[Progress, None, Any]:
        calls.append(1)
        return counting("found")

    for _ in range(5):
        registry.start("a", begin)
    assert ended(registry, "a").result == "found"
    assert registry.start("a", begin).result == "found"
    assert len(calls) == 1


def test_a_plain_error_is_told_and_can_be_tried_again(capsys: Any) -> None:
    registry = Background()
    registry.start("a", lambda: failing(HapError("Expected this, got that. Do so.")))
    assert ended(registry, "a").error == "Expected this, got that. Do so."
    registry.start("a", lambda: counting(1))  # a page that asks again does not hide the error
    assert ended(registry, "a").state == "error"
    registry.stop("a")
    registry.start("a", lambda: failing(ZeroDivisionError("oops")))
    assert "ZeroDivisionError: oops" in ended(registry, "a").error
    registry.stop("a")
    registry.start("a", lambda: counting(1))
    assert ended(registry, "a").result == 1


def test_stopped_work_is_forgotten_and_says_nothing_later() -> None:
    registry, gate = Background(), threading.Event()
    registry.start("a", lambda: counting(1, gate))
    registry.stop("a")
    gate.set()
    assert registry.get("a") is None
    registry.start("a", lambda: counting(2))
    assert ended(registry, "a").result == 2
    registry.stop("never begun")


def test_only_the_latest_results_are_remembered() -> None:
    registry = Background(remember=2)
    for key in "abc":
        registry.start(key, lambda: counting(0))
        ended(registry, key)
    assert [registry.get(key) is None for key in "abc"] == [True, False, False]


def test_work_takes_turns_and_stopped_work_gives_its_turn_up() -> None:
    registry, gate = Background(), threading.Event()
    registry.start("first", lambda: counting(1, gate))
    for key in ("second", "third"):
        registry.start(key, lambda: counting(2))
    time.sleep(0.1)
    for key in ("second", "third"):
        work = registry.get(key)
        assert work is not None
        assert work.progress.message.startswith("Waiting")
    registry.stop("second")
    gate.set()
    assert ended(registry, "first").result == 1
    assert ended(registry, "third").result == 2
    assert registry.get("second") is None
