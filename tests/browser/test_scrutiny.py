"""Put to the test, in a real browser: press the button for the statistics, find the circuit again with
another seed, and compare the two. The run is hap-mini's shipped one with few prompts and steps."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hap_engine.runs.examples import example
from tests.browser.conftest import bring
from tests.builders.quick_runs import quick

pytestmark = pytest.mark.browser
MAIN = Path(__file__).parents[2] / "app" / "main.py"
SEED = example("hap-mini").seed
PATIENT = 240_000  # milliseconds; each piece of work takes seconds on an idle machine


@pytest.fixture(scope="module")
def page(serve: Callable[[Path], str], stay: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The run on its question "How good is it?"."""
    address = serve(MAIN)
    page = stay(address).page
    page.wait_for_selector(".hap-head-box, .nsewdrag", timeout=90_000)
    bring(page, quick(example("hap-mini"), "small"), tmp_path_factory.mktemp("run"))
    page.get_by_text("It is in the list below").wait_for(timeout=PATIENT)
    page.goto(f"{address}/?run=small&ask=numbers")
    return page


def test_the_statistics_are_measured_and_read_aloud(page: Any) -> None:
    offer = page.get_by_role("button", name="Put it to the test now")
    offer.click(timeout=90_000)
    page.get_by_role("button", name="Stop").wait_for(timeout=90_000)
    assert offer.is_disabled()  # one thing at a time
    page.get_by_text("Is HAP closer to the model than EAP, beyond chance?").wait_for(timeout=PATIENT)
    for said in ("Does it make the model's mistakes too?", "KL of each circuit under each kind"):
        page.get_by_text(said).first.wait_for()
    sizes = page.locator(".stPlotlyChart", has=page.get_by_text("edges kept"))
    sizes.locator(".scatterlayer .trace").nth(2).wait_for()
    offer.wait_for(state="detached")
    page.reload()  # the file holds them now
    page.get_by_text("Is HAP closer to the model than EAP, beyond chance?").wait_for(timeout=90_000)


def test_another_seed_is_found_and_compared(page: Any) -> None:
    first = page.url
    page.get_by_role("button", name=f"Find it again with seed {SEED + 1}").click(timeout=PATIENT)
    page.get_by_text(f"This machine holds the same run with seed {SEED}").wait_for(timeout=PATIENT)
    assert page.url != first
    page.get_by_role("button", name="Compare the seeds").click()
    page.get_by_text("Would another seed find the same?").click(timeout=PATIENT)
    page.get_by_text(f"Seeds {SEED + 1}, {SEED}; ").or_(page.get_by_text(f"Seeds {SEED}, {SEED + 1}; ")).wait_for()
    page.goto(first)
    page.get_by_text(f"This machine holds the same run with seed {SEED + 1}").wait_for(timeout=90_000)
