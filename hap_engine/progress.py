"""The record that long work yields: the app, the terminal and the tests consume the same ones."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Mapping
from contextlib import closing
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

Result = TypeVar("Result")
Shown = TypeVar("Shown")
Report = Callable[[str, float], None]  # (what is going on, share done)
POLL_SECONDS = 0.2  # how often watched work is looked at
PHASES = ("load", "prompts", "score", "prune", "evaluate", "roles")


@dataclass(frozen=True)
class Progress:
    """`step` of `total` in a phase is done; `data` carries what the phase can show meanwhile."""

    phase: str
    step: int
    total: int
    message: str = ""
    data: Mapping[str, Any] = field(default_factory=dict)


def drain(work: Generator[Any, None, Result], watch: Callable[[Any], object] | None = None) -> Result:
    """Run long work to its end; `watch` sees each record.

    Work that is interrupted, in a step or in `watch`, ends at once: what it changed for a while is as before.
    """
    with closing(work):
        while True:
            try:
                record = next(work)
            except StopIteration as end:
                return end.value
            if watch is not None:
                watch(record)


def mapped(
    work: Generator[Shown, None, Result], change: Callable[[Shown], Progress]
) -> Generator[Progress, None, Result]:
    """The same work, each of its records changed."""
    while True:
        try:
            record = next(work)
        except StopIteration as end:
            return end.value
        yield change(record)


def relabelled(work: Generator[Progress, None, Result], **changes: Any) -> Generator[Progress, None, Result]:
    """The same work as a part of another: its records with some of their fields changed."""
    return mapped(work, lambda record: replace(record, **changes))


def watched(
    work: Callable[[Report, Callable[[], bool]], Result], phase: str, message: str
) -> Generator[Progress, None, Result]:
    """Work that cannot be cut into steps, such as a download, in a thread: its reports as records.

    Args:
        work: is given where to report, and what to ask whether it should stop: it should once nobody iterates.
    """
    told: list[tuple[str, float]] = [(message, 0.0)]
    result: list[Result] = []
    failed: list[BaseException] = []
    stop = threading.Event()

    def run() -> None:
        try:
            result.append(work(lambda *step: told.append(step), stop.is_set))
        except BaseException as error:  # handed to the caller's thread
            failed.append(error)

    thread = threading.Thread(target=run, name=phase, daemon=True)
    thread.start()
    try:
        while thread.is_alive():
            said, share = told[-1]
            yield Progress(phase, round(100 * share), 100, said)
            thread.join(POLL_SECONDS)
    finally:
        stop.set()
    if failed:
        raise failed[0]
    return result[0]
