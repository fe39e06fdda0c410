"""A run whose edges act at spans of the sentence: from a click to its picture, and what the picture shows."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hap_engine.graph.circuit import Circuit
from hap_engine.picture.standalone import standalone
from hap_engine.report.every_size import circuit_at
from hap_engine.runs.record import Run
from tests.browser.conftest import ROOT, choose
from tests.builders.span_runs import SPANS, span_run

pytestmark = pytest.mark.browser
AXE = ROOT / "tests" / "vendor" / "axe" / "axe.min.js"
FIND = """async () => (await axe.run(
        { include: [['.hap-panels'], ['.hap-bar'], ['.hap-roles']] }, { resultTypes: ['violations'] })).violations
    .map(({ id, nodes }) => `${id}: ${nodes.map((n) => n.html.slice(0, 160)).join(' | ')}`)"""
BOXES = """(side) => [...document.querySelectorAll(`.hap-panel[data-side=${side}] .hap-head-box`)]
    .filter((box) => !box.querySelector('rect').getAttribute('stroke-dasharray')).map((box) => box.dataset.at)"""
STRUCK = """(side) => [...document.querySelectorAll(`.hap-panel[data-side=${side}] .hap-head-box`)]
    .filter((box) => box.querySelector('rect').getAttribute('stroke-dasharray'))
    .map((box) => [box.dataset.at, /h[\\d.]+$/.test(box.querySelector('path').getAttribute('d'))])"""
OVERLAPS = """() => [...document.querySelectorAll('.hap-sentence')].flatMap((svg) => {
    const texts = [...svg.querySelectorAll('text')].map((text) => [text.textContent, text.getBoundingClientRect()]);
    return texts.flatMap(([one, a], i) => texts.slice(i + 1).filter(([, b]) =>
        a.left < b.right - 0.5 && b.left < a.right - 0.5 && a.top < b.bottom - 2 && b.top < a.bottom - 2)
        .map(([other]) => `${one} | ${other}`));
})"""
# From now on count the pictures that stand on the page at one time.
COUNT = """() => {
    window.most = 0;
    const count = () => { window.most = Math.max(window.most, document.querySelectorAll('.hap-panels').length); };
    new MutationObserver(count).observe(document.body, { childList: true, subtree: true });
}"""
# The size slider moves to a size: how long the page takes to draw it (milliseconds).
MOVED = """async (size) => {
    const input = document.querySelector('.hap-sizes input');
    input.value = -Math.log(size);
    const start = performance.now();
    input.dispatchEvent(new Event('input'));
    await new Promise(requestAnimationFrame);
    return performance.now() - start;
}"""


def test_a_positional_run_is_found_by_clicks_and_drawn_at_the_spans(serve: Any, visit: Any) -> None:
    page = visit(f"{serve(ROOT / 'app' / 'main.py', fresh=True)}/?new=1&effort=quick&kept=1.0").page
    page.get_by_text("Advanced", exact=True).click()
    where = page.get_by_role("combobox", name="Where edges act")
    choose(where, page.get_by_role("option", name=re.compile("^at tokens")))
    page.wait_for_function("(input) => input.value.startsWith('at tokens')", arg=where.element_handle())
    page.wait_for_selector(".stApp[data-test-script-state=notRunning]")
    page.evaluate(COUNT)
    page.get_by_role("button", name="Find the circuit").click()
    page.get_by_text("Computed on this machine").wait_for(timeout=400_000)
    page.locator('.hap-panel[data-side=right] .hap-token text:text-is("S1+1")').wait_for()
    assert page.evaluate("window.most") == 1  # that of the run in progress leaves before the result comes
    assert page.get_by_role("button", name="At the spans").get_attribute("aria-pressed") == "true"
    names = page.locator(".hap-panel[data-side=left] .hap-token .hap-met").all_text_contents()
    assert {"IO", "S1", "S1+1", "S2", "END"} < {*names}
    assert names[-1] == "END"
    boxes = page.evaluate(BOXES, "right")
    assert boxes
    assert {box.partition("@")[2] for box in boxes} <= {*names}
    page.locator(".hap-bar").get_by_role("button", name="Edges", exact=True).click()
    page.locator(".hap-panel[data-side=right] .hap-edges path").first.wait_for(state="attached")
    title = page.locator(".hap-panel[data-side=right] .hap-title")
    title.filter(has_text=re.compile(r"HAP · 8\d edges")).wait_for()  # 1 % of those at spans; without spans it is 15


@pytest.fixture(scope="module")
def run() -> Run:
    return span_run()


@pytest.fixture
def page(chromium: Any) -> Iterator[Any]:
    context = chromium.new_context(viewport={"width": 1440, "height": 1000}, bypass_csp=True)  # axe is a script
    page = context.new_page()
    said: list[str] = []
    page.on("pageerror", lambda error: said.append(str(error)))
    yield page
    context.close()
    assert said == []


def show(page: Any, run: Run, folder: Path) -> None:
    path = folder / "page.html"
    path.write_text(standalone(run, *run.sides, view="sentence"), encoding="utf-8")
    page.goto(path.as_uri())
    page.wait_for_selector(".hap-panel[data-side=right] .hap-head-box")


def at_spans(run: Run, circuit: Circuit) -> set[str]:
    """Where the outputs of the heads with a role and of MLPs are read."""
    drawn = {*run.roles["heads"], *(writer.name for writer in run.graph.writers if writer.kind == "mlp")}
    return {f"{w.name}@{SPANS[r.span].name}" for w, r in circuit.edges() if w.name in drawn}


def test_a_box_stands_at_each_span_at_which_a_head_is_read(page: Any, run: Run, tmp_path: Path) -> None:
    show(page, run, tmp_path)
    eap, hap = (at_spans(run, run.circuits[side].circuit) for side in run.sides)
    assert {*page.evaluate(BOXES, "left")} == eap
    assert {*page.evaluate(BOXES, "right")} == hap
    level = set()
    for side, own, other in (("left", eap, hap), ("right", hap, eap)):
        kept = {box.partition("@")[0] for box in own}
        struck = dict(page.evaluate(STRUCK, side))
        assert struck == {box: box.partition("@")[0] in kept for box in other - own}
        level |= {*struck.values()}
    assert level == {True, False}  # kept, but not there; not kept
    page.get_by_role("button", name="Overlay").click()
    assert {*page.evaluate(BOXES, "left")} == eap | hap
    assert not page.evaluate(STRUCK, "left")
    assert page.locator(".hap-panel:visible").count() == 1


def test_the_slider_moves_the_boxes_and_no_row(page: Any, run: Run, tmp_path: Path) -> None:
    show(page, run, tmp_path)
    picture = page.locator(".hap-panel[data-side=right] .hap-sentence")
    row = page.locator(".hap-panel[data-side=right] .hap-head-box text").first

    def placed() -> tuple[float, float]:
        around = picture.bounding_box()
        return around["height"], row.bounding_box()["y"] - around["y"]

    before = placed()
    for size in (run.sizes["grid"][-2], run.sizes["grid"][-3], 400, len(run.circuits["hap"].circuit)):
        page.evaluate(MOVED, size)
        for side, method in (("left", "eap"), ("right", "hap")):
            assert {*page.evaluate(BOXES, side)} == at_spans(run, circuit_at(run, method, size)), size
        assert placed() == pytest.approx(before, abs=1)
        page.locator(".hap-sizes input").dispatch_event("change")


def test_a_thousand_edges_move_at_the_pace_of_a_hand(page: Any, tmp_path: Path) -> None:
    run = span_run(layers=8, edges=1000)
    show(page, run, tmp_path)
    times = [page.evaluate(MOVED, size) for size in (990, 900, 950, 800, 999, 700)]
    assert min(times) < 100, times


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1440, 700])
def test_no_two_labels_overlap(page: Any, run: Run, tmp_path: Path, width: int, scheme: str) -> None:
    page.emulate_media(color_scheme=scheme)
    page.set_viewport_size({"width": width, "height": 1000})
    show(page, run, tmp_path)
    page.add_script_tag(path=str(AXE))
    for way in ("Side by side", "Overlay"):
        page.get_by_role("button", name=way).click()
        assert page.evaluate(OVERLAPS) == [], way
        assert page.evaluate(FIND) == [], way
        panels = page.locator(".hap-panels")
        wide, inner = (panels.evaluate(f"(panels) => panels.{size}") for size in ("scrollWidth", "clientWidth"))
        assert wide <= inner


def test_a_box_is_pinned_walked_to_and_told_where_it_acts(page: Any, run: Run, tmp_path: Path) -> None:
    show(page, run, tmp_path)
    head = next(
        head for head in run.roles["heads"] if any(box.startswith(head) for box in page.evaluate(BOXES, "right"))
    )
    box = next(box for box in page.evaluate(BOXES, "right") if box.startswith(f"{head}@"))
    page.locator(f'.hap-panel[data-side=right] [data-at="{box}"]').focus()
    assert f"At {box.partition('@')[2]}: " in page.locator(".hap-status").text_content()
    page.keyboard.press("Enter")
    assert page.locator("[data-unpin]").all_inner_texts() == [head]
    assert page.evaluate("document.activeElement.dataset.at") == box
    page.keyboard.press("ArrowUp")
    assert page.evaluate("document.activeElement.dataset.at") != box
    drawer = page.locator(".hap-drawer")
    shown = [SPANS[r.span].name for w, r in run.circuits["hap"].circuit.edges() if w.name == head]
    places = ", ".join(span.name for span in SPANS if span.name in shown)
    drawer.get_by_text(f"HAP: {places}").wait_for()
    columns = drawer.locator(".hap-between thead th").all_inner_texts()
    rows = drawer.locator(".hap-between tbody tr").all_inner_texts()
    assert {*shown} <= {*columns}
    numbers = [line.split()[1:] for line in rows]
    for place, name in enumerate(columns):
        assert sum(float(row[place]) for row in numbers) == pytest.approx(1, abs=0.05), name


def test_the_picture_at_the_spans_is_saved_as_svg(page: Any, run: Run, tmp_path: Path) -> None:
    show(page, run, tmp_path)
    with page.expect_download() as download:
        page.locator('.hap-panel[data-side=right] [data-do="save"]').click()
    text = download.value.path().read_text(encoding="utf-8")
    assert text.startswith("<svg")
    for box in at_spans(run, run.circuits["hap"].circuit):
        assert f'data-at="{box}"' in text
    assert "unforgettable" in text
