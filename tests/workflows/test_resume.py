"""A run that is interrupted anywhere, and goes on from its state, ends as if it had never stopped."""

from __future__ import annotations

import dataclasses
import itertools
import json
import random
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from hap_engine.errors import UnfinishedError
from hap_engine.masked.masked_pass import MaskedModel
from hap_engine.progress import Progress
from hap_engine.runs import unfinished
from hap_engine.runs.continue_run import further
from hap_engine.runs.record import Run
from hap_engine.runs.run_file import dumps, load
from hap_engine.runs.unfinished import Unfinished, every_interrupted, forget, interrupted
from hap_engine.settings import DiscoveryConfig, PruningConfig
from hap_engine.tasks.task import SplitSizes
from hap_engine.workflows.discover import discover
from tests.builders.tiny_models import SIZES, finish

STEPS = 14
ROOT = Path(__file__).parents[2]


def config(budget: str = "every-size", **changes: Any) -> DiscoveryConfig:
    pruning = PruningConfig(budget=budget, steps=STEPS, batch_size=4)
    return DiscoveryConfig(
        **{"model": "tiny", "sparsity": 0.8, "keep": 0.6, "pruning": pruning, "sizes": SIZES, **changes}
    )


def content(run: Run) -> dict[str, Any]:
    """All of a run but its times."""
    data = json.loads(dumps(run))
    for row in data["history"]:
        del row["seconds"]
    return {key: value for key, value in data.items() if key not in ("created", "seconds")}


def interrupt(settings: DiscoveryConfig, masked: MaskedModel, folder: Path, records: int) -> list[Progress]:
    """Work on a run for some records, or to its end."""
    work = discover(settings, masked.model, Unfinished(folder))
    seen = [record for _, record in zip(range(records), work, strict=False)]
    work.close()
    return seen


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A state is written whenever there is one."""
    monkeypatch.setattr(unfinished, "EVERY", 0.0)
    monkeypatch.setattr(unfinished, "SHARE", 1e9)


CASES = {
    "every size": config(),
    "one size": config("projection"),
    "published": config("lagrangian"),
    "edge pruning": config(method="ep"),
    "scores alone": config(method="eap"),
    "two rankings": config(scorer="rank-mean"),
    "as few as do": config("projection", keep=None, keep_level=0.9),
    "half precision": config(dtype="bfloat16"),
    "in parts": config(memory=0.6),
    "at spans": config(positions="roles"),
}


@pytest.mark.parametrize("settings", CASES.values(), ids=CASES)
def test_a_run_that_is_interrupted_again_and_again_ends_the_same(
    settings: DiscoveryConfig, gpt2: MaskedModel, tmp_path: Path
) -> None:
    whole = finish(discover(settings, gpt2.model))
    records = len(list(discover(settings, gpt2.model)))
    random.seed(0)
    for share in sorted(random.sample(range(1, 20), 6)):
        interrupt(settings, gpt2, tmp_path, records * share // 20)
    state = Unfinished(tmp_path)
    work = discover(settings, gpt2.model, state)
    last, found = [], None
    while found is None:
        try:
            last.append(next(work))
        except StopIteration as end:
            found = end.value
    assert content(found) == content(whole)
    assert found.seconds.keys() == whole.seconds.keys()
    (told,) = [record.data["resumed"] for record in last if "resumed" in record.data]
    assert "It goes on from there" in told
    assert len([record for record in last if record.phase == "prune"]) < STEPS
    forget(tmp_path, found.id)
    assert list(tmp_path.iterdir()) == []


def test_a_tighter_run_goes_on_too(gpt2: MaskedModel, tmp_path: Path) -> None:
    """It starts from the gates of another, and has prompts of one's own besides."""
    first = finish(discover(config(), gpt2.model))
    settings = dataclasses.replace(further(first, 0.9), model="tiny")
    whole = finish(discover(settings, gpt2.model))
    interrupt(settings, gpt2, tmp_path, 40)
    (left,) = every_interrupted(tmp_path)
    assert left.config.start == settings.start
    assert content(finish(discover(left.config, gpt2.model, Unfinished(tmp_path)))) == content(whole)


def test_a_state_says_what_it_is_of(gpt2: MaskedModel, tmp_path: Path) -> None:
    interrupt(config(), gpt2, tmp_path, 40)
    (left,) = every_interrupted(tmp_path)
    assert (left.config, left.out) == (config(), "")
    assert left.told.startswith("pruning, step ")
    assert sum(left.seconds.values()) > 0
    assert {path.suffix for path in tmp_path.iterdir()} == {".state"}


