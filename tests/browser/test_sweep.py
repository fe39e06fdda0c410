"""The Sweep page in a browser: it follows its folder, and a click on a heat map leads to a run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.browser.conftest import PATIENT
from tests.builders.sweeps import finish, made_sweep

pytestmark = pytest.mark.browser
MAIN = Path(__file__).parents[2] / "app" / "main.py"


def click_a_cell(page: Any) -> None:
    """Of the first heat map."""
    mark = page.locator(".scatterlayer .point").first
    mark.wait_for(state="attached", timeout=PATIENT)
    page.locator(".nsewdrag").first.scroll_into_view_if_needed()
    spot = mark.bounding_box()
    page.mouse.click(spot["x"] + spot["width"] / 2, spot["y"] + spot["height"] / 2)


def test_a_sweep_is_followed_and_a_click_leads_to_its_run(
    start_server: Callable[[Path, Path], tuple[Any, str]], visit: Callable[..., Any], tmp_path: Path
) -> None:
    folder, cells = made_sweep(tmp_path / "small", 3)
    _, address = start_server(MAIN, tmp_path)
    page = visit(f"{address}/sweep?sweep=small").page
    page.get_by_text("3 of 4 done").wait_for(timeout=PATIENT)
    finish(folder, cells[3])  # as a worker anywhere does
    page.get_by_text("4 of 4 done").wait_for(timeout=PATIENT)
    page.locator(".nsewdrag").nth(3).wait_for(timeout=PATIENT)
    click_a_cell(page)
    page.get_by_text("The runs of the cell that was clicked").wait_for(timeout=PATIENT)


def test_one_run_opens_at_once(
    start_server: Callable[[Path, Path], tuple[Any, str]], visit: Callable[..., Any], tmp_path: Path
) -> None:
    made_sweep(tmp_path / "single", 1, seed=[0], sparsity=[0.98])
    _, address = start_server(MAIN, tmp_path)
    page = visit(f"{address}/sweep?sweep=single", "dark", 390).page
    click_a_cell(page)
    page.wait_for_url(lambda url: "run=" in url, timeout=PATIENT)
    page.get_by_text("Indirect object identification").first.wait_for(timeout=PATIENT)
