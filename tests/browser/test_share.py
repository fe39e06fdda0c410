"""Keep and share in a real browser: names, links, downloads, the page that needs no server, the lesson."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from app.export.handout import handout
from hap_engine.graph.graph import Graph
from hap_engine.picture.standalone import standalone
from hap_engine.runs.examples import SHIPPED, example
from hap_engine.runs.record import Run
from hap_engine.runs.run_file import load
from tests.browser.conftest import LOOKS, PATIENT, bring, press
from tests.builders.fakes import fake_run

pytestmark = pytest.mark.browser
MAIN = Path(__file__).parents[2] / "app" / "main.py"
PLOT = ".hap-head-box, .nsewdrag"
MINI = example("hap-mini").id
ENLARGED = "() => getComputedStyle(document.documentElement).fontSize === '21px'"


@pytest.fixture(scope="module")
def address(serve: Callable[[Path], str]) -> str:
    return serve(MAIN)


@pytest.fixture
def mini() -> Run:
    return example("hap-mini")


@pytest.fixture
def tab(request: pytest.FixtureRequest, chromium: Any, address: str) -> Iterator[Any]:
    """A page of its own browser context, already on the explorer; `LOOKS` may choose how it looks."""
    scheme, width = getattr(request, "param", LOOKS[0])
    context = chromium.new_context(viewport={"width": width, "height": 1000}, color_scheme=scheme)
    page = context.new_page()
    page.goto(address)
    page.wait_for_selector(PLOT, timeout=PATIENT)  # the first script run has ended
    yield page
    context.close()


def test_import_rename_and_delete_a_run(tab: Any, tmp_path: Path) -> None:
    bring(tab, fake_run(seed=4), tmp_path)
    tab.get_by_text("It is in the list below").wait_for(timeout=PATIENT)
    card = tab.locator(".st-key-run-synthetic-4")
    card.get_by_role("button", name="Rename").click()
    card.get_by_role("textbox", name="New name").fill("Group <b>3</b>")
    card.get_by_role("button", name="Save the name").click()
    card.get_by_text("Group <b>3</b>").first.wait_for(timeout=PATIENT)
    card.get_by_role("button", name="Delete", exact=True).click()
    card.get_by_role("button", name="Keep it").click()
    card.get_by_text("This cannot be undone").wait_for(state="detached", timeout=PATIENT)
    card.get_by_role("button", name="Delete", exact=True).click()
    card.get_by_role("button", name="Delete it").click()
    tab.get_by_text("Deleted “Group <b>3</b>”").wait_for(timeout=PATIENT)
    card.wait_for(state="detached", timeout=PATIENT)  # the list is drawn after the message


def test_a_deleted_run_of_another_model_leads_back_to_the_example(tab: Any, address: str, tmp_path: Path) -> None:
    bring(tab, fake_run(seed=5), tmp_path)
    tab.get_by_text("It is in the list below").wait_for(timeout=PATIENT)
    tab.goto(f"{address}/?run=synthetic-5&pin=a1.h1&do=-a77.h7")
    tab.wait_for_selector(PLOT, timeout=PATIENT)
    tab.get_by_text("The changes in the address do not fit this run").wait_for(timeout=PATIENT)
    tab.get_by_text("Path of the weights").wait_for(timeout=PATIENT)  # nothing live without its model
    card = tab.locator(".st-key-run-synthetic-5")
    press(tab, tab.get_by_role("link", name="Runs"), card)
    card.get_by_role("button", name="Delete", exact=True).click(timeout=PATIENT)
    card.get_by_role("button", name="Delete it").click()
    card.wait_for(state="detached", timeout=PATIENT)
    tab.goto(f"{address}/?run=synthetic-5&pin=a1.h1&left=nothing")  # the bookmark
    tab.get_by_text("There is no run 'synthetic-5' on this machine").wait_for(timeout=PATIENT)
    tab.get_by_role("button", name="Show the example").click()
    tab.wait_for_selector(PLOT, timeout=PATIENT)


def test_two_tabs_that_rename_one_run_are_told(tab: Any, tmp_path: Path) -> None:
    bring(tab, fake_run(seed=6), tmp_path)
    tab.get_by_text("It is in the list below").wait_for(timeout=PATIENT)
    other = tab.context.new_page()
    other.goto(tab.url)
    for page, name in ((tab, ""), (other, ""), (tab, "first"), (other, "second")):
        card = page.locator(".st-key-run-synthetic-6")
        if not name:  # both open the form before either saves
            card.get_by_role("button", name="Rename").click(timeout=PATIENT)
            continue
        card.get_by_role("textbox", name="New name").fill(name)
        card.get_by_role("button", name="Save the name").click()
        page.get_by_text("first").first.wait_for(timeout=PATIENT)
    other.get_by_text("in another tab meanwhile").wait_for(timeout=PATIENT)


def test_a_damaged_file_is_refused_in_words(tab: Any, tmp_path: Path) -> None:
    path = tmp_path / "bad.json"
    path.write_text('{"format": "hap-run", "version": 1, "id": 5}')
    importing = tab.get_by_text("Import a run file")
    press(tab, tab.get_by_role("link", name="Runs"), importing)
    importing.click(timeout=PATIENT)
    tab.locator("input[type=file]").set_input_files(path)
    tab.get_by_text("The file is damaged; export it again").wait_for(timeout=PATIENT)


def test_a_run_of_100_000_edges_gives_a_usable_page(tab: Any, tmp_path: Path) -> None:
    graph = Graph(36, 20, 20)
    run = fake_run(graph, edges=100_000, id="hundred-thousand")
    bring(tab, run, tmp_path)
    tab.get_by_text("It is in the list below").wait_for(timeout=PATIENT)
    tab.locator(".st-key-open-hundred-thousand button").first.click()
    tab.wait_for_selector(PLOT, timeout=180_000)
    tab.get_by_role("searchbox", name="Find a node").fill("mlp 7")
    tab.keyboard.press("Enter")
    tab.get_by_role("button", name="MLP 7: unpin").wait_for(timeout=PATIENT)


def test_a_link_shows_the_same_view_in_another_browser(chromium: Any, address: str) -> None:
    pinned = []
    for _ in range(2):
        context = chromium.new_context(viewport={"width": 1440, "height": 1000})
        page = context.new_page()
        page.goto(f"{address}/?run={MINI}&pin=a0.h3&pin=a3.h1&pin=a99.h9")
        page.wait_for_selector(PLOT, timeout=PATIENT)
        page.get_by_text("This link pins a99.h9").wait_for(timeout=PATIENT)
        page.locator("[data-unpin]").nth(1).wait_for(timeout=PATIENT)
        pinned.append(page.locator("[data-unpin]").all_inner_texts())
        context.close()
    assert pinned[0] == pinned[1] == ["a0.h3", "a3.h1"]


def test_pictures_and_tables_are_saved(tab: Any, address: str, tmp_path: Path) -> None:
    tab.goto(f"{address}/?run={MINI}")
    tab.get_by_text("Share and export").click(timeout=PATIENT)
    starts = {"PNG": b"\x89PNG", "SVG": b"<svg"}
    for kind, start in starts.items():
        with tab.expect_download(timeout=PATIENT) as got:
            tab.get_by_role("button", name=f"Save as {kind}", exact=True).last.click(timeout=PATIENT)
        got.value.save_as(tmp_path / kind)
        assert (tmp_path / kind).read_bytes().startswith(start)
    tab.get_by_role("tab", name="Data").click()
    with tab.expect_download(timeout=PATIENT) as got:
        tab.get_by_role("button", name="Edges (CSV)").click()
    got.value.save_as(tmp_path / "edges.csv")
    assert (tmp_path / "edges.csv").read_text().startswith("writer,reader,")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_interactive_page_works_alone(chromium: Any, mini: Run, tmp_path: Path, scheme: str) -> None:
    path = tmp_path / "page.html"
    path.write_text(standalone(mini, "eap", "hap", ["a3.h0"]), encoding="utf-8")
    context = chromium.new_context(color_scheme=scheme)
    page = context.new_page()
    said: list[str] = []
    asked: list[str] = []
    page.on("console", lambda message: message.type == "error" and said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    page.goto(path.as_uri())
    page.wait_for_selector(PLOT, timeout=PATIENT)
    assert page.locator("[data-unpin]").all_inner_texts() == ["a3.h0"]
    page.get_by_role("searchbox").fill("0.3")
    page.keyboard.press("Enter")
    page.locator("[data-unpin]").nth(1).wait_for()
    page.keyboard.press("Escape")
    assert page.locator("[data-unpin]").count() == 0
    assert [url for url in asked if not url.startswith(("file:", "blob:", "data:"))] == []
    assert said == []
    context.close()


def test_the_handout_is_one_sheet(chromium: Any, tmp_path: Path) -> None:
    for run in map(load, SHIPPED.glob("*.json")):
        path = tmp_path / f"{run.id}.html"
        path.write_text(handout(run, "eap", run.main), encoding="utf-8")
        page = chromium.new_page()
        page.goto(path.as_uri())
        printed = page.pdf(prefer_css_page_size=True)
        assert printed.count(b"/Type /Page\n") + printed.count(b"/Type /Page ") == 1
        page.close()


@pytest.mark.parametrize("tab", [LOOKS[0], ("dark", 1100)], indirect=True, ids=lambda look: look[0])
def test_the_lesson_asks_and_answers(tab: Any) -> None:
    start = tab.get_by_role("button", name="Start")
    press(tab, tab.get_by_role("link", name="Lesson"), start)
    start.click(timeout=PATIENT)
    tab.get_by_text("1. The task").wait_for(timeout=PATIENT)
    tab.wait_for_selector(".hap-panel[data-side=right] .nsewdrag", timeout=PATIENT)
    assert tab.locator(".hap-panel[data-side=left]").is_hidden()  # one picture at first
    tab.get_by_role("button", name="Next").click()
    tab.get_by_text("2. Clean and corrupted").wait_for(timeout=PATIENT)
    # By its words: under load the question of the step before is on the page a little longer.
    asked = tab.get_by_role("radiogroup", name=re.compile("replace everything by the corrupted run"))
    asked.locator("label").nth(1).click(timeout=PATIENT)
    tab.get_by_text("Between these two ends lies every circuit").wait_for(timeout=PATIENT)
    tab.locator(".stApp[data-test-script-state=notRunning]").wait_for(timeout=PATIENT)
    tab.locator("dfn").first.focus()
    tab.locator("dfn [role=tooltip]").first.wait_for(timeout=PATIENT)


@pytest.mark.parametrize("tab", [LOOKS[0], ("dark", 1100)], indirect=True, ids=lambda look: look[0])
def test_the_lesson_cuts_heads_and_is_taken_up_again(tab: Any, address: str) -> None:
    tab.goto(f"{address}/lesson?step=7")
    tab.get_by_role("button", name="and measure").click(timeout=PATIENT)
    tab.locator("[data-testid=stMetric]").nth(1).wait_for(timeout=240_000)
    tab.goto(f"{address}/lesson")
    tab.get_by_role("button", name="Go on at step 7").click(timeout=PATIENT)
    tab.get_by_text("7. Test it by ablation").wait_for(timeout=PATIENT)


def test_presenting_tells_the_story_and_sets_large_type_on_the_other_pages(tab: Any) -> None:
    tab.get_by_role("button", name="Present").first.click(timeout=PATIENT)
    tab.get_by_text("must say what comes next").wait_for(timeout=PATIENT)
    assert "present=1" in tab.url
    tab.keyboard.press("ArrowRight")
    tab.get_by_text("Its distance from the model").wait_for(timeout=PATIENT)
    tab.keyboard.press("Escape")
    tab.wait_for_function("() => !location.search.includes('present')", timeout=PATIENT)
    press(tab, tab.get_by_role("link", name="Runs"), tab.get_by_text("Every finished run"))
    tab.get_by_role("button", name="Present").first.click(timeout=PATIENT)
    tab.get_by_role("button", name="Normal type").first.wait_for(timeout=PATIENT)
    tab.wait_for_function(ENLARGED, timeout=PATIENT)
