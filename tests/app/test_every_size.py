"""The question "At every size": the chart, what it says, and what a run without sizes is told."""

from __future__ import annotations

from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from app.questions.every_size import figure
from hap_engine.picture.palette import DARK, LIGHT, Palette
from hap_engine.report.every_size import size_verdict, survivals
from hap_engine.runs.run_file import runs_folder, save
from tests.builders.fakes import fake_run
from tests.builders.pages import open_app, texts
from tests.builders.sized_runs import sized_run


def opened(run: Any, **query: str) -> AppTest:
    save(run, runs_folder() / f"{run.id}.json")
    app = open_app(run=run.id, **query)
    assert not app.exception
    return app


def test_a_run_of_every_size_is_charted_told_and_summed() -> None:
    run = sized_run()
    app = opened(run, ask="sizes")
    assert size_verdict(run)
    assert size_verdict(run) in texts(app)
    assert app.get("plotly_chart")
    assert "CMD first" in texts(app)
    assert "Area" in " ".join(str(one.proto) for one in app.get("html"))


def test_a_run_of_one_size_says_how_to_get_the_others() -> None:
    app = opened(fake_run(), ask="sizes")
    assert "**Every size**" in texts(app)
    assert not app.get("plotly_chart")


@pytest.mark.parametrize("colours", [LIGHT, DARK], ids=lambda palette: palette.name)
def test_curves_and_lives_have_the_colours_of_the_picture(colours: Palette) -> None:
    run = sized_run()
    lives = survivals(run)
    drawn = figure(run, lives, colours).data
    curves = {one.name: one for one in drawn if one.name}
    assert list(curves) == ["Random circuits", "EAP", "HAP"]
    assert curves["EAP"].line.color == colours.left
    assert curves["HAP"].line.color == colours.right
    assert list(curves["HAP"].y) == run.sizes["metrics"]["hap"]["kl"]
    assert list(curves["HAP"].x) == run.sizes["grid"]
    ends = [one for one in drawn if one.yaxis == "y2" and one.mode == "markers"]
    tightest = run.sizes["grid"][-1]
    for method, marks in zip(("eap", "hap"), ends, strict=True):
        assert list(marks.x) == [max(life.smallest[method], tightest) for life in lives]


def test_a_run_without_roles_has_the_curves_alone() -> None:
    run = sized_run(roles={})
    assert len(figure(run, survivals(run), LIGHT).data) == 6
    assert "No S-inhibition head" in texts(opened(run, ask="sizes"))


def test_the_effort_every_size_sets_its_budget() -> None:
    app = open_app(effort="every-size")
    assert app.segmented_control(key="effort").value == "every-size"
    assert app.selectbox(key="budget-every-size").value == "every-size"
    assert open_app().selectbox(key="budget-standard").value == "projection"
