"""The explorer in a real browser: first paint, a run to its end, cancel, reload, clicks."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hap_engine.runs.examples import example
from tests.browser.conftest import press

pytestmark = pytest.mark.browser
MAIN = Path(__file__).parents[2] / "app" / "main.py"
PLOT = ".hap-head-box, .nsewdrag"  # a picture on the sentence, or of edges


@pytest.fixture(scope="module")
def address(serve: Callable[[Path], str]) -> str:
    return serve(MAIN)


def test_first_paint_is_an_interactive_labelled_example(address: str, visit: Any) -> None:
    page = visit(address).page
    page.wait_for_selector(PLOT, timeout=90_000)
    page.get_by_text("Example, computed before").wait_for()
    assert page.locator(".hap-panel:visible").count() == 2


def test_the_efforts_stand_in_one_row(address: str, visit: Any) -> None:
    page = visit(address).page
    page.get_by_role("button", name="New run").click(timeout=90_000)
    buttons = page.locator(".st-key-effort button")
    buttons.nth(2).wait_for(timeout=90_000)
    page.wait_for_timeout(800)  # the panel slides in
    boxes = [box for i in range(buttons.count()) if (box := buttons.nth(i).bounding_box())]
    assert len({box["y"] for box in boxes[-3:]}) == 1


def test_clicking_a_node_keeps_the_zoom_and_opens_its_details(address: str, visit: Any) -> None:
    page = visit(address).page
    page.wait_for_selector(PLOT, timeout=90_000)
    page.get_by_role("searchbox", name="Find a node").fill("S-inhibition", timeout=90_000)
    page.keyboard.press("Enter")
    page.get_by_text("S-inhibition head.").first.wait_for(timeout=90_000)
    assert "pin=" in page.url


def test_back_takes_back_one_pin_a_press(address: str, visit: Any) -> None:
    page = visit(f"{address}/?run={example('hap-mini').id}").page
    for head in ("a3.h0", "a3.h1"):
        page.locator(f'.hap-panel[data-side=right] .hap-head-box[data-id="{head}"]').click(timeout=90_000)
        page.wait_for_function(f"() => location.search.includes('{head}')", timeout=90_000)
        page.locator("[data-testid=stApp][data-test-script-state=notRunning]").wait_for(timeout=90_000)
    for left in ("&pin=a3.h0", ""):
        page.go_back()
        page.wait_for_function(f"() => location.search.endsWith('{left}') && !location.search.includes('a3.h1')")
        pins = 1 if left else 0
        page.wait_for_function(f"() => document.querySelectorAll('[data-unpin]').length === {pins}", timeout=90_000)


def test_a_run_ends_in_a_result(address: str, visit: Any) -> None:
    page = visit(f"{address}/?new=1&effort=quick&kept=4.0").page
    start(page)
    assert "job=" in page.url
    page.get_by_text("Computed on this machine").wait_for(timeout=240_000)
    assert "run=" in page.url
    assert "job=" not in page.url
    page.wait_for_selector(PLOT, timeout=90_000)


def test_reload_and_a_second_tab_find_the_run_and_cancel_stops_it(address: str, visit: Any) -> None:
    page = visit(f"{address}/?new=1&effort=thorough&seed=7").page
    page.get_by_text("Advanced", exact=True).click(timeout=90_000)
    steps = page.get_by_role("spinbutton", name="Steps")
    steps.fill("10000")  # as many as there may be: it shall go on until it is cancelled
    steps.press("Enter")
    start(page)
    page.get_by_text(re.compile(r"Pruning edges · \d+ of 10000")).wait_for(timeout=120_000)
    page.reload(timeout=120_000)
    page.get_by_text(re.compile(r"Pruning edges · \d+ of")).wait_for(timeout=120_000)
    second = visit(page.url).page
    second.get_by_role("button", name="Cancel").click(timeout=120_000)
    second.get_by_text("The run was cancelled").wait_for(timeout=120_000)
    page.get_by_text("The run was cancelled").wait_for(timeout=120_000)
    page.wait_for_selector(".hap-curves circle", timeout=90_000)  # what was known by then
    page.get_by_text("training steps", exact=False).first.wait_for(timeout=120_000)
    page.get_by_role("button", name="Close this message").click()
    page.get_by_text("The run was cancelled").wait_for(state="detached", timeout=120_000)
    page.wait_for_selector(PLOT, timeout=90_000)  # the run that was there before
    assert "job=" not in page.url


def test_the_other_pages_open(address: str, visit: Any) -> None:
    page = visit(address).page  # not /runs: there Streamlit itself first probes a path that is a 404
    for name in ("Runs", "How it works"):
        press(page, page.get_by_role("link", name=name), page.get_by_role("heading", name=name))


def start(page: Any) -> None:
    page.get_by_role("button", name="Find the circuit").click(timeout=90_000)
    page.get_by_role("button", name="Cancel").wait_for(timeout=90_000)


def test_a_report_after_a_click_on_another_page_does_not_bring_this_one_back(address: str, visit: Any) -> None:
    page = visit(address).page
    page.wait_for_selector(".hap-panel[data-side=right] .hap-head-box")
    page.wait_for_selector(".stApp[data-test-script-state=notRunning]")
    page.evaluate("""() => {
        document.querySelector("a[href$='/prompts']").click();
        document.querySelector("[data-mode=matrix]").click(); // the picture reports its view, as it does by itself
    }""")
    page.get_by_text("Write pairs of prompts").wait_for()
    page.wait_for_selector(".stApp[data-test-script-state=notRunning]")
    page.get_by_role("button", name="Open a file").wait_for()
    assert page.url.endswith("/prompts")
    assert page.locator(".hap-panel").count() == 0
