"""The linked comparison in a real browser."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.browser.conftest import LOOKS

pytestmark = pytest.mark.browser
LEFT, RIGHT = (f".hap-panel[data-side={side}]" for side in ("left", "right"))
RANGES = """() => [...document.querySelectorAll('.hap-plot')].map(
    (p) => [...p._fullLayout.xaxis.range, ...p._fullLayout.yaxis.range].map((v) => +v.toFixed(5)))"""


@pytest.fixture(scope="module")
def address(serve: Any) -> str:
    return serve(Path(__file__).with_name("diagram_page.py"))


@pytest.fixture(scope="module", params=LOOKS, ids=lambda look: look[0])
def look(request: pytest.FixtureRequest) -> tuple[str, int]:
    return tuple(request.param)


@pytest.fixture(scope="module")
def loaded(stay: Any, address: str, look: tuple[str, int]) -> Any:
    visited = stay(address, *look)
    visited.page.wait_for_selector(f"{RIGHT} .hap-nodes rect", state="attached", timeout=90_000)
    return visited


@pytest.fixture
def opened(loaded: Any) -> Any:
    """The page with nothing pinned, found or zoomed: opening it anew takes seconds."""
    page = loaded.page
    page.mouse.move(5, 5)
    page.get_by_role("button", name="Clear", exact=True).click()
    page.get_by_role("button", name="Reset view").click()
    _wait_pins(page, "none")
    page.wait_for_timeout(300)
    return loaded


def _centre(page: Any, node: str, panel: str = LEFT) -> tuple[float, float]:
    box = page.locator(f'{panel} .hap-nodes rect[data-id="{node}"]').bounding_box()
    return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2


def _kept(page: Any) -> list[str]:
    return page.eval_on_selector_all(f"{LEFT} .hap-nodes rect", "rects => rects.map((r) => r.dataset.id)")


def _middle_node(page: Any) -> str:
    """A node that stays in view when the picture is zoomed around its middle."""
    area = page.locator(f"{LEFT} .nsewdrag").bounding_box()
    middle = area["x"] + area["width"] / 2, area["y"] + area["height"] / 2
    heads = [node for node in _kept(page) if "." in node]
    return min(heads, key=lambda n: sum((a - b) ** 2 for a, b in zip(_centre(page, n), middle, strict=True)))


def _wait_pins(page: Any, text: str) -> None:
    page.get_by_text(f"pins: {text}", exact=True).wait_for(timeout=90_000)


def test_zoom_is_linked_and_a_click_keeps_it(opened: Any) -> None:
    page = opened.page
    node = _middle_node(page)
    start = page.evaluate(RANGES)
    page.mouse.move(*_centre(page, node))
    page.mouse.wheel(0, -300)
    page.wait_for_timeout(700)
    zoomed = page.evaluate(RANGES)
    assert zoomed[0] != start[0]
    assert zoomed[0] == zoomed[1]

    opened.frames.clear()
    page.mouse.click(*_centre(page, node))
    _wait_pins(page, node)
    page.wait_for_timeout(300)
    assert page.evaluate(RANGES) == zoomed
    assert page.locator(f"{RIGHT} .hap-pin").count() == 1
    assert sum(opened.frames) < 10_000  # the scene is not sent again

    page.mouse.click(*_centre(page, node))
    _wait_pins(page, "none")
    page.get_by_role("button", name="Reset view").click()
    page.wait_for_timeout(500)
    assert page.evaluate(RANGES) == start


def test_dragging_moves_both_panels(opened: Any) -> None:
    page = opened.page
    area = page.locator(f"{LEFT} .nsewdrag").bounding_box()
    x, y = area["x"] + area["width"] - 8, area["y"] + area["height"] / 2
    start = page.evaluate(RANGES)
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x - 30, y + 40, steps=4)
    page.wait_for_timeout(200)
    assert page.locator(f"{RIGHT} .hap-sliding").count() == 1
    page.mouse.up()
    page.wait_for_timeout(700)
    left, right = page.evaluate(RANGES)
    assert left == right != start[0]
    assert page.locator(".hap-sliding").count() == 0


def test_hover_lights_both_panels(opened: Any) -> None:
    page = opened.page
    page.mouse.move(*_centre(page, _middle_node(page)))
    page.locator(f"{LEFT}.hap-dim").wait_for()
    page.locator(f"{RIGHT}.hap-dim").wait_for()
    assert page.locator(f"{LEFT} .hap-lit rect").count() >= 2
    assert "Head" in page.locator(f"{LEFT} .hap-tip").text_content()
    page.mouse.move(5, 5)
    page.wait_for_function("() => !document.querySelector('.hap-dim')")


def test_search_pins_and_escape_clears(opened: Any) -> None:
    page = opened.page
    page.keyboard.press("/")
    page.keyboard.type("s-inhibition")
    page.keyboard.press("Enter")
    page.locator(".hap-pins button").first.wait_for()
    page.wait_for_function("() => /pins: a\\d/.test(document.body.innerText)")
    page.keyboard.press("Escape")
    _wait_pins(page, "none")
    assert page.locator(".hap-pins button").count() == 0


@pytest.mark.parametrize(("typed", "found"), [("9.9", ""), ("a1.h1", "a1.h1"), ("1.1", "a1.h1"), ("mlp 0", "m0")])
def test_search_understands_every_way_to_name_a_node(opened: Any, typed: str, found: str) -> None:
    page = opened.page
    page.get_by_role("searchbox", name="Find a node").fill(typed)
    if not found:  # this model has six layers
        page.get_by_text(f"No node matches “{typed}”").wait_for()
        return
    page.keyboard.press("Enter")
    _wait_pins(page, found)


def test_a_ghost_marks_what_only_the_other_circuit_has(visit: Any, address: str, look: tuple[str, int]) -> None:
    page = visit(f"{address}/?edges=24", *look).page
    page.wait_for_selector(f"{RIGHT} .hap-nodes rect", state="attached", timeout=90_000)
    kept = (
        "(panel) => [...document.querySelectorAll(`${panel} .hap-nodes rect`)].map((r) => [r.dataset.id,"
        " r.getAttribute('aria-label')])"
    )
    for panel, other in ((LEFT, "only in HAP"), (RIGHT, "only in EAP")):
        ghosts = [node for node, label in page.evaluate(kept, panel) if other in label]
        assert ghosts  # each can be reached by the keyboard where it is missing, too
        page.locator(f'{panel} .hap-nodes rect[data-id="{ghosts[0]}"]').focus()
        page.locator(f"{panel}.hap-dim .hap-lit rect").first.wait_for()


def test_keyboard_walks_and_pins(opened: Any) -> None:
    page = opened.page
    page.locator(f'{LEFT} .hap-nodes rect[tabindex="0"]').focus()
    page.keyboard.press("ArrowUp")
    name = page.evaluate("() => document.activeElement.getAttribute('aria-label')")
    node = page.evaluate("() => document.activeElement.dataset.id")
    assert name
    page.keyboard.press("Enter")
    _wait_pins(page, node)
    page.get_by_role("button", name="Clear", exact=True).click()
    _wait_pins(page, "none")


def test_python_can_pin(opened: Any) -> None:
    page = opened.page
    page.get_by_role("button", name="pin from Python").click()
    _wait_pins(page, "m0")
    page.locator('.hap-pins [data-unpin="m0"]').wait_for()
    page.locator('.hap-pins [data-unpin="m0"]').click()
    _wait_pins(page, "none")


def test_a_message_that_finds_the_view_off_the_page(opened: Any) -> None:
    """A page may be taken down while a message is on its way: no styles can be read then."""
    page = opened.page
    page.evaluate("""() => {
        const view = document.querySelector('.hap');
        window.place = [view, view.parentElement];
        view.remove();
    }""")
    page.get_by_role("button", name="pin from Python").click()
    page.wait_for_function("() => window.place[0].querySelector('[data-unpin=m0]')", timeout=90_000)
    page.evaluate("() => window.place[1].append(window.place[0])")
    page.locator('.hap-pins [data-unpin="m0"]').click()
    _wait_pins(page, "none")
    assert opened.errors == []


def test_overlay_and_full_screen(opened: Any) -> None:
    page = opened.page
    page.get_by_role("button", name="Overlay").click()
    page.locator(RIGHT).wait_for(state="hidden")
    page.locator(f"{LEFT} .hap-title", has_text="EAP and HAP, overlaid").wait_for()
    page.mouse.move(*_centre(page, _middle_node(page)))
    page.mouse.wheel(0, -300)
    page.wait_for_timeout(700)
    page.get_by_role("button", name="Side by side").click()
    page.locator(RIGHT).wait_for(state="visible")
    page.wait_for_timeout(500)
    left, right = page.evaluate(RANGES)
    assert left == right
    page.locator(f"{LEFT} .hap-full").click()
    page.wait_for_function("() => document.fullscreenElement?.dataset.side === 'left'")
    page.keyboard.press("Escape")
    page.evaluate("() => document.fullscreenElement && document.exitFullscreen()")


def test_theme_changes_without_a_remount(opened: Any, look: tuple[str, int]) -> None:
    page, scheme = opened.page, look[0]
    paper = "() => document.querySelector('.hap-plot')._fullLayout.font.color"
    page.evaluate("() => (document.querySelector('.hap-plot').marked = true)")
    before = page.evaluate(paper)
    page.emulate_media(color_scheme="dark" if scheme == "light" else "light")
    page.wait_for_function(f"(before) => ({paper})() !== before", arg=before)
    assert page.evaluate("() => document.querySelector('.hap-plot').marked")
    page.emulate_media(color_scheme=scheme)


def test_rings_keep_their_distance_when_the_window_grows(opened: Any, look: tuple[str, int]) -> None:
    page = opened.page
    page.wait_for_selector(f"{LEFT} .nsewdrag", timeout=90_000)
    ring = """() => document.querySelector('.hap-plot').data
        .filter(({ name }) => `${name}`.startsWith('S-inhibition')).flatMap(({ x }) => x).join()"""
    before = page.evaluate(ring)
    page.set_viewport_size({"width": look[1] + 400, "height": 1000})
    page.wait_for_function(f"(before) => ({ring})() !== before", arg=before)
    page.set_viewport_size({"width": look[1], "height": 1000})
    page.wait_for_function(f"(before) => ({ring})() === before", arg=before)


def test_plotly_arrived_once(opened: Any) -> None:
    page = opened.page
    page.mouse.click(*_centre(page, _middle_node(page)))
    page.wait_for_timeout(500)
    files = [url for url in opened.requests if "/media/" in url and "/static/" not in url]
    assert len(files) == 1
    assert max(opened.frames) < 1_000_000
