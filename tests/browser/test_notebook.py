"""A shown run in a real browser, as a notebook sets it: it answers, follows the theme and asks for nothing."""

from __future__ import annotations

from typing import Any

import pytest

import hap_engine as hap
from tests.browser.conftest import NOTEBOOK, PATIENT

pytestmark = pytest.mark.browser
THEMES = {"light": ("#ffffff", "#111111"), "dark": ("#111111", "#eeeeee")}


@pytest.mark.parametrize("theme", list(THEMES))
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_hover_and_click_work_in_the_notebooks_theme(chromium: Any, scheme: str, theme: str) -> None:
    context = chromium.new_context(color_scheme=scheme, viewport={"width": 1100, "height": 1300})
    page = context.new_page()
    said: list[str] = []
    asked: list[str] = []
    page.on("console", lambda message: message.type == "error" and said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    background, text = THEMES[theme]
    page.set_content(f"<body style='background: {background}; color: {text}'><div id='output'></div></body>")
    page.evaluate(NOTEBOOK, hap.example("hap-mini")._repr_html_())
    frame = page.frame_locator("iframe")
    frame.locator(".hap-panel[data-side=right] .nsewdrag").wait_for(timeout=PATIENT)
    dark = frame.locator("body").evaluate("(body) => getComputedStyle(body).backgroundColor") == "rgb(15, 20, 27)"
    assert dark == (theme == "dark")

    head = frame.locator(".hap-panel[data-side=left] [data-id='a3.h0']")
    box = head.bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    for side in ("left", "right"):
        panel = frame.locator(f".hap-panel[data-side={side}].hap-dim")
        panel.wait_for()
        assert panel.locator(".hap-lit rect").count() >= 2
    page.mouse.down()
    page.mouse.up()
    frame.get_by_role("button", name="Head 3.0, Name mover: unpin").wait_for()
    frame.get_by_role("button", name="By role").click()
    frame.locator(".hap-folded").first.wait_for()
    assert frame.get_by_role("heading", name="How close is each circuit to the whole model?").is_visible()
    with page.expect_download() as saved:
        frame.get_by_role("button", name="Edges", exact=True).first.click()
        frame.get_by_role("button", name="Save as SVG").first.click()
    assert saved.value.suggested_filename == "circuit.svg"
    assert [url for url in asked if not url.startswith(("blob:", "data:", "about:"))] == []
    assert said == []
    context.close()
