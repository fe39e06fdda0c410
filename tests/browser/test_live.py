"""The live panels in a real browser, in light and dark; the time of a change is measured."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hap_engine.runs import load

pytestmark = pytest.mark.browser
ROOT = Path(__file__).parents[2]
PLOT = ".js-plotly-plot .nsewdrag"
AT_ONCE = 2.0  # seconds; a change on hap-mini takes far less on an idle machine


@pytest.fixture(scope="module")
def mini() -> str:
    """Address part that opens the shipped run of the bundled model."""
    runs = [load(path) for path in (ROOT / "assets" / "runs").glob("*.json")]
    return "?run=" + next(run.id for run in runs if run.model["name"] == "hap-mini")


@pytest.fixture(scope="module")
def address(serve: Callable[[Path], str]) -> str:
    return serve(ROOT / "app" / "main.py")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_head_is_switched_off_and_back_on(
    address: str, visit: Any, mini: str, scheme: str
) -> None:
    page = visit(f"{address}/{mini}", scheme).page
    page.wait_for_selector(PLOT, timeout=60_000)
    page.get_by_role("button", name="Remove every S-inhibition head").click()
    page.get_by_text("the preference for the right answer falls").wait_for(timeout=120_000)
    assert "do=-a" in page.url
    started = time.perf_counter()
    page.get_by_role("button", name="Undo").click()
    page.get_by_text("the preference for the right answer").wait_for(state="detached")
    page.get_by_role("button", name="Switch it off").click()
    page.get_by_text("On 8 test prompts").or_(page.get_by_text("On these 8 prompts")).wait_for()
    took = (time.perf_counter() - started) / 2
    print(f"\na change on hap-mini took {took:.2f} s from click to numbers ({scheme})")
    assert took < AT_ONCE * 3  # shared test machines; printed above, seen on an idle one below 0.5
    page.get_by_role("button", name="Start over").click()
    page.wait_for_function("!location.search.includes('do=')")
