"""The explorer under other conditions, in a real browser: reduced motion, folded layers, a class."""

from __future__ import annotations

from typing import Any

import pytest

from app.classroom import VARIABLE
from hap_engine.runs.examples import example
from tests.browser.conftest import LOOKS, ROOT

pytestmark = pytest.mark.browser
MAIN = ROOT / "app" / "main.py"
PANEL = ".hap-panel[data-side=right]"


@pytest.mark.parametrize("look", LOOKS, ids=lambda look: look[0])
def test_empty_layers_fold_and_unfold(visit: Any, serve: Any, look: tuple[str, int]) -> None:
    one = visit(f"{serve(MAIN)}/?run={example('SmolLM2').id}&view=pair", *look)
    page = one.page
    page.wait_for_selector(f"{PANEL} .js-plotly-plot .nsewdrag", timeout=90_000)
    before = page.locator(f"{PANEL} .hap-nodes rect").count()
    toggle = page.get_by_text("Fold empty layers")
    toggle.click()
    page.wait_for_function("() => location.search.includes('fold')", timeout=90_000)
    assert page.locator(f"{PANEL} .hap-nodes rect").count() <= before
    toggle.click()
    page.wait_for_function("() => !location.search.includes('fold')", timeout=90_000)
    toggle.dblclick()  # faster than Python answers: the last word counts
    page.get_by_role("button", name="By role", exact=True).click()  # and what is reported next does not undo it
    page.wait_for_function("() => location.search.includes('roles')", timeout=90_000)
    assert "fold" not in page.url
    assert toggle.get_attribute("aria-pressed") == "false"


def test_a_class_may_look_and_run_but_change_nothing(visit: Any, serve: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "1")
    address = serve(MAIN, fresh=True)
    page = visit(address).page
    page.wait_for_selector(f"{PANEL} .hap-head-box", timeout=90_000)
    page.get_by_text("Class mode: look, compare, export").wait_for()
    assert page.get_by_role("button", name="Find the circuit").is_visible()
    assert page.get_by_text("Advanced", exact=True).count() == 0
    page.goto(f"{address}/runs")
    page.get_by_text("SmolLM2", exact=False).first.wait_for(timeout=90_000)
    assert page.get_by_role("button", name="Delete").count() == 0
    assert page.get_by_role("button", name="Rename").count() == 0


def test_reduced_motion_slows_the_replay(chromium: Any, serve: Any) -> None:
    address = serve(ROOT / "tests" / "browser" / "diagram_page.py")
    shown = {}
    for motion in ("no-preference", "reduce"):
        context = chromium.new_context(viewport={"width": 1440, "height": 1000}, reduced_motion=motion)
        page = context.new_page()
        page.goto(address)
        page.wait_for_selector(f"{PANEL} .js-plotly-plot .nsewdrag", timeout=90_000)
        page.get_by_role("button", name="Replay pruning").click()
        page.locator(".hap-replay input").wait_for(timeout=90_000)
        page.wait_for_timeout(1_500)
        shown[motion] = int(page.locator(".hap-replay input").input_value())
        context.close()
    assert shown["reduce"] <= 2 < shown["no-preference"]
