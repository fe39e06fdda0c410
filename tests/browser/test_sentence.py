"""The circuit on the sentence in a real browser: no two labels overlap, missed heads are struck out, it answers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hap_engine.picture.finding import finding
from hap_engine.picture.palette import role
from hap_engine.picture.scene import targets
from hap_engine.picture.standalone import standalone
from hap_engine.report.every_size import circuit_at
from hap_engine.report.token_places import on_sentence
from hap_engine.runs.record import Run
from hap_engine.runs.run_file import load

pytestmark = pytest.mark.browser
RUNS = sorted((Path(__file__).parents[2] / "assets" / "runs").glob("*.json"))
PATIENT = 180_000
SIZES = [(1280, 720), (1440, 900), (390, 844)]
OVERLAPS = """() => [...document.querySelectorAll('.hap-sentence')].flatMap((svg) => {
    const texts = [...svg.querySelectorAll('text')].map((text) => [text.textContent, text.getBoundingClientRect()])
        .filter(([, { width }]) => width);
    return texts.flatMap(([one, a], i) => texts.slice(i + 1).filter(([, b]) =>
        a.left < b.right - 0.5 && b.left < a.right - 0.5 && a.top < b.bottom - 2 && b.top < a.bottom - 2)
        .map(([other]) => `${one} | ${other}`));
})"""
OUTSIDE = """() => [...document.querySelectorAll('.hap-head-box')].filter((group) => {
    const box = group.querySelector('rect').getBoundingClientRect(), text = group.querySelector('text').getBoundingClientRect();
    return text.width && (text.left < box.left || text.right > box.right || text.top < box.top - 2 || text.bottom > box.bottom + 2);
}).map((group) => group.dataset.id)"""  # noqa: E501
STRUCK = """(side) => [...document.querySelectorAll(`.hap-panel[data-side=${side}] .hap-head-box`)]
    .filter((group) => group.querySelector('rect').getAttribute('stroke-dasharray')).map((group) => group.dataset.id)"""


@pytest.fixture(scope="module")
def ioi() -> Run:
    return next(run for run in map(load, RUNS) if run.task["name"] == "ioi" and run.graph.n_layers > 8)


@pytest.fixture
def page(chromium: Any) -> Iterator[Any]:
    context = chromium.new_context()
    page = context.new_page()
    said: list[str] = []
    page.on("pageerror", lambda error: said.append(str(error)))
    yield page
    context.close()
    assert said == []


def show(page: Any, run: Run, tmp_path: Path, view: str = "sentence") -> None:
    path = tmp_path / "page.html"
    path.write_text(standalone(run, *run.sides, view=view, strongest=60), encoding="utf-8")
    page.goto(path.as_uri(), timeout=PATIENT)
    page.wait_for_selector(".hap-head-box" if run.attention and view != "pair" else ".nsewdrag", timeout=PATIENT)


@pytest.mark.parametrize("path", RUNS, ids=lambda path: path.stem)
def test_no_two_labels_overlap_and_each_stands_in_its_box(page: Any, tmp_path: Path, path: Path) -> None:
    run = load(path)
    for width, height in SIZES:
        page.set_viewport_size({"width": width, "height": height})
        for view in ("sentence", "together"):
            show(page, run, tmp_path, view)
            assert page.evaluate(OVERLAPS) == [], (width, view)
            assert page.evaluate(OUTSIDE) == [], (width, view)
            shown = page.locator(".hap-panels")
            wide, inner = (shown.evaluate(f"(panels) => panels.{size}") for size in ("scrollWidth", "clientWidth"))
            assert wide <= inner


def test_heads_that_a_circuit_lacks_are_struck_out(page: Any, ioi: Run, tmp_path: Path) -> None:
    show(page, ioi, tmp_path)
    named = set(ioi.roles["heads"])
    eap, hap = (ioi.circuits[side].circuit.heads & named for side in ioi.sides)
    assert set(page.evaluate(STRUCK, "left")) == hap - eap != set()
    assert set(page.evaluate(STRUCK, "right")) == eap - hap != set()
    shown = page.locator(".hap-panel[data-side=left] .hap-head-box").count()
    assert shown == len(eap | hap)
    for side, method in zip(("left", "right"), ioi.sides, strict=True):  # of the whole circuit
        told = page.locator(f".hap-panel[data-side={side}] .hap-measure").text_content()
        assert told == f"faithfulness {ioi.metrics[method]['faithfulness']:.2f}"
    page.get_by_role("button", name="Overlay").click()
    assert page.evaluate(STRUCK, "left") == []
    assert page.locator(".hap-panel:visible").count() == 1


def test_a_head_is_pinned_by_click_and_by_keyboard_and_a_pin_without_role_joins(
    page: Any, ioi: Run, tmp_path: Path
) -> None:
    show(page, ioi, tmp_path)
    head = page.locator('.hap-panel[data-side=right] [data-id="a20.h0"]')
    head.click()
    assert page.locator("[data-unpin]").all_inner_texts() == ["a20.h0"]
    head.focus()
    page.keyboard.press("ArrowDown")
    assert page.evaluate("document.activeElement.dataset.id") == "a19.h2"
    assert "it attends to “Jim” (S2)" in page.locator(".hap-status").text_content()
    page.keyboard.press("Enter")
    assert page.locator("[data-unpin]").count() == 2
    assert page.evaluate("document.activeElement.dataset.id") == "a19.h2"
    placed = {look.head for look in on_prompt(ioi)}
    other = sorted(placed & ioi.circuits["hap"].circuit.heads - set(ioi.roles["heads"]))[0]
    page.get_by_role("searchbox", name="Find a node").fill(other)
    page.keyboard.press("Enter")
    page.locator(f'.hap-panel[data-side=right] .hap-head-box[data-id="{other}"]').wait_for(timeout=90_000)
    assert page.evaluate(OVERLAPS) == []


LETTERS = """() => [...document.querySelectorAll('.hap-panel')].flatMap((panel) => {
    const inside = (a, b) => a.left > b.left - 1 && a.right < b.right + 1 && a.top > b.top - 3 && a.bottom < b.bottom + 3;
    const texts = [...panel.querySelectorAll('.textpoint text')].map((text) => [text.textContent, text.getBoundingClientRect()]);
    return [...panel.querySelectorAll('.hap-nodes rect')].map((rect) => {
        const box = rect.getBoundingClientRect();
        return [rect.dataset.id, texts.filter(([, at]) => inside(at, box)).map(([text]) => text)];
    });
})"""  # noqa: E501


@pytest.mark.parametrize("width", [1280, 1440])
def test_role_letters_stand_in_the_box_of_their_own_head(page: Any, ioi: Run, tmp_path: Path, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 900})
    show(page, ioi, tmp_path, "pair")
    named = {head: role(record["role"]).mark for head, record in ioi.roles["heads"].items()}  # type: ignore[union-attr]
    written = page.evaluate(LETTERS)
    heads = [(head, texts) for head, texts in written if head.startswith("a")]
    assert all(len(texts) == 1 for head, texts in heads if head in named)
    for head, texts in heads:
        for text in texts:
            assert (
                text in (named[head], f"{named[head]} {head[1:].replace('.h', '.')}") if head in named else "." in text
            )
    legend = page.locator(".hap-roles").text_content()
    assert all(label in legend for label in ("S-inhibition", "Negative name mover", "Previous token", "Induction"))


def test_edges_open_with_the_strongest_and_the_lane_of_mlps_closed(page: Any, ioi: Run, tmp_path: Path) -> None:
    show(page, ioi, tmp_path, "pair")
    title = page.locator(".hap-panel[data-side=right] .hap-title")
    assert "60 shown" in title.text_content()
    mlp = page.locator(".hap-panel[data-side=right] .hap-nodes [data-id^=m]")
    assert mlp.count() == 0
    page.get_by_role("button", name="MLPs").click()
    assert mlp.count() > 20
    page.get_by_role("button", name="Only what differs").click()
    assert page.locator('.hap-edges path[data-status="both"]').count() == 0
    page.get_by_role("button", name="Only what differs").click()
    ways = page.get_by_role("button", name="Paths to the logits")
    assert ways.is_disabled()
    page.locator('.hap-panel[data-side=right] .hap-nodes [data-id="a23.h0"]').focus()
    page.keyboard.press("Enter")
    ways.click()
    reached, kept = {"a23.h0"}, ioi.circuits["hap"].circuit.names()
    readers = {reader.name: reader for reader in ioi.graph.readers}
    for writer, reader in kept:  # names stand in the order of the writers
        if writer in reached:
            reached.update(targets(ioi.graph, readers[reader]))
    assert f"{sum(writer in reached for writer, _ in kept)} shown" in title.text_content()


def test_the_search_opens_with_a_slash_and_its_example_exists(page: Any, ioi: Run, tmp_path: Path) -> None:
    show(page, ioi, tmp_path)
    search = page.get_by_role("searchbox", name="Find a node")
    shown, label = search.get_attribute("placeholder").removeprefix("Find ").split(", ")
    head = "a" + shown.replace(".", ".h")
    found = role(ioi.roles["heads"][head]["role"])
    assert found is not None
    assert found.label == label
    page.evaluate(
        "document.querySelector('.hap').append(Object.assign(document.createElement('input'), {type: 'radio'}))"
    )
    page.locator(".hap input[type=radio]").focus()
    page.keyboard.press("/")
    assert search.evaluate("(one) => one === document.activeElement")


def on_prompt(run: Run) -> Any:
    found = on_sentence(run, *run.sides)
    assert found is not None
    return found.prompts[0].looks


def test_the_drawer_says_why_a_head_was_missed_as_the_report_does_and_follows_the_size(
    page: Any, ioi: Run, tmp_path: Path
) -> None:
    show(page, ioi, tmp_path)
    dropped, drawer = finding(ioi, *ioi.sides)["dropped"], page.locator(".hap-drawer")
    dead = next(head for head, told in dropped.items() if "this edge among them" in told)
    page.get_by_role("searchbox", name="Find a node").fill(dead)
    page.keyboard.press("Enter")
    drawer.get_by_text("Why EAP misses it").wait_for(timeout=90_000)
    assert drawer.locator("h3", has_text="Why EAP misses it").locator("+ p").inner_text() == dropped[dead]
    page.locator(".hap-sizes input").focus()
    page.keyboard.press("ArrowLeft")  # a looser size, at which the sentence above does not hold
    page.wait_for_function(
        "(told) => !document.querySelector('.hap-drawer').innerText.includes(told)", arg=dropped[dead]
    )
    least = ioi.orders["eap"].nodes[dead]  # of EAP's circuits that keep it
    for _ in range(3):
        size = int(page.locator(".hap-sizes output").inner_text().split(" ")[0].replace(",", ""))
        missed = drawer.locator(".hap-badge", has_text="not kept by EAP").count() > 0
        assert missed == (size < least), size
        own = size == len(ioi.circuits["hap"].circuit)
        why = dropped[dead] if own else f"keeps it in its circuits of {least:,} edges"
        assert (why in drawer.inner_text()) == (missed and dead in circuit_at(ioi, "hap", size).heads), size
        page.keyboard.press("ArrowRight")


def test_the_drawer_shows_stored_words_without_weights(page: Any, ioi: Run, tmp_path: Path) -> None:
    show(page, ioi, tmp_path)
    told = finding(ioi, *ioi.sides)["promoted"]
    nothing = next(node for node, ways in told.items() if not any(ways.values()) and node.startswith("a"))
    loud = max((node for node in told if node.startswith("a")), key=lambda node: len(told[node]["promotes"]))
    for node, words in ((loud, [word.strip() for word, _ in told[loud]["promotes"]]), (nothing, [])):
        page.get_by_role("searchbox", name="Find a node").fill(node)
        page.keyboard.press("Enter")
        page.locator(".hap-drawer h2", has_text=node[1:].replace(".h", ".")).wait_for(timeout=90_000)
        shown = page.locator(".hap-drawer h3:has-text('It promotes') + .hap-words span").all_inner_texts()
        assert [text.rsplit(" ", 1)[0] for text in shown] == words
        assert page.get_by_text("By itself it changes the probability of no next word").count() == (not words)


def test_a_run_without_attention_shows_its_edges_and_says_why(page: Any, ioi: Run, tmp_path: Path) -> None:
    show(page, replace(ioi, attention=[]), tmp_path)
    page.get_by_text("stores no attention between tokens").wait_for(timeout=90_000)
    assert page.get_by_role("button", name="On the sentence").is_hidden()
    assert page.locator(".hap").get_attribute("data-view") == "pair"
