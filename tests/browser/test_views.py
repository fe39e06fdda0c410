"""Every way to look at the comparison, in a real browser: slider, roles, matrix, replay, tables, edges."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import pytest

from tests.browser.conftest import LOOKS

pytestmark = pytest.mark.browser
LEFT, RIGHT = (f".hap-panel[data-side={side}]" for side in ("left", "right"))
DRAWN = """(panel) => [...document.querySelectorAll(`${panel} .hap-edges path[data-edges]`)]
    .reduce((sum, path) => sum + Number(path.dataset.edges), 0)"""
PLACES = (
    "() => [...document.querySelectorAll('.hap-nodes rect')].map((r) => r.getAttribute('x') + ' ' +"
    " r.getAttribute('y')).join()"
)
SAID = "() => [...document.querySelectorAll('.hap-nodes [data-id]')].map((node) => node.getAttribute('aria-label'))"


@pytest.fixture(scope="module")
def address(serve: Any) -> str:
    return serve(Path(__file__).with_name("diagram_page.py"))


@pytest.fixture(scope="module", params=LOOKS, ids=lambda look: look[0])
def page(request: pytest.FixtureRequest, stay: Any, address: str) -> Any:
    page = stay(address, *request.param).page
    page.wait_for_selector(f"{RIGHT} .js-plotly-plot .nsewdrag", timeout=90_000)
    return page


@pytest.fixture(autouse=True)
def back(page: Any) -> Any:
    """Leave every test as the page was found."""
    yield
    page.get_by_role("button", name="Edges", exact=True).first.click()
    page.get_by_role("button", name="Clear", exact=True).click()
    page.get_by_text("pins: none", exact=True).wait_for(timeout=90_000)


def set_slider(page: Any, selector: str, value: int) -> None:
    page.locator(selector).evaluate(
        "(input, value) => { input.value = value; input.dispatchEvent(new Event('input')); "
        "input.dispatchEvent(new Event('change')); }",
        value,
    )


def test_the_slider_draws_the_strongest_edges_and_moves_nothing(page: Any) -> None:
    before, said = page.evaluate(PLACES).split(","), page.evaluate(SAID)
    assert page.evaluate(DRAWN, LEFT) == 90
    measure = page.locator(f"{LEFT} .hap-measure")
    assert re.search(r"faithfulness \d", measure.text_content())
    set_slider(page, ".hap-threshold input", 40)
    page.get_by_text("drawn: 20").wait_for(timeout=90_000)
    assert page.evaluate(DRAWN, LEFT) == page.evaluate(DRAWN, RIGHT) == 20
    assert "20 strongest edges" in page.locator(".hap-threshold output").text_content()
    assert "% of the circuit's" in measure.text_content()
    assert "faithfulness at this cut not measured" in measure.text_content()
    assert page.evaluate(PLACES).split(",") == before, "a head that is kept stays so, however few edges are drawn"
    assert page.evaluate(SAID) == said, "and is said to be kept"
    for side in (LEFT, RIGHT):
        outlined = page.locator(f"{side} .hap-nodes rect[stroke-dasharray]").count()
        set_slider(page, ".hap-threshold input", 10)
        page.get_by_text(re.compile("drawn: [1-9]")).wait_for(timeout=90_000)
        assert page.locator(f"{side} .hap-nodes rect[stroke-dasharray]").count() == outlined
    set_slider(page, ".hap-threshold input", 60)
    page.get_by_text("drawn: 0").wait_for(timeout=90_000)
    assert page.evaluate(DRAWN, LEFT) == 90


def test_a_legend_entry_hides_its_edges(page: Any) -> None:
    button = page.locator(f'{LEFT} .hap-legend [data-status="both"]')
    button.click()
    assert page.locator(f'{LEFT} .hap-edges path[data-status="both"]').count() == 0
    assert page.locator(f'{LEFT} .hap-legend [data-status="both"]').get_attribute("aria-pressed") == "false"
    page.locator(f'{LEFT} .hap-legend [data-status="both"]').click()
    assert page.evaluate(DRAWN, LEFT) == 90


def test_roles_fold_heads_and_pin_them(page: Any) -> None:
    page.get_by_role("button", name="By role").click()
    page.get_by_text("view: roles").wait_for(timeout=90_000)
    group = page.locator(f'{RIGHT} [data-group="s-inhibition"]')
    assert "S-inhibition heads" in group.get_attribute("aria-label")
    group.hover()
    assert page.locator(f"{RIGHT} .hap-bundle.hap-on").count() >= 1
    group.focus()
    page.keyboard.press("Enter")
    page.wait_for_function("() => /pins: a\\d/.test(document.body.innerText)")


def test_the_matrix_holds_every_edge_and_selects_one(page: Any) -> None:
    page.get_by_role("button", name="Matrix").click()
    canvas = page.locator(".hap-matrix")
    canvas.wait_for(state="visible")
    counted = [int(key.split("·")[1]) for key in page.locator(f"{LEFT} .hap-legend button").all_inner_texts()]
    assert f"Matrix of {sum(counted)} edges" in canvas.get_attribute("aria-label")
    assert min(counted) > 0
    box = canvas.bounding_box()
    found = False
    for step in range(400):  # walk over the picture until an edge is under the pointer
        x, y = (
            box["x"] + 60 + step % 20 * (box["width"] - 80) / 20,
            box["y"] + 20 + step // 20 * (box["height"] - 60) / 20,
        )
        page.mouse.move(x, y)
        if page.locator(f"{LEFT} .hap-tip").is_visible():
            page.mouse.click(x, y)
            found = True
            break
    assert found
    page.wait_for_function("() => /edge: \\S+ > /.test(document.body.innerText)")


def test_an_edge_is_hovered_and_selected_in_the_diagram(page: Any) -> None:
    spot = page.evaluate(
        """(panel) => { // the middle of an edge that nothing covers
          const over = document.querySelector(`${panel} .hap-plot`).getBoundingClientRect();
          for (let x = over.left + 40; x < over.right - 20; x += 4)
            for (let y = over.top + 20; y < over.bottom - 40; y += 6) {
              const point = { clientX: x, clientY: y, bubbles: true };
              document.querySelector(`${panel} .hap-plot`).dispatchEvent(new PointerEvent("pointermove", point));
              if (document.querySelector(`${panel} .hap-plot`).classList.contains("hap-points")) break;
            }
          return null;
        }""",
        LEFT,
    )
    assert spot is None
    area = page.locator(f"{LEFT} .hap-plot").bounding_box()
    for step in range(300):
        x, y = area["x"] + 60 + step * 37 % 300, area["y"] + 60 + step * 53 % 480
        page.mouse.move(x, y)
        page.wait_for_timeout(30)
        text = page.locator(f"{LEFT} .hap-tip").text_content()
        if page.locator(f"{LEFT} .hap-tip").is_visible() and "→" in text.split(",")[0]:
            page.mouse.click(x, y)
            break
    page.wait_for_function("() => /edge: \\S+ > /.test(document.body.innerText)")
    assert page.locator(f"{LEFT} .hap-lit-edges path").count() >= 1


def test_the_replay_shrinks_to_the_circuit(page: Any) -> None:
    page.get_by_role("button", name="Replay pruning").click()
    page.get_by_text(re.compile(r"step \d+ of 10")).wait_for(timeout=90_000)
    play = page.locator(".hap-replay [data-do=play]")
    if play.text_content() == "Pause":
        play.click()
    set_slider(page, ".hap-replay input", 0)
    page.wait_for_timeout(200)
    first = page.locator(f"{RIGHT} .hap-title").text_content()
    set_slider(page, ".hap-replay input", 9)
    page.get_by_text("step 10 of 10").wait_for()
    page.wait_for_timeout(200)
    assert page.evaluate(DRAWN, RIGHT) == 90
    assert page.locator(f"{RIGHT} .hap-title").text_content() != first
    page.get_by_role("button", name="Replay pruning").click()
    assert page.locator(".hap-replay").is_hidden()


def test_tables_sort_filter_and_are_tied_to_the_picture(page: Any) -> None:
    page.locator(".hap-tables summary").click()
    rows = page.locator(".hap-table-body tbody tr")
    page.locator(".hap-tables select").select_option("left")
    only = int(page.locator(".hap-found").text_content().split()[0])
    assert 0 < only < 90
    page.locator(".hap-tables select").select_option("all")
    page.get_by_role("button", name="EAP rank").click()
    ranks = [int(text.replace(",", "")) for text in rows.locator("td:nth-child(6)").all_text_contents()]
    assert ranks == sorted(ranks)
    rows.first.click()
    page.wait_for_function("() => /edge: \\S+ > /.test(document.body.innerText)")
    assert rows.first.get_attribute("aria-selected") == "true"
    page.get_by_role("button", name="Nodes", exact=True).click()
    page.locator(".hap-tables input").fill("s-inhibition")
    assert rows.count() >= 1
    rows.first.click()
    node = rows.first.locator("th").text_content()
    page.get_by_text(f"pins: {node}", exact=True).wait_for(timeout=90_000)
    page.locator(".hap-tables input").fill("")
    page.locator(".hap-tables summary").click()


def test_ports_are_named_and_the_picture_is_saved_with_its_edges(page: Any) -> None:
    page.get_by_role("button", name="q k v").click()
    page.wait_for_timeout(500)
    assert page.locator(f"{LEFT} .textpoint text", has_text="q").count() >= 1
    page.get_by_role("button", name="q k v").click()
    with page.expect_download() as saved:
        page.locator(f'{LEFT} [data-do="save"]').click()
    text = Path(saved.value.path()).read_text(encoding="utf-8")
    assert text.startswith("<svg")
    assert text.count("js-line") >= 3


def test_statuses_in_the_browser_are_those_of_the_scene(page: Any) -> None:
    """The browser works out from the edges which nodes each circuit keeps; Python does it too."""
    same = page.evaluate(
        """() => { const rects = [...document.querySelectorAll('.hap-panel[data-side=left] .hap-nodes rect')];
          return rects.map((rect) => [rect.dataset.id, rect.getAttribute('aria-label')]); }"""
    )
    from hap_engine.graph.graph import Graph
    from hap_engine.picture import scene
    from tests.builders.fakes import fake_run

    nodes = {n.id: n for n in scene.build(fake_run(Graph(6, 6, 2), edges=90)).nodes}
    words = {"both": "in both circuits", "left": "only in EAP", "right": "only in HAP"}
    assert {name for name, _ in same} == {n.id for n in nodes.values() if n.status != "none"}
    for name, label in same:
        assert label.endswith(words[nodes[name].status]), name


@pytest.mark.parametrize("edges", [2000, 5000])
def test_a_large_circuit_answers_quickly(
    visit: Any, address: str, edges: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """From the pointer's event to the next frame, in the browser's own clock."""
    page = visit(f"{address}/?edges={edges}").page
    page.wait_for_selector(f"{RIGHT} .js-plotly-plot .nsewdrag", timeout=90_000)
    page.wait_for_timeout(1500)
    hover, click = page.evaluate(
        """async (panel) => {
          const plot = document.querySelector(`${panel} .hap-plot`), tip = document.querySelector(`${panel} .hap-tip`);
          const rects = [...document.querySelectorAll(`${panel} .hap-nodes rect`)].filter((r) =>
          r.dataset.id.includes('.'));
          const centre = (rect) => { const b = rect.getBoundingClientRect(); return { clientX: b.x + b.width / 2,
          clientY: b.y + b.height / 2, bubbles: true }; };
          const fire = (type, at) => plot.dispatchEvent(new PointerEvent(type, at));
          const frame = () => new Promise(requestAnimationFrame);
          const hovers = [];
          for (let i = 0; i < 20; i++) {
            const at = centre(rects[(i * 37) % rects.length]), start = performance.now();
            fire('pointermove', at);
            while (tip.hidden || !tip.textContent.includes(rects[(i * 37) % rects.length].dataset.id)) await frame();
            hovers.push(performance.now() - start);
          }
          const clicks = [];
          for (let i = 0; i < 5; i++) {
            const rect = rects[(i * 53) % rects.length], at = centre(rect), start = performance.now();
            fire('pointerdown', at); fire('pointerup', at);
            while (!document.body.innerText.match(new RegExp(`pins: [^\\n]*${rect.dataset.id.replace('.', '[.]')}`)))
            await frame();
            clicks.push(performance.now() - start);
          }
          const median = (list) => list.sort((a, b) => a - b)[list.length >> 1];
          return [median(hovers), median(clicks)];
        }""",
        LEFT,
    )
    load = os.getloadavg()[0] / (os.cpu_count() or 1)
    with capsys.disabled():
        print(
            f"\n{edges} edges a side: hover {hover:.0f} ms, click to Python and back {click:.0f} ms"
            f" (load {load:.1f} per core)"
        )
    busy = max(1.0, load)  # other programs take their share of the time
    assert hover < 50 * busy * (edges / 2000)
    assert click < 300 * busy * (edges / 2000)
