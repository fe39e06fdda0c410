"""The Runs and Compare pages through Streamlit's test runner."""

from __future__ import annotations

import errno
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from app.stored import saved_runs
from hap_engine.graph.graph import Graph
from hap_engine.runs.examples import example
from hap_engine.runs.record import Run
from hap_engine.runs.run_file import dumps, runs_folder, save
from tests.builders import pages
from tests.builders.fakes import fake_run


def opened(page: str, **query: str) -> AppTest:
    app = AppTest.from_string(f"from app.pages import {page}\n{page}.page({{}})", default_timeout=60)
    for key, value in query.items():
        app.query_params[key] = value
    return app.run()


def texts(app: AppTest) -> str:
    groups = [app.markdown, app.caption, app.error, app.info, app.success, app.warning]
    return " ".join(str(element.value).replace("\\", "") for group in groups for element in group)


@pytest.fixture
def run() -> Run:
    made = fake_run(name="<b>my</b> *run*")
    save(made, runs_folder() / f"{made.id}.json")
    return made


def test_runs_are_listed_with_their_facts_as_plain_text(run: Run) -> None:
    app = opened("runs")
    assert not app.exception
    assert "**<b>my</b> *run***" in texts(app)
    cards = [element.proto.body for element in app.get("html") if 'class="hap-card-told"' in element.proto.body]
    assert "EAP alone misses" in cards[0] or "S-inhibition" in cards[0]
    assert f"KL of HAP <b>{run.metrics['hap']['kl']:.2f}</b>" in cards[0]
    assert any("data:image/svg+xml" in element.proto.body for element in app.get("html"))
    assert "example" in texts(app)
    assert app.button(key=f"delete-{run.id}").disabled is False
    assert app.button(key=f"delete-{saved_runs.listed()[0][-1].id}").disabled is True
    assert not any(element.allow_html for element in app.markdown)


def test_rename(run: Run) -> None:
    app = opened("runs")
    app.button(key=f"rename-{run.id}").click().run()
    app.text_input(key=f"name-{run.id}").set_value("Monday's class")
    app.button(key=f"save-{run.id}").click().run()
    assert "Renamed to “Monday's class”." in texts(app)
    assert saved_runs.open_run(run.id).title == "Monday's class"


def test_a_rename_that_another_tab_overtook_is_refused_plainly(run: Run) -> None:
    app = opened("runs")
    app.button(key=f"rename-{run.id}").click().run()
    saved_runs.rename(run.id, "theirs", seen="")
    app.text_input(key=f"name-{run.id}").set_value("mine")
    app.button(key=f"save-{run.id}").click().run()
    assert "in another tab meanwhile" in texts(app)
    assert not app.exception
    assert saved_runs.given_name(run.id) == "theirs"


def test_a_deletion_that_the_disk_refuses_is_told_plainly(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(path: Path, missing_ok: bool = False) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    app = opened("runs")
    app.button(key=f"delete-{run.id}").click().run()
    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", refused)
        app.button(key=f"yes-{run.id}").click().run()
    assert f"{run.id}.json could not be used: permission denied" in texts(app)
    assert saved_runs.open_run(run.id)


def test_delete_asks_first(run: Run) -> None:
    app = opened("runs")
    app.button(key=f"delete-{run.id}").click().run()
    assert "cannot be undone" in texts(app)
    app.button(key=f"no-{run.id}").click().run()
    assert "cannot be undone" not in texts(app)
    assert saved_runs.find(run.id)
    app.button(key=f"delete-{run.id}").click().run()
    app.button(key=f"yes-{run.id}").click().run()
    assert "Deleted" in texts(app)
    assert run.id not in [item.id for item in saved_runs.listed()[0]]


def test_an_example_with_a_note_is_still_the_example_and_comes_back_when_it_is_deleted() -> None:
    shipped = example("hap-mini")
    noted = replace(shipped, notes={"version": 1, "heads": {"a0.h3": "mine"}, "groups": {}})
    saved_runs.keep(noted, shipped)
    assert "Example with what you added" in pages.texts(pages.open_app(run=shipped.id))
    app = opened("runs")
    assert ":blue-badge[example] :gray-badge[with what you added]" in texts(app)
    app.button(key=f"delete-{shipped.id}").click().run()
    assert "The example itself comes back" in texts(app)
    app.button(key=f"yes-{shipped.id}").click().run()
    assert "the example is again as it came" in texts(app)
    assert "with what you added" not in texts(app)
    assert app.button(key=f"delete-{shipped.id}").disabled
    assert saved_runs.open_run(shipped.id).notes == {}
    assert "Example, computed before" in pages.texts(pages.open_app(run=shipped.id))


def test_a_run_deleted_by_another_tab(run: Run) -> None:
    app = opened("runs")
    app.button(key=f"delete-{run.id}").click().run()
    saved_runs.delete(run.id)
    app.button(key=f"yes-{run.id}").click().run()
    assert "no run 'synthetic-0' on this machine" in texts(app)
    assert not app.exception


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"{", "not a run file"),
        (b'{"format": "hap-run", "version": 9}', "version 9"),
        (dumps(fake_run(seed=3)).encode().replace(b'"graph"', b'"grph"'), "'graph' should be"),
    ],
)
def test_files_that_are_no_runs(data: bytes, words: str) -> None:
    app = opened("runs")
    app.file_uploader[0].upload("run.json", data, "application/json").run()
    assert words in texts(app)
    assert not app.exception


