"""An error that nobody foresaw is a sentence on the page, with a report on the disk, and the page goes on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.browser


@pytest.mark.parametrize("where", ["callback", "part", "page"])
def test_the_page_says_what_came_and_goes_on(serve: Any, visit: Any, where: str) -> None:
    page = visit(serve(Path(__file__).with_name("broken_app.py"))).page
    page.get_by_role("button", name=f"Break the {where}").click(timeout=90_000)
    told = page.get_by_text("did not foresee (ZeroDivisionError: in ")
    told.wait_for(timeout=90_000)
    report = Path(told.inner_text().partition("the file ")[2].partition(", which")[0])
    assert "ZeroDivisionError: in" in report.read_text()
    assert "Traceback" not in page.content()
    page.get_by_role("button", name="Draw the page again").click()
    page.get_by_text("The page is whole").wait_for(timeout=90_000)
    told.wait_for(state="detached", timeout=90_000)
