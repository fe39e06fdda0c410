"""Class mode and presenter mode: what a visitor may do, and that no URL gets around it."""

from __future__ import annotations

import ast
import threading
import time
from collections.abc import Iterator
from dataclasses import replace

import pytest
from streamlit.testing.v1 import AppTest

from app import classroom, serve
from app.classroom import ClassroomError, ClassRules, check_change, check_job
from app.own_prompts import drafts
from app.stored import saved_runs
from app.words import say
from app.work import opened_models
from app.work.discoveries import cancel, submit
from app.work.worker import Worker
from hap_engine.progress import Progress
from hap_engine.report.titles import OWN
from hap_engine.runs.run_file import dumps, runs_folder, save
from hap_engine.settings import PRESETS, DiscoveryConfig, with_preset
from hap_engine.tasks.task import SplitSizes
from tests.builders.fakes import fake_run
from tests.builders.pages import SCRIPT, open_app, wait_for
from tests.conftest import ROOT

GOOD = with_preset(DiscoveryConfig(), "quick")


@pytest.fixture
def in_class(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(classroom.VARIABLE, "1")


def test_off_by_default(monkeypatch: pytest.MonkeyPatch) -> None:
    assert classroom.rules() is None
    check_change()
    check_job(replace(GOOD, model="/some/path"), 99)
    for value in ("0", "", "no"):
        monkeypatch.setenv(classroom.VARIABLE, value)
        assert classroom.rules() is None


@pytest.mark.usefixtures("in_class")
@pytest.mark.parametrize(
    ("config", "words"),
    [
        (replace(GOOD, model="gpt2"), "hap-mini"),
        (replace(GOOD, model="/etc/passwd"), "hap-mini"),
        (replace(GOOD, pruning=PRESETS["thorough"]), "settings are locked"),
        (replace(GOOD, sizes=SplitSizes()), "settings are locked"),
        (replace(GOOD, method="ep"), "settings are locked"),
        (replace(GOOD, keep=0.9), "settings are locked"),
        (replace(GOOD, dtype="bfloat16"), "settings are locked"),
    ],
)
def test_only_presets_of_the_bundled_model(config: DiscoveryConfig, words: str) -> None:
    with pytest.raises(ClassroomError, match=words):
        check_job(config, 0)
    with pytest.raises(ClassroomError, match=words):
        submit(Worker(2), config)


@pytest.mark.usefixtures("in_class")
def test_free_choices_and_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    check_job(replace(GOOD, sparsity=0.95, seed=7), 0)
    with pytest.raises(ClassroomError, match="6 is the limit"):
        check_job(GOOD, 6)
    monkeypatch.setenv(classroom.LIMIT, "2")
    assert classroom.rules() == ClassRules(jobs=2)
    with pytest.raises(ClassroomError, match="2 is the limit"):
        check_job(GOOD, 2)


def test_the_shelf_is_locked(monkeypatch: pytest.MonkeyPatch) -> None:
    run = fake_run()
    save(run, runs_folder() / f"{run.id}.json")
    monkeypatch.setenv(classroom.VARIABLE, "1")
    for change in (
        lambda: saved_runs.rename(run.id, "x", ""),
        lambda: saved_runs.delete(run.id),
        lambda: saved_runs.import_run(dumps(fake_run(seed=2)).encode()),
    ):
        with pytest.raises(ClassroomError, match="stay as they are"):
            change()
    own = replace(run, circuits={name: record for name, record in run.circuits.items() if name != "eap"})
    for change in (lambda: saved_runs.keep(own, own), lambda: drafts.save([{"clean": "x"}], [])):
        with pytest.raises(ClassroomError, match="stay as they are"):
            change()
    assert list(saved_runs.open_run(run.id).circuits) == list(run.circuits)
    assert [path.name for path in runs_folder().iterdir()] == [f"{run.id}.json"]
    assert "class mode" in opened_models.give(run, "/etc/passwd")


def test_the_hosts_own_circuit_stays_in_its_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """A guest cannot take it out: the button is off, and what it does is refused."""
    run = fake_run(model={"name": "m", "source": "bundled", "reference": "m"})
    own = replace(run, circuits={**run.circuits, OWN: run.circuits["hap"]})
    save(own, runs_folder() / f"{run.id}.json")
    drop = say("add.drop.label")
    assert not next(button for button in open_app(run=run.id).button if button.label == drop).disabled
    monkeypatch.setenv(classroom.VARIABLE, "1")
    button = next(button for button in open_app(run=run.id).button if button.label == drop)
    assert button.disabled
    button.proto.disabled = False
    button.click().run()  # as a client that does not ask would
    assert OWN in saved_runs.open_run(run.id).circuits


def endless(config: DiscoveryConfig, opening: object) -> Iterator[Progress]:
    while True:
        yield Progress("score", 0, 1, "going on")
        time.sleep(0.001)


@pytest.mark.parametrize("visitor", ["", "anna", "ben"])
def test_who_started_a_run_may_cancel_it_and_the_host(visitor: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for in_class in (False, True):
        monkeypatch.setenv(classroom.VARIABLE, "1" if in_class else "")
        worker = Worker(2)
        job = submit(worker, GOOD, discover=endless, owner="anna")  # type: ignore[arg-type]
        assert submit(worker, GOOD, discover=endless, owner="ben") == job  # type: ignore[arg-type]  # who joins owns nothing
        if in_class and visitor == "ben":
            with pytest.raises(ClassroomError, match="by who started it"):
                cancel(worker, job, visitor)
            worker.cancel(job)
        else:
            cancel(worker, job, visitor)
        wait_for(worker, job, "cancelled")


def test_cancelled_work_leaves_no_thread_behind() -> None:
    worker, before = Worker(2), threading.active_count()
    first = submit(worker, GOOD, discover=endless)  # type: ignore[arg-type]
    for seed in range(1, 300):
        worker.cancel(submit(worker, replace(GOOD, seed=seed), discover=endless))  # type: ignore[arg-type]
    assert threading.active_count() <= before + 1
    assert len(worker._known) <= 4
    worker.cancel(first)
    wait_for(worker, first, "cancelled")


COMPUTED = {"keep_computed", "write_again", "remember", "_keep"}  # what runs found out, which no visitor chooses


def test_every_change_passes_the_one_check() -> None:
    """Files are changed in `app.stored` and in the drafts alone, by functions that ask `check_change` first."""
    for path in (ROOT / "app").rglob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for function in (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)):
            called = [call.func for call in ast.walk(function) if isinstance(call, ast.Call)]
            names = {getattr(one, "attr", getattr(one, "id", "")) for one in called}
            owners = {getattr(getattr(one, "value", None), "id", "") for one in called}
            written = names & {"write_text", "unlink"} or ("save" in names and "drafts" not in owners)
            changes = written or {"json_files", "write"} <= owners | names
            if path.name != "json_files.py" and changes and function.name not in COMPUTED:
                assert "check_change" in names, f"{path.name}: {function.name}"


@pytest.mark.usefixtures("in_class")
def test_the_pages_offer_only_what_is_allowed() -> None:
    app = AppTest.from_file(SCRIPT, default_timeout=60)
    app.query_params["model"] = "other"
    app.query_params["effort"] = "thorough"
    app.run()
    assert not app.exception
    assert app.selectbox(key="model").options == ["hap-mini · bundled"]
    assert not [e for e in app.expander if e.label == "Advanced"]
    assert "Class mode" in " ".join(c.value for c in app.caption)
    runs = AppTest.from_string("from app.pages import runs\nruns.page({})", default_timeout=60).run()
    assert not runs.exception
    assert {button.label for button in runs.button} == {"Open", "Compare"}
    assert not runs.get("file_uploader")


def test_serving_stays_on_this_machine_unless_asked() -> None:
    command, environment = serve.plan(serve.parser().parse_args([]))
    assert "--server.address=localhost" in command
    assert classroom.VARIABLE not in environment
    command, environment = serve.plan(serve.parser().parse_args(["--class", "--jobs", "3", "--port", "9000"]))
    assert "--server.address=0.0.0.0" in command
    assert "--server.port=9000" in command
    assert environment[classroom.VARIABLE] == "1"
    assert environment[classroom.LIMIT] == "3"
    assert "http://" in serve.notice(9000, 3)
    assert "at most 3" in serve.notice(9000, 3)


@pytest.mark.parametrize("arguments", [["--port", "80"], ["--port", "x"], ["--jobs", "0"], ["--what"]])
def test_wrong_arguments_are_refused(arguments: list[str]) -> None:
    with pytest.raises(SystemExit):
        serve.parser().parse_args(arguments)


def test_a_class_setting_in_the_environment_does_not_leak_into_a_plain_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(classroom.VARIABLE, "1")
    assert classroom.VARIABLE not in serve.plan(serve.parser().parse_args([]))[1]


def test_presenter_mode_is_a_switch_and_a_link() -> None:
    app = AppTest.from_file(SCRIPT, default_timeout=60).run()
    next(b for b in app.button if b.label == "Present").click().run()
    assert app.query_params["present"] == "1"
    next(b for b in app.button if b.label == "Normal type").click().run()
    assert "present" not in app.query_params
    linked = AppTest.from_file(SCRIPT, default_timeout=60)
    linked.query_params["present"] = "1"
    linked.run()
    assert [b.label for b in linked.button if b.label in ("Present", "Normal type")] == ["Normal type"]
