"""The documentation site in a real browser, opened as files: search works, nothing is asked of anybody."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.builders.site import pages

pytestmark = pytest.mark.browser
OWN = ("file:", "data:", "blob:")


@pytest.mark.parametrize(("scheme", "width"), [("light", 1280), ("dark", 390)])
def test_every_page_stands_alone(scheme: str, width: int, chromium: Any, docs_site: Path) -> None:
    context = chromium.new_context(color_scheme=scheme, viewport={"width": width, "height": 900})
    asked: list[str] = []
    said: list[str] = []
    context.on("request", lambda request: asked.append(request.url))
    tab = context.new_page()
    tab.on("console", lambda message: said.append(f"{tab.url} {message.text}") if message.type == "error" else None)
    tab.on("pageerror", lambda error: said.append(f"{tab.url} {error}"))
    for page in pages(docs_site):
        tab.goto(page.as_uri())
        assert tab.evaluate("() => document.documentElement.scrollWidth <= innerWidth"), f"{page.name} is too wide"
    assert tab.evaluate("() => document.body.dataset.mdColorScheme") == {"light": "default", "dark": "slate"}[scheme]
    assert [url for url in asked if not url.startswith(OWN)] == []
    assert said == []
    context.close()


def test_search_works_without_a_server(chromium: Any, docs_site: Path) -> None:
    context = chromium.new_context()
    asked: list[str] = []
    context.on("request", lambda request: asked.append(request.url))
    tab = context.new_page()
    tab.goto((docs_site / "index.html").as_uri())
    field = tab.get_by_role("textbox", name="Search")
    field.click()
    field.press_sequentially("lagrangian")
    result = tab.locator(".md-search-result__link").first
    result.wait_for(timeout=20_000)
    assert "multipliers" in tab.locator(".md-search-result__list").inner_text()
    result.click()
    tab.wait_for_url("**/*.html?h=*")
    assert [url for url in asked if not url.startswith(OWN)] == []
    context.close()


def test_day_and_night_are_chosen_by_a_button(chromium: Any, docs_site: Path) -> None:
    context = chromium.new_context(color_scheme="light")
    tab = context.new_page()
    tab.goto((docs_site / "method.html").as_uri())
    ink = "() => getComputedStyle(document.querySelector('.hap-picture')).fill"
    day = tab.evaluate(ink)
    tab.locator("label[title='Dark']").click()
    assert tab.evaluate(ink) != day, "drawings take the page's colours"
    context.close()
