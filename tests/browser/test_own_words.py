"""The reader's own words in a real browser: a named group is one box in every view, a note stays, slides get a film."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hap_engine.picture.standalone import standalone
from hap_engine.runs.examples import example
from hap_engine.settings import PruningConfig

pytestmark = pytest.mark.browser
MAIN = Path(__file__).parents[2] / "app" / "main.py"
PATIENT = 120_000
NAME = "who is repeated"
MEMBERS = ["a0.h0", "a0.h1", "a0.h3"]
RIGHT = ".hap-panel[data-side=right]"


@pytest.fixture
def page(chromium: Any, tmp_path: Path) -> Iterator[Any]:
    """hap-mini with a group and a note in its file."""
    words = {"version": 1, "heads": {"a3.h1": "writes the name"}, "groups": {NAME: MEMBERS}}
    run = replace(example("hap-mini"), notes=words)
    path = tmp_path / "page.html"
    path.write_text(standalone(run, *run.sides, view="sentence", strongest=60), encoding="utf-8")
    context = chromium.new_context(viewport={"width": 1440, "height": 900})
    page, said = context.new_page(), []
    page.on("pageerror", lambda error: said.append(str(error)))
    page.goto(path.as_uri(), timeout=PATIENT)
    page.wait_for_selector(".hap-head-box", timeout=PATIENT)
    yield page
    context.close()
    assert said == []


def view(page: Any, name: str) -> None:
    page.locator(".hap-controls").get_by_role("button", name=name, exact=True).click()


def test_a_group_is_one_box_in_every_view_and_comes_apart(page: Any) -> None:
    box = page.locator(f'{RIGHT} .hap-head-box[data-id="group:{NAME}"]')
    box.click()
    assert page.locator(f'{RIGHT} .hap-head-box[data-id^="a0"]').count() == 0
    view(page, "By role")
    page.locator(f'{RIGHT} [data-group="group:{NAME}"]').wait_for()
    assert page.locator(f'{RIGHT} [data-group="s_inhibition"]').count() == 0
    view(page, "Edges")
    page.locator(f'{RIGHT} .hap-nodes [data-id="group:{NAME}"]').wait_for(timeout=PATIENT)
    assert page.locator(f'{RIGHT} .hap-nodes [data-id^="a0"]').count() == 0
    assert page.locator(".hap-count").first.inner_text() == "EAP alone misses 2 heads that HAP keeps"
    page.get_by_role("button", name="Take the group apart").click()
    assert page.locator("[data-unpin]").all_inner_texts() == MEMBERS
    page.get_by_label("Name these 3 heads").fill("again")
    page.keyboard.press("Enter")
    assert page.locator("[data-unpin]").all_inner_texts() == ["again"]


def test_only_what_is_pinned_with_the_edges_among_it(page: Any) -> None:
    for head in (f"group:{NAME}", "a3.h1"):
        page.locator(f'{RIGHT} .hap-head-box[data-id="{head}"]').click()
    assert page.get_by_label("Your note on 3.1").input_value() == "writes the name"
    page.get_by_role("button", name="Only pinned").click()
    assert page.locator(f"{RIGHT} .hap-head-box").count() == 2
    view(page, "Edges")
    run = example("hap-mini")
    kept = [
        (writer, reader)
        for writer, reader in run.circuits["hap"].circuit.names()
        if writer in {"input", "a3.h1", *MEMBERS} and (reader == "logits" or reader.startswith(("a3.h1", *MEMBERS)))
    ]
    page.wait_for_function(f"() => document.querySelector('{RIGHT} .hap-title').textContent.includes(', {len(kept)} ')")
    page.get_by_role("button", name="Only pinned").click()
    page.wait_for_function(f"() => !document.querySelector('{RIGHT} .hap-title').textContent.includes('shown')")


def test_the_pruning_is_saved_as_a_film_for_slides(page: Any, tmp_path: Path) -> None:
    page.get_by_role("button", name="Replay pruning").click()
    with page.expect_download(timeout=PATIENT) as download:
        page.get_by_role("button", name="Save as animation").click()
    path = tmp_path / "pruning.svg"
    download.value.save_as(path)
    text = path.read_text(encoding="utf-8")
    assert "<script" not in text
    assert len(re.findall("<animate ", text)) > 10
    other = page.context.new_page()
    other.goto(path.as_uri())
    other.wait_for_function("() => document.documentElement.getCurrentTime() > 7")
    shown = other.evaluate(
        "() => [...document.querySelectorAll('text')].filter((t) => t.textContent.startsWith('step') "
        "&& getComputedStyle(t).opacity === '1').map((t) => t.textContent)"
    )
    steps = PruningConfig.steps
    assert shown == [f"step {steps} of {steps} · 30 edges open"]


def test_words_that_are_written_on_the_page_stand_in_the_address_and_in_the_run(serve: Any, visit: Any) -> None:
    address = serve(MAIN, fresh=True)
    run = example("hap-mini")
    page = visit(f"{address}/?run={run.id}&pin=a3.h0&pin=a3.h1").page
    note = page.get_by_label("Your note on 3.1")
    note.fill("gives the name: to the end", timeout=PATIENT)
    note.blur()
    page.wait_for_function("() => location.search.includes('note=a3.h1')", timeout=PATIENT)
    page.get_by_label("Name these 2 heads").fill("movers")
    page.keyboard.press("Enter")
    page.wait_for_function("() => location.search.includes('group=movers')", timeout=PATIENT)
    page.goto(f"{address}/?run={run.id}&pin=a3.h1")
    page.locator(f'{RIGHT} .hap-head-box[data-id="group:movers"]').wait_for(timeout=PATIENT)
