"""The slider over sizes: both circuits follow the hand, and nothing is sent before it lets go."""

from __future__ import annotations

from typing import Any

import pytest

from hap_engine.graph.graph import Graph
from hap_engine.report.every_size import circuit_at, survivals
from hap_engine.runs.record import Run
from tests.browser.conftest import LOOKS, ROOT, bring
from tests.builders.sized_runs import sized_run

pytestmark = pytest.mark.browser
LEFT, RIGHT = ".hap-panel[data-side=left]", ".hap-panel[data-side=right]"
READY = f"{RIGHT} .js-plotly-plot .nsewdrag"
SLIDER = ".hap-sizes input"


def drawn(page: Any) -> list[int]:
    """Edges that each panel draws."""
    script = """(panel) => [...document.querySelectorAll(`${panel} .hap-edges [data-edges]`)]
      .reduce((sum, path) => sum + Number(path.dataset.edges), 0)"""
    return [page.evaluate(script, panel) for panel in (LEFT, RIGHT)]


def kept(run: Run, size: int) -> list[int]:
    return [len(circuit_at(run, method, size)) for method in ("eap", "hap")]


def told(page: Any) -> str:
    return str(page.locator(".hap-sizes output").text_content())


@pytest.mark.parametrize("look", LOOKS, ids=lambda look: look[0])
def test_circuits_follow_the_hand_and_nothing_is_sent_meanwhile(visit: Any, serve: Any, look: tuple[str, int]) -> None:
    one = visit("about:blank", *look)
    page, sent = one.page, []
    page.on("websocket", lambda socket: socket.on("framesent", lambda _: sent.append(1)))
    page.goto(f"{serve(ROOT / 'tests' / 'browser' / 'diagram_page.py')}/?sizes=1")
    page.wait_for_selector(READY, timeout=90_000)
    page.get_by_text("painted: True").wait_for()
    assert drawn(page) == [90, 90]
    assert told(page).startswith("90 edges")
    assert "the run's own size" in told(page)
    here = page.locator(".hap-here").get_attribute("x1")
    slider = page.locator(SLIDER)
    slider.scroll_into_view_if_needed()
    box = slider.bounding_box()
    page.wait_for_timeout(500)
    before, y = len(sent), box["y"] + box["height"] / 2
    page.mouse.move(box["x"] + box["width"] / 2, y)
    page.mouse.down()
    seen = []
    for share in (0.6, 0.7, 0.8):
        page.mouse.move(box["x"] + box["width"] * share, y, steps=4)
        page.wait_for_timeout(200)
        seen.append(drawn(page)[1])
    assert 90 > seen[0] > seen[1] > seen[2] > 0
    assert f"· {seen[2]} edges" in page.locator(f"{RIGHT} .hap-title").text_content()
    assert "≈" in page.locator(f"{RIGHT} .hap-legend").text_content()
    assert "≈" in page.locator(".hap-at-size tbody tr", has_text="HAP").text_content()
    assert "was not measured" in page.locator(".hap-at-size p").text_content()
    assert page.get_by_role("button", name="Measure at").is_visible()
    assert float(page.locator(".hap-here").get_attribute("x1")) > float(here)
    assert len(sent) == before
    page.mouse.up()
    size = int(told(page).split()[0])
    page.get_by_text(f"size: {size}").wait_for(timeout=90_000)
    assert len(sent) == before + 1
    page.wait_for_selector(f"{RIGHT} .hap-plot:not(.hap-sketched)", timeout=90_000)


def test_keys_step_the_measured_sizes_and_the_way_back_is_the_runs_own(visit: Any, serve: Any) -> None:
    page = visit(f"{serve(ROOT / 'tests' / 'browser' / 'diagram_page.py')}/?sizes=1").page
    page.wait_for_selector(READY, timeout=90_000)
    whole = page.locator(".hap-title").all_text_contents()
    page.locator(SLIDER).focus()
    page.keyboard.press("ArrowRight")
    page.get_by_text("size: 45").wait_for(timeout=90_000)
    assert drawn(page) == kept(sized_run(Graph(6, 6, 2), edges=90), 45)
    assert "on 4 test prompts" in page.locator(f"{LEFT} .hap-legend").text_content()
    page.keyboard.press("End")
    page.get_by_text("size: 3,").wait_for(timeout=90_000)
    assert max(drawn(page)) <= 3
    page.get_by_role("button", name="By role").click()  # counted anew
    counts = page.locator(f"{LEFT} .hap-bundle text").all_text_contents()
    assert 0 < sum(map(int, counts)) <= 6
    page.get_by_role("button", name="Matrix").click()
    assert page.locator(".hap-matrix").get_attribute("aria-label").startswith("Matrix of ")
    page.get_by_role("button", name="Edges", exact=True).first.click()
    page.locator(SLIDER).focus()
    for _ in range(3):
        page.keyboard.press("ArrowLeft")
    page.get_by_text("size: 0").wait_for(timeout=90_000)
    assert drawn(page) == [90, 90]
    assert page.locator(".hap-title").all_text_contents() == whole


