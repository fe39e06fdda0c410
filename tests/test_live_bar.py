"""Live bars: on a terminal, in a notebook's kernel, nowhere else; interrupted work leaves nothing behind."""

from __future__ import annotations

import io
import re
import sys
from collections.abc import Generator
from types import SimpleNamespace

import pytest

import hap_engine as hap
from hap_engine import live_bar
from hap_engine.masked.masked_pass import MaskedModel
from hap_engine.progress import Progress, drain
from tests.builders.tiny_models import SIZES, random_pairs

STEPS = [Progress("load", step, 100, f"Downloading x: {5 * step} of 500 MB") for step in (0, 7, 52)]
CHECK = Progress("prompts", 1, 1, "It can.", {"check": {"sentence": "It can."}})
PRUNE = Progress("prune", 5, 10, "Pruning edges", {"kl": 0.25, "budget": 1200.0, "expected": 1234.0})


class Screen(io.StringIO):
    encoding = "utf-8"

    def __init__(self, terminal: bool) -> None:
        super().__init__()
        self.terminal = terminal

    def isatty(self) -> bool:
        return self.terminal


def terminal(monkeypatch: pytest.MonkeyPatch, columns: int = 120) -> Screen:
    """Put a terminal in the place of standard error (in the test itself: pytest sets it between fixtures and test)."""
    screen = Screen(terminal=True)
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setenv("COLUMNS", str(columns))
    return screen


def work() -> Generator[Progress, None, int]:
    yield from (*STEPS, CHECK, PRUNE)
    return 5


def test_a_download_is_a_bar_with_its_megabytes(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = terminal(monkeypatch)
    assert live_bar.follow(work()) == 5
    lines = screen.getvalue().replace("\n", "\r").split("\r")
    assert any(re.fullmatch(r"load      52% \|█+.? *\| 52/100 .*: 260 of 500 MB\]", line) for line in lines)
    assert any(
        re.fullmatch(r"prune     50% \|█+.? *\| 5/10 .*, KL 0.250 with 1,234 gates open\]", line) for line in lines
    )
    assert lines.count("It can.") == 1


def test_each_phase_keeps_its_line(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = terminal(monkeypatch)
    live_bar.follow(work())
    kept = [line.rsplit("\r", 1)[-1] for line in screen.getvalue().split("\n")]
    assert [line.split()[0] for line in kept if line.strip()] == ["load", "It", "prompts", "prune"]


def test_work_that_needs_fewer_steps_is_done_and_interrupted_work_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = terminal(monkeypatch)
    live_bar.follow(work())
    assert re.search(r"prune    100% \|█+\| 5/5 [^\r]*\n$", screen.getvalue())

    def interrupted() -> Generator[Progress, None, None]:
        yield PRUNE
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        live_bar.follow(interrupted())
    assert re.search(r"prune     50% \|█+.? *\| 5/10 [^\r]*\n$", screen.getvalue())


def test_a_phase_that_goes_on_with_other_steps_keeps_its_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = terminal(monkeypatch)
    with live_bar.LiveBar() as bar:
        bar.show(Progress("prompts", 2, 2))
        bar.show(Progress("prompts", 3, 19))
    assert screen.getvalue().count("\n") == 1
    assert " 16% " in screen.getvalue()


@pytest.mark.parametrize("columns", [40, 80])
def test_a_line_never_wraps(monkeypatch: pytest.MonkeyPatch, columns: int) -> None:
    screen = terminal(monkeypatch, columns)
    live_bar.follow(work())
    lines = screen.getvalue().replace("\n", "\r").split("\r")
    assert max(map(len, lines)) <= columns - 1


def test_where_nobody_looks_nothing_is_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Screen(terminal=False)
    monkeypatch.setattr(sys, "stderr", screen)
    assert live_bar.follow(work()) == 5
    assert screen.getvalue() == ""


def test_a_callback_takes_the_place_of_the_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = terminal(monkeypatch)
    seen: list[Progress] = []
    assert live_bar.follow(work(), seen.append) == 5
    assert seen == [*STEPS, CHECK, PRUNE]
    assert screen.getvalue() == ""


@pytest.mark.parametrize(("config", "notebook"), [({"IPKernelApp": {}}, True), ({"TerminalIPythonApp": {}}, False)])
def test_a_kernel_is_a_notebook_and_a_terminal_is_none(
    monkeypatch: pytest.MonkeyPatch, config: dict[str, object], notebook: bool
) -> None:
    shell = SimpleNamespace(config=config)
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: shell))
    assert live_bar.in_notebook() is notebook
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: None))
    assert not live_bar.in_notebook()


def test_interrupted_work_is_put_back_at_once() -> None:
    """A notebook keeps the traceback, and with it what was underway: nothing may wait for that to go."""
    state = ["as before"]

    def changing() -> Generator[Progress, None, None]:
        state.append("changed")
        try:
            yield STEPS[0]
        finally:
            state.pop()

    def interrupt(_: Progress) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt) as kept:
        drain(changing(), interrupt)
    assert kept.traceback
    assert state == ["as before"]


def test_a_discovery_that_is_interrupted_leaves_the_model_usable(gpt2: MaskedModel) -> None:
    pairs = random_pairs([5, 6])
    before = hap.logits(gpt2, pairs)
    for phase in ("score", "prune", "evaluate"):

        def interrupt(record: Progress, phase: str = phase) -> None:
            if record.phase == phase:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            hap.discover(
                gpt2, sparsity=0.8, sizes=SIZES, pruning=hap.PruningConfig(steps=2, batch_size=4), progress=interrupt
            )
        assert hap.logits(gpt2, pairs).equal(before)
