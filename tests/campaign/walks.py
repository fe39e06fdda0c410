"""Walks over the pages with random clicks, as a state machine of hypothesis: no page breaks, no run is lost unasked."""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import replace
from importlib import import_module
from typing import Any, ClassVar
from unittest.mock import patch

import hypothesis
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test
from streamlit.testing.v1 import AppTest
from streamlit.testing.v1.element_tree import Selectbox

from app.link import KEYS
from app.work import workers
from hap_engine.progress import Progress
from hap_engine.runs.record import Run
from hap_engine.runs.run_file import runs_folder, save
from hap_engine.settings import DiscoveryConfig
from tests.builders.fakes import fake_run
from tests.builders.pages import open_app, turn_to
from tests.builders.payloads import PAYLOAD, hostile_run
from tests.builders.whole_runs import whole_run
from tests.campaign.tally import Tally, counted, within

STEPS = 8  # clicks of a walk
PAGES = ("Explore", "Runs", "Compare", "Your prompts", "Lesson", "How it works")
TEXTS = ("", "hap-mini", PAYLOAD, "a\tb\tc\td", "x" * 3000, "y " * 70_000, "../../etc/passwd", "-1", "\u202e", "0.5")
ASKED = ("Delete", "Remove")  # what takes a run away
SLOW = 120  # seconds for one step


def attack(seed: int, count: int) -> Tally:
    """`count` walks; what a run computes is made up, all else is the explorer's own."""
    Walk.tally = tally = Tally("page walks", seed)
    kept = [whole_run(), whole_run(id="other"), fake_run(seed=3), replace(hostile_run(), id="hostile")]
    engine = import_module("hap_engine.workflows.discover")
    with (
        counted(tally),
        patch.object(engine, "discover", made_up),
        patch.object(Selectbox, "index", property(place_of)),
    ):
        Walk.before = {f"{run.id}.json": save(run, runs_folder() / f"{run.id}.json").read_bytes() for run in kept}
        chosen = settings(
            max_examples=count,
            stateful_step_count=STEPS,
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
        )
        hypothesis.seed(seed)(Walk)
        run_state_machine_as_test(Walk, settings=chosen)
    return tally


def made_up(config: DiscoveryConfig, *_: Any) -> Generator[Progress, None, Run]:
    """A run that takes no time."""
    yield Progress("score", 0, 1, "Nothing is computed")
    return fake_run(seed=config.seed % 100)


def stop_all() -> None:
    """Stop all work behind the page, as its own buttons do."""
    for worker in (workers.runs(), workers.models(), workers.short_work()):
        for job in worker.live():
            worker.forget(job.key)


def place_of(box: Selectbox[Any], place: Any = Selectbox.index) -> int | None:
    """Where a list stands; the driver's own look-up takes a label that was chosen for a value, and labels it again."""
    return box.options.index(box.value) if box.value in box.options else place.fget(box)


class Walk(RuleBasedStateMachine):
    """A visitor who clicks on anything."""

    tally: ClassVar[Tally]
    before: ClassVar[dict[str, bytes]]

    def __init__(self) -> None:
        super().__init__()
        self.app: AppTest | None = None
        self.went: list[str] = []

    @initialize(
        key=st.sampled_from(sorted({*KEYS.values(), "job", "model", "task", "seed"})), text=st.sampled_from(TEXTS)
    )
    def arrive(self, key: str, text: str) -> None:
        self.step(f"?{key}={text[:20]}", lambda: open_app(**{key: text}))

    @rule(title=st.sampled_from(PAGES))
    def turn(self, title: str) -> None:
        self.step(title, lambda: turn_to(self.at, title))

    @rule(run=st.sampled_from(("synthetic-0", "other", "synthetic-3", "hostile", "none")))
    def open(self, run: str) -> None:
        self.step(f"?run={run}", lambda: turn_to(self.at, "Explore", run=run))

    @rule(place=st.integers(0, 10**6))
    def press(self, place: int) -> None:
        buttons = [one for one in self.at.button if not one.disabled]
        if buttons:
            button = buttons[place % len(buttons)]
            self.step(f"press {button.label[:40]}", lambda: button.click().run())

    @rule(place=st.integers(0, 10**6), other=st.integers(0, 10**6))
    def choose(self, place: int, other: int) -> None:
        boxes = [one for one in self.at.selectbox if not one.disabled and one.options]
        if boxes:
            box = boxes[place % len(boxes)]
            self.step(f"choose in {box.label[:40]}", lambda: box.select_index(other % len(box.options)).run())

    @rule(place=st.integers(0, 10**6))
    def switch(self, place: int) -> None:
        toggles = [one for one in [*self.at.toggle, *self.at.checkbox] if not one.disabled]
        if toggles:
            toggle = toggles[place % len(toggles)]
            self.step(f"switch {toggle.label[:40]}", lambda: toggle.set_value(not toggle.value).run())

    @rule(place=st.integers(0, 10**6), text=st.sampled_from(TEXTS))
    def type(self, place: int, text: str) -> None:
        fields = [one for one in [*self.at.text_input, *self.at.text_area] if not one.disabled]
        if fields:
            field = fields[place % len(fields)]
            self.step(f"type in {field.label[:40]}", lambda: field.input(text).run())

    @property
    def at(self) -> AppTest:
        assert self.app is not None
        return self.app

    def step(self, what: str, move: Callable[[], AppTest]) -> None:
        """One click, and a look at what it left."""
        self.went.append(what)
        self.tally.notes["clicks"] = self.tally.notes.get("clicks", 0) + 1
        try:
            with within(SLOW):
                self.app = move()
        except Exception as error:
            self.tally.tracebacks.append(f"{' > '.join(self.went)}: {error!r:.300}")
            stop_all()
            self.app = open_app()
        shown = [f"{one.value} {' '.join(one.stack_trace)[-300:]}" for one in self.at.exception]
        self.tally.tracebacks += [f"{' > '.join(self.went)}: {told}" for told in shown]

    def teardown(self) -> None:
        """Runs that were not deleted on purpose are as they were; those that were come back for the next walk."""
        self.tally.tried += 1
        self.tally.accepted += 1
        stop_all()
        meant = any(one.startswith(tuple(f"press {word}" for word in ASKED)) for one in self.went)
        for name, content in self.before.items():
            path = runs_folder() / name
            if not path.is_file() and not meant:
                self.tally.lost.append(f"{' > '.join(self.went)}: {name}")
            path.write_bytes(content)
