"""A run whose edges act at spans of the sentence, from the first click to its picture."""

from __future__ import annotations

from typing import Any

import pytest

from tests.browser.conftest import PATIENT, ROOT

pytestmark = pytest.mark.browser


def test_a_positional_run_from_click_to_picture(visit: Any, serve: Any) -> None:
    page = visit(f"{serve(ROOT / 'app' / 'main.py')}/?new=1&effort=quick&kept=1.0").page
    page.get_by_text("How this run was made").wait_for()  # else what is drawn next closes what is open
    page.wait_for_selector(".stApp[data-test-script-state=notRunning]")
    page.get_by_text("Advanced", exact=True).click()
    page.get_by_role("combobox", name="Where edges act").fill("at tokens with a role")
    page.keyboard.press("Enter")
    page.get_by_role("combobox", name="Where edges act").and_(page.locator("[value^='at tokens with']")).wait_for()
    page.get_by_role("button", name="Find the circuit").click()
    page.get_by_text("Computed on this machine").wait_for(timeout=3 * PATIENT)
    page.wait_for_selector(".hap-panel[data-side=right] .hap-head-box", timeout=PATIENT)
    page.locator(".hap-bar").get_by_role("button", name="Edges", exact=True).click()
    page.locator(".hap-panel[data-side=right] .hap-edges path").first.wait_for(state="attached")
    page.get_by_text("How this run was made").click()
    page.get_by_text("--positions roles").first.wait_for()