def test_nothing_else_goes_on_from_a_state(gpt2: MaskedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    interrupt(config(), gpt2, tmp_path, 40)
    (left,) = every_interrupted(tmp_path)
    monkeypatch.setattr("hap_engine.workflows.discover.__version__", "0.0.0")
    with pytest.raises(UnfinishedError, match=f"{left.run} was begun with another version of the program"):
        interrupt(config(), gpt2, tmp_path, 99)
    monkeypatch.undo()
    other = tmp_path / "other"
    other.mkdir()
    others = interrupt(config(seed=1), gpt2, other, 40) and every_interrupted(other)[0]
    shutil.copy(tmp_path / f"{left.run}.state", other / f"{others.run}.state")
    with pytest.raises(UnfinishedError, match="another choice of settings"):
        interrupt(config(seed=1), gpt2, other, 99)


@pytest.mark.parametrize("damage", [b"", b"{", b"\xff" * 64])
def test_a_damaged_state_is_no_state(gpt2: MaskedModel, tmp_path: Path, damage: bytes) -> None:
    interrupt(config(), gpt2, tmp_path, 40)
    (path,) = tmp_path.glob("*.state")
    path.write_bytes(damage)
    assert every_interrupted(tmp_path) == []
    records = interrupt(config(), gpt2, tmp_path, 999)
    assert not [record for record in records if "resumed" in record.data]


def test_two_processes_do_not_work_on_one_run(gpt2: MaskedModel, tmp_path: Path) -> None:
    first = discover(config(), gpt2.model, Unfinished(tmp_path))
    while next(first).phase != "prune":
        pass
    assert every_interrupted(tmp_path) == []
    with pytest.raises(UnfinishedError, match="computed by another window or program"):
        interrupt(config(), gpt2, tmp_path, 99)
    with pytest.raises(UnfinishedError, match="computed by another"):
        forget(tmp_path, next(tmp_path.glob("*.state")).stem)
    first.close()
    assert len(every_interrupted(tmp_path)) == 1


def test_a_disk_that_fills_meanwhile_stops_no_run(
    gpt2: MaskedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = discover(config(), gpt2.model, Unfinished(tmp_path))
    while next(work).phase != "score":
        pass

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", full)
    assert content(finish(work)) == content(finish(discover(config(), gpt2.model)))
    (told,) = [r.data["resumed"] for r in interrupt(config(seed=1), gpt2, tmp_path, 99) if "resumed" in r.data]
    assert "if it is interrupted, it starts anew" in told
    assert "disk is full" in told


def test_only_the_last_few_are_kept(gpt2: MaskedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unfinished, "MOST", 2)
    for seed in range(4):
        interrupt(config(seed=seed), gpt2, tmp_path, 20)
        time.sleep(0.01)
    assert [left.config.seed for left in every_interrupted(tmp_path)] == [3, 2, 1]
    interrupt(config(seed=3), gpt2, tmp_path, 20)
    assert [left.config.seed for left in every_interrupted(tmp_path)] == [3, 2]
    assert interrupted(tmp_path, "never") is None


def test_a_clock_that_jumps_changes_nothing(gpt2: MaskedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unfinished, "EVERY", 3600.0)
    work = discover(config(), gpt2.model, Unfinished(tmp_path))
    while next(work).phase != "score":
        pass
    (path,) = tmp_path.glob("*.state")
    written = path.read_bytes()
    monkeypatch.setattr(time, "time", lambda: 0.0)
    run = finish(work)
    assert path.read_bytes() == written, "an hour has not passed, whatever the calendar says"
    assert 0 < run.seconds["total"] < 600


def test_a_slow_disk_puts_a_state_off_for_no_longer_than_is_promised(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unfinished, "SHARE", 1e-9)
    seconds = itertools.count()
    monkeypatch.setattr(time, "monotonic", lambda: float(next(seconds)))
    state = Unfinished(tmp_path)
    with state.opened("slow", config(), {}):
        looks = sum(1 for _ in itertools.takewhile(lambda _: not state.due, range(1000)))
    assert looks <= 30


KILLED = """
import os, signal, sys, time
from pathlib import Path
from hap_engine.runs import unfinished
from hap_engine.runs.run_file import save
from hap_engine.settings import DiscoveryConfig, PruningConfig
from hap_engine.tasks.task import SplitSizes
from hap_engine.workflows.discover import discover

unfinished.EVERY, unfinished.SHARE = 0.0, 1e9
folder, config = Path(sys.argv[1]), DiscoveryConfig(pruning=PruningConfig(steps=20), sizes=SplitSizes(32, 8, 8))


def work(told):
    steps = discover(config, None, unfinished.Unfinished(folder))
    while True:
        try:
            os.write(told, next(steps).phase.encode() + b" ")
        except StopIteration as end:
            save(end.value, folder / "run.json")
            os._exit(0)


for phase in (b"score", b"prune", b"evaluate", b"none"):
    listen, told = os.pipe()
    process = os.fork()  # torch is imported once, and has computed nothing yet
    if not process:
        work(told)
    os.close(told)
    heard = b""
    while phase not in heard and (more := os.read(listen, 100)):
        heard += more
    if phase != b"none":
        time.sleep(0.05)
        os.kill(process, signal.SIGKILL)
    print(os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]))
"""


def test_a_run_that_is_killed_in_any_phase_ends_the_same(tmp_path: Path) -> None:
    command = [sys.executable, "-c", KILLED, str(tmp_path)]
    told = subprocess.run(command, cwd=ROOT, check=True, timeout=240, stdout=subprocess.PIPE, text=True)
    assert told.stdout.split() == ["-9", "-9", "-9", "0"]
    whole = finish(discover(DiscoveryConfig(pruning=PruningConfig(steps=20), sizes=SplitSizes(32, 8, 8))))
    assert content(load(tmp_path / "run.json")) == content(whole)
