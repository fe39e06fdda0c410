"""What stands on the first screen without scrolling, in a real browser."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from hap_engine.runs.run_file import load

pytestmark = pytest.mark.browser
ROOT = Path(__file__).parents[2]
RUNS = [load(path).id for path in sorted((ROOT / "assets" / "runs").glob("*.json"))]
BOX = "(at) => { const { top, bottom } = document.querySelector(at).getBoundingClientRect(); return [top, bottom]; }"
LOWEST = """() => {
  const named = [...document.querySelectorAll('.hap-prompt small')];
  return Math.max(...named.map((one) => one.getBoundingClientRect().bottom));
}"""


@pytest.fixture(scope="module")
def address(serve: Any) -> str:
    return serve(ROOT / "app" / "main.py")


@pytest.mark.parametrize("run", RUNS)
def test_the_picture_begins_in_the_upper_third_below_one_row_of_controls(visit: Any, address: str, run: str) -> None:
    page = visit(f"{address}/?run={run}", width=1280).page
    page.set_viewport_size({"width": 1280, "height": 720})
    page.wait_for_selector(".hap-head-box", timeout=90_000)
    page.locator(".hap-chips").first.wait_for(timeout=90_000)
    assert page.evaluate(BOX, ".hap-panels")[0] <= 240
    above = page.evaluate(BOX, ".st-key-run-title h1")  # between the navigation and the finding
    assert page.evaluate(BOX, "[data-testid=stTopNavLink]")[1] <= above[0]
    assert above[1] <= page.evaluate(BOX, ".hap-lead")[0] + 6
    top, bottom = page.evaluate(BOX, ".hap-controls")
    assert bottom - top < 40
    if page.locator(".hap-prompt small").count():
        assert page.evaluate(LOWEST) <= page.evaluate(BOX, ".hap-scale")[0] + 1


def test_on_a_phone_the_finding_and_the_head_of_the_picture_stand_on_the_first_screen(visit: Any, address: str) -> None:
    page = visit(address, width=390).page
    page.set_viewport_size({"width": 390, "height": 844})
    page.wait_for_selector(".hap-head-box", timeout=90_000)
    assert page.evaluate(BOX, ".hap-panels")[0] < 560
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
