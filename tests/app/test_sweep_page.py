"""The Sweep page through Streamlit's test runner: a folder while it is computed, after, and folders that are none."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from app.stored import recent_sweeps, saved_runs
from tests.builders.pages import texts
from tests.builders.sweeps import finish, made_sweep

FOREIGN = "<b>no</b> *room* $x$"


def opened(path: Path | None = None, **query: str) -> AppTest:
    """The page, its folder typed."""
    script = "from app.pages import sweep\nsweep.page({})"
    app = AppTest.from_string(script, default_timeout=60)
    for key, value in query.items():
        app.query_params[key] = value
    app.run()
    return app if path is None else app.text_input(key="sweep-path").set_value(str(path)).run()


def tables(app: AppTest) -> str:
    return " ".join(str(element.proto.body) for element in app.get("html"))


def test_a_folder_is_shown_while_it_is_computed(tmp_path: Path) -> None:
    folder, cells = made_sweep(tmp_path / "small", 2, FOREIGN)
    app = opened(folder.path)
    assert not app.exception
    assert app.query_params["sweep"] in ("small", ["small"])  # the name alone: a path may tell who somebody is
    said = " ".join(element.proto.text for element in app.get("progress"))
    assert "2 of 4 done · 0 running · 1 failed · 1 waiting" in said
    assert "&lt;b&gt;no&lt;/b&gt; *room* $x$" in tables(app)
    assert len(app.dataframe[0].value) == 2
    for cell in cells[2:]:
        finish(folder, cell)
    app.run()
    assert "4 of 4 done" in " ".join(element.proto.text for element in app.get("progress"))
    assert len(app.get("plotly_chart")) == 4
    assert not any(element.allow_html for element in app.markdown)


def test_one_is_chosen_of_other_settings_in_which_runs_differ(tmp_path: Path) -> None:
    folder, _ = made_sweep(tmp_path / "small", 8, positions=["", "roles"])
    app = opened(folder.path)
    assert not app.exception
    assert app.selectbox(key="sweep-by-positions").label == "Where edges act"
    assert len(app.dataframe[0].value) == 4
    app.selectbox(key="sweep-by-positions").select("roles").run()
    assert not app.exception
    assert len(app.dataframe[0].value) == 4


def test_one_that_was_opened_is_offered_again(tmp_path: Path) -> None:
    folder, _ = made_sweep(tmp_path / "small", 0)
    recent_sweeps.remember(folder.path)
    app = opened(sweep="small")
    assert not app.exception
    assert "Nobody computes the rest" in texts(app)
    assert "There is no sweep called absent" in texts(opened(sweep="absent"))


def test_a_run_that_is_clicked_joins_the_runs_here(tmp_path: Path) -> None:
    folder, cells = made_sweep(tmp_path / "small", 1)
    recent_sweeps.remember(folder.path)
    app = AppTest.from_string(
        "from app.pages import sweep, runs\nimport streamlit as st\n"
        "page = st.Page(lambda: st.write('opened ' + st.query_params['run']), title='e', url_path='e')\n"
        "here = st.Page(lambda: sweep.page({'explore': page}), title='s', url_path='s', default=True)\n"
        "st.navigation([here, page]).run()",
        default_timeout=60,
    )
    app.query_params["sweep"] = "small"
    app.session_state["sweep-open"] = cells[0].id
    app.run()
    assert f"opened {cells[0].id}" in texts(app)
    assert saved_runs.open_run(cells[0].id).id == cells[0].id


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "There is no sweep in"),
        ("", "There is no sweep in"),
        ("[" * 10_000, "There is no sweep in"),
        ('{"version": 1, "cells": [{"id": "../../secret", "given": {}}]}', "There is no sweep in"),
        ('{"version": 1, "cells": [{"id": "a", "given": {"preset": 3}}]}', "There is no sweep in"),
        ('{"version": 1, "cells": [{"id": "a", "given": {"sparsity": "x"}}]}', "There is no sweep in"),
        ('{"version": 1, "cells": [7]}', "There is no sweep in"),
        ('{"version": 99, "cells": []}', "of a newer version"),
        ('{"version": 1, "cells": []}', ""),
    ],
)
def test_empty_damaged_and_foreign_folders_get_a_sentence(tmp_path: Path, content: str | None, said: str) -> None:
    if content is not None:
        (tmp_path / "sweep.json").write_text(content, encoding="utf-8")
    app = opened(tmp_path)
    assert not app.exception
    assert said in texts(app)


def test_what_is_damaged_within_a_sweep_is_told_and_the_rest_shown(tmp_path: Path) -> None:
    folder, cells = made_sweep(tmp_path / "small", 3)
    folder.file(cells[0]).write_text("{")
    folder.file(cells[1]).write_text(folder.file(cells[2]).read_text())  # another run's
    for name in ("now.json", f"failed/{cells[3].id}.json"):
        (folder.path / name).parent.mkdir(exist_ok=True)
        (folder.path / name).write_text(json.dumps([["a"], 1]))
    app = opened(folder.path)
    assert not app.exception
    assert "not valid JSON" in texts(app)
    assert f"It is called {cells[1].id}, but holds the run {cells[2].id}" in texts(app)
    assert len(app.dataframe[0].value) == 1


def test_a_class_sees_no_folder_of_the_host(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HAP_CLASS", "1")
    made_sweep(tmp_path / "small", 1)
    app = opened()
    assert "not shown in class mode" in texts(app)
    assert not app.text_input
