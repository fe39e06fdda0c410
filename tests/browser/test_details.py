"""Below and beside the picture, in a real browser: what was chosen last is open, and nothing else moves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from hap_engine.runs.examples import example

pytestmark = pytest.mark.browser
MAIN = Path(__file__).parents[2] / "app" / "main.py"
RIGHT = ".hap-panel[data-side=right]"
STILL = ".stApp[data-test-script-state=notRunning]"
PLACES = """(what) => [...document.querySelectorAll(what)].map((one) => {
  const { x, y, width, height } = one.getBoundingClientRect();
  return [x, y, width, height].map(Math.round).join(' ');
})"""
FOCUSED = """(title) => {
  const focus = document.activeElement;
  return focus.matches('.st-key-lesson-step :is(h2, h3)') && focus.textContent.includes(title);
}"""


@pytest.fixture(scope="module")
def address(serve: Any) -> str:
    return serve(MAIN)


@pytest.fixture(scope="module")
def mini() -> str:
    return f"?run={example('hap-mini').id}"


def find(page: Any, node: str) -> None:
    search = page.get_by_role("searchbox", name="Find a node")
    search.fill(node, timeout=90_000)
    search.press("Enter")


def test_a_second_pin_opens_its_own_tab(visit: Any, address: str, mini: str) -> None:
    page = visit(f"{address}/{mini}&pin=a3.h1").page
    page.get_by_role("tab", name="a3.h1", selected=True).wait_for()
    for node in ("a1.h2", "m2"):
        page.locator(".stApp[data-test-script-state=notRunning]").wait_for()
        find(page, node)
        page.get_by_role("tab", name=node, selected=True).wait_for()
        page.get_by_role("tabpanel").filter(has=page.get_by_text("Kept by")).filter(visible=True).wait_for()
        assert page.locator(".hap-drawer h2").inner_text().endswith(node[1:].replace(".h", "."))


@pytest.mark.parametrize(("view", "boxes"), [("sentence", ".hap-head-box rect"), ("pair", ".hap-nodes rect")])
@pytest.mark.parametrize(("model", "width"), [("hap-mini", 1440), ("SmolLM2", 1280)])
def test_nothing_jumps_when_a_head_is_cut_and_its_edges_are_drawn_as_cut(
    visit: Any, address: str, view: str, boxes: str, model: str, width: int
) -> None:
    run = example(model)
    head = max(run.roles["heads"], key=lambda one: sum(writer == one for writer, _ in kept(run)))
    page = visit(f"{address}/?run={run.id}&pin={head}&view={view}", width=width).page
    page.locator(".hap-drawer").get_by_role("button", name="Switch it off").wait_for()
    page.locator(boxes).first.wait_for(state="attached")
    page.get_by_text("How this run was made").wait_for()  # the page below is whole
    page.locator(STILL).wait_for()
    parts = f".hap-panels, .hap-panel, .hap-canvas, {boxes}"
    before = page.evaluate(PLACES, parts)
    page.locator(".hap-drawer").get_by_role("button", name="Switch it off").click()
    page.get_by_text("✕ switched off").first.wait_for(state="attached")
    page.wait_for_function("() => location.search.includes('do=')")
    page.locator(STILL).wait_for()
    assert page.evaluate(PLACES, parts) == before
    if (model, view) == ("hap-mini", "pair"):  # which draws every edge
        cut = page.locator(f"{RIGHT} .hap-marked path[stroke-dasharray='2 4']")
        assert cut.count() == sum(writer == head for writer, _ in kept(run)) > 0


def kept(run: Any) -> list[tuple[str, str]]:
    return list(run.circuits["hap"].circuit.names())


def test_maps_of_attention_are_square_and_their_tokens_can_be_read(visit: Any, address: str, mini: str) -> None:
    page = visit(f"{address}/{mini}&pin=a3.h1").page
    maps = page.locator(".stPlotlyChart .heatmaplayer image")
    for side in range(2):
        maps.nth(side).wait_for(state="attached")
        box = maps.nth(side).bounding_box()
        assert box["width"] == pytest.approx(box["height"], rel=0.03)
        assert box["width"] > 120
    labels = page.locator(".stPlotlyChart:has(.heatmaplayer) .ytick text").first
    assert labels.evaluate("(text) => parseFloat(getComputedStyle(text).fontSize)") >= 10


def test_next_leads_to_the_top_of_the_next_step_and_takes_the_focus_along(visit: Any, address: str) -> None:
    page = visit(f"{address}/lesson?step=1").page
    page.set_viewport_size({"width": 900, "height": 500})
    forward = page.get_by_role("button", name="Next")
    for title in ("Clean and corrupted", "Heads and edges"):
        forward.wait_for()
        page.locator(STILL).wait_for()
        forward.scroll_into_view_if_needed()
        assert page.evaluate("() => document.querySelector('[data-testid=stMain]').scrollTop") > 0
        forward.click()
        page.wait_for_function(FOCUSED, arg=title)
        page.wait_for_function("() => document.querySelector('[data-testid=stMain]').scrollTop === 0")
