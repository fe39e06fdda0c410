"""What is added to a finished run goes on, too, where it was interrupted, and ends as if it had never stopped."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Generator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import hap_engine as hap
from hap_engine.errors import SettingsError, UnfinishedError
from hap_engine.graph.edge_order import EdgeOrder
from hap_engine.masked.masked_pass import MaskedModel
from hap_engine.masked.opening import open_masked
from hap_engine.progress import Progress
from hap_engine.runs import unfinished
from hap_engine.runs.record import Run
from hap_engine.runs.run_file import dumps, runs_folder
from hap_engine.runs.unfinished import Unfinished, every_interrupted, forget, interrupted, kept
from hap_engine.settings import DiscoveryConfig, PruningConfig
from hap_engine.workflows import add_to_run, retest, rivals, search_again
from hap_engine.workflows.add_to_run import adding
from tests.builders.planted_runs import planted_run
from tests.builders.tiny_models import SIZES, finish
from tests.builders.toys import TOYS

TOY = TOYS["induction"]()


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A state is written whenever there is one."""
    monkeypatch.setattr(unfinished, "EVERY", 0.0)
    monkeypatch.setattr(unfinished, "SHARE", 1e9)


@pytest.fixture(scope="module")
def masked() -> MaskedModel:
    return open_masked(TOY.model)


@pytest.fixture(scope="module")
def run() -> Run:
    """A run of a toy, with circuits of two sizes."""
    metrics = {"hap": {"kl": 0.1, "ablation": "resample (abc)", "split": "test"}}
    found = planted_run(TOY, metrics=metrics)
    found = replace(found, task={**found.task, "corruption": "abc"})
    order = EdgeOrder(found.graph, np.flatnonzero(found.circuits["hap"].circuit.kept))
    return replace(found, sizes={"grid": [TOY.size, 2], "orders": {"hap": order.cells.tolist()}})


Work = Callable[..., Generator[Progress, None, Any]]
ADDITIONS: dict[str, tuple[Work, dict[str, Any]]] = {
    "one's own circuit": (add_to_run.add_circuit, {}),
    "each prompt": (add_to_run.add_per_prompt, {}),
    "every size": (add_to_run.add_curves, {}),
    "another ablation": (retest.reevaluate, {"ablation": "mean"}),
    "full tests": (retest.examine, {}),
    "samples": (search_again.bootstrap, {"resamples": 3, "steps": 6}),
    "circuits of prompts": (search_again.per_prompt, {"prompts": 3, "steps": 6}),
    "rival": (rivals.find_rival, {"steps": 6}),
}


def told(result: Any) -> Any:
    return json.loads(dumps(result)) if isinstance(result, Run) else result


@pytest.mark.parametrize(("work", "asked"), ADDITIONS.values(), ids=ADDITIONS)
def test_what_is_interrupted_again_and_again_ends_the_same(
    work: Work, asked: dict[str, Any], masked: MaskedModel, run: Run, tmp_path: Path
) -> None:
    if work is add_to_run.add_circuit:
        asked = {"circuit": run.circuits["hap"].circuit}
    whole = finish(work(masked, run, **asked))
    records = len(list(work(masked, run, **asked)))
    random.seed(0)
    for count in sorted(random.sample(range(1, records), min(4, records - 1))):
        steps = adding(Unfinished(tmp_path), work, masked, run, **asked)
        for _ in zip(range(count), steps, strict=False):
            pass
        steps.close()
    state, seen = Unfinished(tmp_path), list[Progress]()
    steps = adding(state, work, masked, run, **asked)
    while True:
        try:
            seen.append(next(steps))
        except StopIteration as end:
            found = end.value
            break
    assert told(found) == told(whole)
    assert seen[0].data["resumed"].startswith("This was interrupted while ")
    assert len(seen) <= records
    assert every_interrupted(tmp_path) == [], "it is no run that goes on by its settings alone"
    forget(tmp_path, state.run)
    assert list(tmp_path.iterdir()) == []


