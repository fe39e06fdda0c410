"""What a model can do: asked, remembered by its weights, told in the list of tasks and during a run."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from app.stored import task_answers
from app.work.discoveries import Opening, submit
from app.work.worker import Worker
from hap_engine.models.catalog import Source, resolve
from hap_engine.progress import Progress
from hap_engine.settings import DiscoveryConfig
from hap_engine.tasks.builtin import MADE, TASKS
from tests.builders.fakes import fake_run
from tests.builders.pages import open_app, texts, wait_for
from tests.builders.tiny_models import finish

ABLE = {"solved": True, "broken": True, "sentence": "The model does this task: 100%."}
UNABLE = {"solved": False, "broken": True, "sentence": "It cannot <b>do</b> this."}


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HAP_HOME", str(tmp_path))


def test_answers_belong_to_weights(folder: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(folder, tmp_path / "copy"))
    source = resolve(str(copy))
    assert task_answers.known(source) == {}
    task_answers.remember(source, {"ioi": ABLE})
    task_answers.remember(source, {"induction": UNABLE})
    assert task_answers.known(source) == {"ioi": ABLE, "induction": UNABLE}
    weights = copy / "model.safetensors"
    weights.write_bytes(weights.read_bytes() + b" ")
    assert task_answers.known(source) == {}, "other weights, other answers"


def test_a_model_that_is_not_here_has_no_answers(tmp_path: Path) -> None:
    absent = Source("x/y", "hub", "x/y", None)
    task_answers.remember(absent, {"ioi": ABLE})
    assert task_answers.known(absent) == {}
    (tmp_path / "tasks.json").write_text("[broken")
    assert task_answers.known(resolve("hap-mini")) == {}


def test_only_the_latest_models_are_kept(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(task_answers, "REMEMBERED", 2)
    for commit in ("1", "2", "3"):
        task_answers.remember(Source("x/y", "hub", "x/y", folder.parent / commit), {"ioi": ABLE})
    assert task_answers.known(Source("x/y", "hub", "x/y", folder.parent / "1")) == {}
    assert task_answers.known(Source("x/y", "hub", "x/y", folder.parent / "3")) == {"ioi": ABLE}


def test_every_task_is_tried_on_hap_mini() -> None:
    answers = finish(task_answers.trying(resolve("hap-mini")))
    assert set(answers) == {task.name for task in MADE}, "no others are here"
    assert task_answers.usable(answers["ioi"])
    assert all(answer["sentence"] for answer in answers.values())
    assert task_answers.known(resolve("hap-mini")) == json.loads(json.dumps(answers))


def test_the_list_marks_what_the_model_cannot_do() -> None:
    task_answers.remember(resolve("hap-mini"), {"ioi": ABLE, "induction": UNABLE})
    app = open_app(task="induction")
    assert not app.exception
    options = app.selectbox(key="task").options
    assert TASKS["ioi"].title in options
    assert f"{TASKS['induction'].title} · not this model" in options
    assert "cannot \\<b\\>do\\</b\\> this" in texts(app)
    assert "does this task" in texts(open_app())


def test_a_run_tells_and_remembers_what_it_found() -> None:
    def work(config: DiscoveryConfig, _: Opening | None):  # type: ignore[no-untyped-def]
        yield Progress("prompts", 1, 1, "Asked", {"check": UNABLE})
        return fake_run()

    jobs = Worker(2)
    done = wait_for(jobs, submit(jobs, DiscoveryConfig(task="induction"), discover=work), "done")
    assert done.latest["check"] == UNABLE
    assert task_answers.known(resolve("hap-mini")) == {"induction": UNABLE}