def test_import_lists_the_run_at_once() -> None:
    app = opened("runs")
    app.file_uploader[0].upload("run.json", dumps(fake_run(seed=8)).encode(), "application/json").run()
    assert "Imported" in texts(app)
    assert app.button(key="open-synthetic-8")


def test_many_runs_come_in_portions_and_can_be_found() -> None:
    for seed in range(25):
        save(fake_run(Graph(2, 2, 2), edges=12, seed=seed), runs_folder() / f"synthetic-{seed}.json")
    app = opened("runs")
    listed = len([button for button in app.button if button.label == "Open"])
    assert listed == 20
    app.text_input(key="find-run").set_value("seed synthetic-7").run()
    found = [button.key for button in app.button if button.label == "Open"]
    assert found == ["open-synthetic-7"]
    app.text_input(key="find-run").set_value("nothing like it").run()
    assert "No run matches" in texts(app)


def both(**changes: Any) -> tuple[Run, Run]:
    runs = fake_run(), replace(fake_run(seed=1), **changes)
    for run in runs:
        save(run, runs_folder() / f"{run.id}.json")
    return runs


def test_two_seeds_side_by_side() -> None:
    one, two = both()
    app = opened("compare", run=one.id, **{"with": two.id})
    assert not app.exception
    assert "seed: **seed 0** and **seed 1**" in texts(app)
    shared = len(one.circuits["hap"].circuit & two.circuits["hap"].circuit)
    (overlap,) = [t.value for t in app.dataframe if "Shared" in t.value]
    assert overlap.iloc[0]["Shared"] == shared
    assert len(app.get("bidi_component")) == 1


def test_two_models_get_a_picture_each_and_a_reason() -> None:
    graph = Graph(2, 2, 2)
    small = fake_run(graph, edges=20, seed=1)
    one, two = both(graph=graph, circuits=small.circuits, heads=small.heads, roles=small.roles)
    app = opened("compare", run=one.id, **{"with": two.id})
    assert not app.exception
    assert "different graphs" in texts(app)
    assert len(app.get("bidi_component")) == 2


def test_unknown_runs_in_the_link_are_said_and_replaced() -> None:
    both()
    app = opened("compare", run="gone", **{"with": "../../etc/passwd"})
    assert not app.exception
    assert "The run gone of this link is not on this machine" in texts(app)
    assert len(app.get("bidi_component")) >= 1
    app.button(key="dismiss-compare").click().run()
    assert "The run gone" not in texts(app)


def test_a_run_deleted_meanwhile() -> None:
    one, two = both()
    app = opened("compare", run=one.id, **{"with": two.id})
    saved_runs.delete(two.id)
    app.run()
    assert not app.exception
    assert "not on this machine" in texts(app)


def test_swap_turns_the_sides() -> None:
    one, two = both()
    app = opened("compare", run=one.id, **{"with": two.id})
    next(button for button in app.button if button.label == "Swap").click().run()
    assert app.query_params["run"] == two.id
    assert app.query_params["with"] == one.id