def test_samples_that_are_done_are_not_searched_again(masked: MaskedModel, run: Run, tmp_path: Path) -> None:
    steps = adding(Unfinished(tmp_path), search_again.bootstrap, masked, run, resamples=3, steps=6)
    while "Sample 3" not in next(steps).message:
        pass
    steps.close()
    again = list(adding(Unfinished(tmp_path), search_again.bootstrap, masked, run, resamples=3, steps=6))
    assert not [record for record in again if record.phase == "score"]
    searched = [record.step for record in again if record.phase == "prune" and record.total == 18]
    assert min(searched) > 12


def test_another_question_begins_anew(masked: MaskedModel, run: Run, tmp_path: Path) -> None:
    def begin(run: Run, **asked: Any) -> tuple[str, bool]:
        state = Unfinished(tmp_path)
        steps = adding(state, search_again.bootstrap, masked, run, **asked)
        resumed = [record for _, record in zip(range(9), steps, strict=False) if "resumed" in record.data]
        steps.close()
        return state.run, bool(resumed)

    first = begin(run, resamples=3, steps=6)
    assert begin(run, resamples=3, steps=6) == (first[0], True)
    assert begin(replace(run, name="mine", rival={"version": 1}), resamples=3, steps=6) == (first[0], True)
    assert not begin(run, resamples=4, steps=6)[1]
    assert not begin(replace(run, created="later"), resamples=3, steps=6)[1]


def test_one_process_adds_it(masked: MaskedModel, run: Run, tmp_path: Path) -> None:
    first, second = (adding(Unfinished(tmp_path), retest.examine, masked, run) for _ in range(2))
    next(first)
    with pytest.raises(UnfinishedError, match="computed by another window or program"):
        next(second)


class StopError(Exception):
    pass


def until(count: int) -> Callable[[Progress], None]:
    """Interrupts after so many records, as a kernel does."""
    seen = []

    def watch(record: Progress) -> None:
        seen.append(record)
        if len(seen) == count:
            raise StopError

    return watch


def test_a_notebook_goes_on_when_it_asks_again(gpt2: MaskedModel) -> None:
    asked = {"sparsity": 0.8, "keep": 0.6, "pruning": PruningConfig(steps=14, batch_size=4), "sizes": SIZES}
    whole = hap.discover(gpt2, **asked)
    assert list(runs_folder().iterdir()) == [], "a finished run leaves no state"
    with pytest.raises(StopError):
        hap.discover(gpt2, **asked, progress=until(40))
    assert interrupted(runs_folder(), whole.id)
    seen: list[Progress] = []
    found = hap.discover(gpt2, **asked, progress=seen.append)
    assert [record for record in seen if "resumed" in record.data]
    assert told(found)["circuits"] == told(whole)["circuits"]
    assert told(found)["metrics"] == told(whole)["metrics"]
    assert list(runs_folder().iterdir()) == []


def test_so_does_what_a_notebook_adds(masked: MaskedModel, run: Run) -> None:
    whole = hap.bootstrap(masked, run, 3, steps=6)
    with pytest.raises(StopError):
        hap.bootstrap(masked, run, 3, steps=6, progress=until(30))
    (left,) = runs_folder().glob("*.state")
    assert kept(runs_folder(), left.stem)
    seen: list[Progress] = []
    assert told(hap.bootstrap(masked, run, 3, steps=6, progress=seen.append)) == told(whole)
    assert "resumed" in seen[0].data
    assert list(runs_folder().iterdir()) == []


def test_settings_with_defaults_name_a_state(gpt2: MaskedModel) -> None:
    """The config of a whole run is read back from its state, whoever keeps it."""
    asked = DiscoveryConfig(model=gpt2.model.source.reference, sparsity=0.8, sizes=SIZES)
    with pytest.raises(StopError):
        hap.discover(gpt2, sparsity=0.8, sizes=SIZES, progress=until(30))
    (left,) = every_interrupted(runs_folder())
    assert left.config == asked


def test_what_is_refused_leaves_nothing(masked: MaskedModel, run: Run, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="from 2 to"):
        finish(adding(Unfinished(tmp_path), search_again.per_prompt, masked, run, prompts=99))
    assert list(tmp_path.iterdir()) == []
