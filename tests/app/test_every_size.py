"""The question "At every size": what it says, and what a run without sizes is told."""

from __future__ import annotations

from typing import Any

from streamlit.testing.v1 import AppTest

from hap_engine.report.every_size import size_verdict
from hap_engine.runs.run_file import runs_folder, save
from tests.builders.fakes import fake_run
from tests.builders.pages import open_app, texts
from tests.builders.sized_runs import sized_run


def opened(run: Any, **query: str) -> AppTest:
    save(run, runs_folder() / f"{run.id}.json")
    app = open_app(run=run.id, **query)
    assert not app.exception
    return app


def test_a_run_of_every_size_is_told_and_summed() -> None:
    run = sized_run()
    app = opened(run, ask="sizes")
    assert size_verdict(run)
    assert f"**{size_verdict(run)}**" in texts(app)
    assert "CMD first" in texts(app)
    assert "Area" in " ".join(str(one.proto) for one in app.get("html"))


def test_a_run_of_one_size_offers_to_compute_the_curves() -> None:
    app = opened(fake_run(), ask="sizes")
    assert "**Standard**" in texts(app)
    assert "Compute the curves" in [button.label for button in app.button]


def test_a_run_without_roles_has_the_curves_alone() -> None:
    assert "No S-inhibition head" in texts(opened(sized_run(roles={}), ask="sizes"))


def test_the_effort_one_size_sets_its_budget() -> None:
    app = open_app(effort="one-size")
    assert app.segmented_control(key="effort").value == "one-size"
    assert app.selectbox(key="budget-one-size").value == "projection"
    assert open_app().selectbox(key="budget-standard").value == "every-size"