def test_a_link_remembers_the_size(visit: Any, serve: Any, tmp_path: Any) -> None:
    run = sized_run()
    page = visit(serve(ROOT / "app" / "main.py")).page
    bring(page, run, tmp_path)
    page.get_by_text("It is in the list below").wait_for(timeout=90_000)
    address = page.url.split("/runs")[0]
    page.goto(f"{address}/?run={run.id}")
    page.wait_for_selector(READY, timeout=90_000)
    page.wait_for_selector(SLIDER)
    page.locator(SLIDER).focus()
    page.keyboard.press("ArrowRight")
    page.wait_for_function("() => location.search.includes('size=30')", timeout=90_000)
    page.reload()
    page.wait_for_selector(READY, timeout=90_000)
    page.wait_for_function(
        "() => document.querySelector('.hap-sizes output').textContent.startsWith('30 edges')", timeout=90_000
    )
    assert drawn(page) == kept(run, 30)
    assert "size=30" in page.url


def test_the_chart_reads_values_and_moves_the_slider(visit: Any, serve: Any) -> None:
    page = visit(f"{serve(ROOT / 'tests' / 'browser' / 'diagram_page.py')}/?sizes=1").page
    page.wait_for_selector(READY, timeout=90_000)
    run = sized_run(Graph(6, 6, 2), edges=90)
    rows = page.locator(".hap-at-size tbody tr").all_text_contents()
    assert [row.split("90")[0] for row in rows] == ["EAP", "HAP", "Random circuits"]
    assert f"{run.sizes['metrics']['hap']['kl'][1]:.3f}" in rows[1]
    chart = page.locator(".hap-curves")
    chart.scroll_into_view_if_needed()
    dots = chart.locator("circle")
    box = dots.nth(run.sizes["grid"].index(45)).bounding_box()  # EAP's, drawn first
    x, y = box["x"] + box["width"] / 2, chart.bounding_box()["y"] + 40
    page.mouse.move(x, y)
    tip = page.locator(".hap-sizes .hap-tip")
    assert f"EAP: KL {run.sizes['metrics']['eap']['kl'][2]:.3f}" in tip.text_content()
    assert tip.text_content().startswith("45 edges")
    page.mouse.click(x, y)
    page.get_by_text("size: 45").wait_for(timeout=90_000)
    assert drawn(page) == kept(run, 45)
    heads = chart.locator("text", has_text="a")
    head = next(one for one in survivals(run) if one.smallest["hap"])
    row = heads.filter(has_text=head.title).bounding_box()
    page.mouse.move(x, row["y"] + row["height"] / 2)
    assert f"HAP: kept down to {head.smallest['hap']} edges" in tip.text_content()


def test_a_large_circuit_is_drawn_by_its_first_edges_and_its_heads_are_all_known(visit: Any, serve: Any) -> None:
    page = visit(f"{serve(ROOT / 'tests' / 'browser' / 'diagram_page.py')}/?sizes=1&edges=2000").page
    page.wait_for_selector(READY, timeout=90_000)
    page.locator(SLIDER).focus()
    page.keyboard.press("Home")
    run = sized_run(Graph(24, 16, 16), edges=2000)
    loosest = run.sizes["grid"][0]
    page.get_by_text(f"size: {loosest},").wait_for(timeout=90_000)
    lane = page.locator("[data-do=lane]")
    if lane.get_attribute("aria-pressed") == "false":  # edges of MLPs are drawn when their lane is open
        lane.click()
    page.wait_for_timeout(500)
    assert drawn(page) == [2000, 2000]
    title = page.locator(f"{RIGHT} .hap-title").text_content()
    assert f"{len(circuit_at(run, 'hap', loosest)):,} edges, 2,000 shown" in title


def test_what_few_samples_keep_is_faint_at_every_measured_size(visit: Any, serve: Any) -> None:
    page = visit(f"{serve(ROOT / 'tests' / 'browser' / 'diagram_page.py')}/?sizes=1&samples=1", *LOOKS[0]).page
    page.wait_for_selector(READY, timeout=90_000)
    legends = [page.locator(f"{side} .hap-legend") for side in (LEFT, RIGHT)]
    said = "faint: fewer than half of the searches keep it · 5"
    assert [said in legend.text_content() for legend in legends] == [False, True]
    paths = page.locator(f"{RIGHT} .hap-edges [data-edges]").all()
    assert min(float(path.get_attribute("stroke-opacity")) for path in paths) < 0.4
    for size in ("45", "22"):
        page.locator(SLIDER).press("ArrowRight")
        page.locator(".hap-sizes output").get_by_text(f"{size} edges").wait_for()
        assert said in legends[1].text_content()
    page.get_by_role("button", name="Overlay").click()
    legends[0].get_by_text("faint").wait_for()
