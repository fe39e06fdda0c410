"""A run file whose every text would load a picture: the browser asks for nothing outside, on any page or export."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from app.export.handout import handout
from app.export.svg import svg
from hap_engine.picture import scene
from hap_engine.picture.standalone import standalone
from tests.browser.conftest import NOTEBOOK, PATIENT, bring
from tests.builders.payloads import PAYLOAD, hostile_run

MAIN = Path(__file__).parents[2] / "app" / "main.py"
STRANGE = "[src*='elsewhere.example'], [href*='elsewhere.example']"


def test_every_page(serve: Callable[..., str], visit: Callable[..., Any], tmp_path: Path) -> None:
    address, run = serve(MAIN), hostile_run()
    seen = visit(address)
    page = seen.page
    bring(page, run, tmp_path)
    page.get_by_text("It is in the list below").wait_for(timeout=PATIENT)
    for place in (f"?run={run.id}&ask=numbers", f"runs?do={PAYLOAD}", f"compare?run={run.id}", f"?run={PAYLOAD}"):
        page.goto(f"{address}/{place}")
        page.locator("[data-testid=stApp][data-test-script-state=notRunning]").wait_for(timeout=PATIENT)
        page.wait_for_timeout(1500)  # images are asked for late
        assert page.locator(STRANGE).count() == 0, place
    seen.errors.clear()  # what is asserted of this visit is that nothing outside was asked for


@pytest.mark.parametrize("made", ["page", "handout", "picture", "notebook"])
def test_every_export(chromium: Any, tmp_path: Path, made: str) -> None:
    run = hostile_run()
    left, right = run.sides
    texts = {
        "page": ("a.html", standalone(run, left, right)),
        "handout": ("a.html", handout(run, left, right)),
        "picture": ("a.svg", svg(scene.build(run, left, right), "overlay")),
        "notebook": ("a.html", "<div id='output'></div>"),
    }
    name, text = texts[made]
    (tmp_path / name).write_text(text, encoding="utf-8")
    context = chromium.new_context()
    asked: list[str] = []
    page = context.new_page()
    page.on("request", lambda request: asked.append(request.url))
    said: list[str] = []
    page.on("pageerror", lambda error: said.append(str(error)))
    page.goto((tmp_path / name).as_uri())
    if made == "notebook":
        page.evaluate(NOTEBOOK, run._repr_html_())
        page.frame_locator("iframe").locator(".hap-plot svg").first.wait_for(timeout=PATIENT)
    if made == "page":
        page.locator(".hap-plot svg").first.wait_for(timeout=PATIENT)
    page.wait_for_timeout(1000)
    assert [url for url in asked if not url.startswith(("file:", "data:", "blob:", "about:"))] == []
    assert said == []
    assert page.locator(STRANGE).count() == 0
    context.close()
