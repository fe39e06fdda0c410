"""One's own prompts in a real browser: type, paste, mend, reload, run to the end."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.browser.conftest import press

pytestmark = pytest.mark.browser
MAIN = Path(__file__).parents[2] / "app" / "main.py"


@pytest.fixture(scope="module")
def address(serve: Callable[[Path], str]) -> str:
    return serve(MAIN)


def open_page(address: str, visit: Any) -> Any:
    page = visit(f"{address}/?kept=4.0&effort=quick").page
    press(page, page.get_by_role("link", name="Your prompts"), page.get_by_text("Write pairs of prompts"))
    return page


def fill(page: Any, column: int, row: int, text: str) -> None:
    """Type over a cell of the grid (it is drawn on a canvas: cells are found by their place)."""
    box = page.get_by_test_id("stDataFrame").first.bounding_box()
    across = (0.2, 0.6, 0.84, 0.95)[column]
    page.mouse.dblclick(box["x"] + across * box["width"], box["y"] + 35 * (row + 0.5))
    editor = page.locator(".gdg-input")
    editor.wait_for(timeout=90_000)
    editor.fill(text)
    page.keyboard.press("Enter")


def test_type_mend_reload_and_run(address: str, visit: Any) -> None:
    page = open_page(address, visit)
    page.get_by_text("No rows yet").wait_for(timeout=90_000)
    page.get_by_role("button", name="Start from a task").click()
    page.get_by_role("button", name="Add 12 pairs of it").click()
    page.get_by_text("12 of 12 rows can be used").wait_for(timeout=90_000)

    fill(page, 2, 1, "Zyxwv")
    page.get_by_text("11 of 12 rows can be used").wait_for(timeout=90_000)
    page.get_by_text("does not know 'Zyxwv'").first.wait_for()
    assert page.get_by_role("button", name="Use these prompts").is_disabled()

    page.close()
    page = open_page(address, visit)  # a new session: what was typed is still there
    page.get_by_text("11 of 12 rows can be used").wait_for(timeout=90_000)
    page.get_by_text("does not know 'Zyxwv'").first.wait_for()
    page.get_by_role("button", name="Drop unusable rows").click()
    page.get_by_text("11 of 11 rows can be used").wait_for(timeout=90_000)

    with page.expect_download(timeout=90_000) as saved:
        page.get_by_role("button", name="Download", exact=True).click()
    assert len(Path(saved.value.path()).read_text().splitlines()) == 11

    page.get_by_role("button", name="Use these prompts").click()
    find(page)
    page.get_by_text("Your own prompts").first.wait_for(timeout=90_000)


def find(page: Any) -> None:
    """Press the button and wait for the result."""
    found = page.get_by_text("Computed on this machine")
    begun = page.get_by_role("button", name="Cancel").or_(found).first
    press(page, page.get_by_role("button", name="Find the circuit"), begun)
    found.wait_for(timeout=240_000)


def test_pasted_html_and_foreign_scripts_stay_text(address: str, visit: Any) -> None:
    page = open_page(address, visit)
    page.get_by_text("rows can be used").wait_for(timeout=90_000)
    page.get_by_role("button", name="Paste rows").click()
    attack = "<img src=x onerror=document.title='hacked'> *b*"
    hebrew = "שלום 🙂"
    page.get_by_role("textbox", name="One pair a line").fill(f"{attack}\t{hebrew}\ta\tb")
    page.get_by_role("textbox", name="One pair a line").press("Control+Enter")
    page.get_by_role("button", name="Add these rows").click()
    page.get_by_text("11 of 12 rows can be used").wait_for(timeout=90_000)
    page.locator(".hap-text", has_text=attack).wait_for()
    assert page.locator(".hap-text", has_text=hebrew).is_visible()
    assert page.title() != "hacked"
    assert page.locator("img[src=x]").count() == 0


def test_a_file_that_nobody_tuned_for_runs_to_the_end(address: str, visit: Any, tmp_path: Path) -> None:
    nouns = [
        "dog",
        "cat",
        "boy",
        "girl",
        "teacher",
        "bird",
        "friend",
        "brother",
        "student",
        "doctor",
        "farmer",
        "sister",
    ]
    lines = [f"The {noun}s near the door,The {noun} near the door,are,is" for noun in nouns]
    file = tmp_path / "plural.csv"
    odd = "The cow near the door,The cow near the door,are,is"
    file.write_text("\n".join(["clean,corrupt,answer,distractor", *lines, odd]), encoding="utf-8")
    page = open_page(address, visit)
    page.get_by_role("button", name="Open a file").click()
    page.locator("input[type=file]").set_input_files(file)
    page.get_by_text("Row 13: clean and corrupt are the same").wait_for(timeout=90_000)
    page.get_by_role("button", name="Open the other 12 rows").click()
    page.get_by_text("12 of 12 rows can be used").wait_for(timeout=90_000)
    page.get_by_role("button", name="Use these prompts").click()
    find(page)
    page.get_by_text("Your own prompts").first.wait_for(timeout=90_000)
