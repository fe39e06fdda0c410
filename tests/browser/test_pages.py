"""Every page under axe-core, light and dark, on a phone and on a desktop (the first page in all its
views is in test_accessibility.py): no violation, and nothing wider than the screen.

axe-core is injected from ``tests/vendor``; it makes no request. What Streamlit itself draws counts too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from hap_engine.runs.examples import example

pytestmark = pytest.mark.browser
MAIN = Path(__file__).parents[2] / "app" / "main.py"
AXE = Path(__file__).parents[1] / "vendor" / "axe" / "axe.min.js"
WIDTHS = {"phone": (360, 740), "desktop": (1440, 1000)}

PAGES = {
    "explore": (f"?run={example('hap-mini').id}&pin=a0.h3", "How good are they?"),
    "runs": ("runs", "Every finished run"),
    "compare": ("compare", "The pictures"),
    "sweep": ("sweep", "Choose the folder of a sweep"),
    "lesson": ("lesson?step=5", "What EAP missed"),
    "exercise": ("lesson?step=8", "Your turn"),
    "own prompts": ("prompts", "Your own prompts"),
    "about": ("about", "A transformer is a sum"),
}
CHECK = """
async () => {
  const found = await axe.run(document, { resultTypes: ["violations"] });
  return found.violations.map(({ id, impact, help, nodes }) =>
    ({ id, impact, help, nodes: nodes.map(({ target, html }) => ({ target: target.flat().join(" "), html })) }));
}
"""


@pytest.fixture(scope="module")
def address(serve: Callable[[Path], str]) -> str:
    return serve(MAIN)


@pytest.fixture(scope="module", params=["light", "dark"])
def scheme(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module", params=list(WIDTHS))
def page(request: pytest.FixtureRequest, chromium: Any, scheme: str) -> Iterator[Any]:
    width, height = WIDTHS[request.param]
    context = chromium.new_context(viewport={"width": width, "height": height}, color_scheme=scheme)
    yield context.new_page()
    context.close()


def violations(page: Any) -> list[str]:
    """Violations as readable lines, whatever their impact."""
    page.evaluate(AXE.read_text(encoding="utf-8"))
    lines = []
    for found in page.evaluate(CHECK):
        lines += [f"{found['id']}: {n['target']} {n['html'][:160]}" for n in found["nodes"]]
    return lines


HEADINGS = """() => [...document.querySelectorAll(".stMainBlockContainer :is(h1, h2, h3, h4, h5, h6)")]
    .filter((one) => one.getClientRects().length)
    .map((one) => Number(one.tagName[1]))"""
UNNAMED = """() => [...document.querySelectorAll("svg, svg *")].filter((one) => one.tabIndex >= 0
    && !one.getAttribute("aria-label") && !one.closest("a, button")).map((one) => one.outerHTML.slice(0, 120))"""
FOCUSED = """() => { const link = document.activeElement, { outlineStyle, outlineWidth } = getComputedStyle(link);
    return [link.dataset.testid, outlineStyle, parseFloat(outlineWidth) >= 2]; }"""


@pytest.mark.parametrize("name", PAGES)
def test_no_violation(page: Any, address: str, name: str) -> None:
    path, words = PAGES[name]
    page.goto(f"{address}/{path}")
    page.get_by_text(words).first.wait_for(timeout=90_000)
    if name in ("explore", "compare", "lesson"):
        page.wait_for_selector(".hap-head-box, .nsewdrag", timeout=90_000)
    page.wait_for_timeout(500)
    assert violations(page) == []
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    levels = page.evaluate(HEADINGS)
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(below <= above + 1 for above, below in pairwise(levels))
    assert page.evaluate(UNNAMED) == []


def test_the_focus_is_seen_in_the_navigation(chromium: Any, address: str) -> None:
    page = chromium.new_context(viewport={"width": 1440, "height": 900}).new_page()
    page.goto(f"{address}/about")
    page.get_by_text("A transformer is a sum").first.wait_for(timeout=90_000)
    page.get_by_role("link", name="Runs").focus()
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("Tab")
    assert page.evaluate(FOCUSED) == ["stTopNavLink", "solid", True]
    page.context.close()
