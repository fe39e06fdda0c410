"""The story for a projector, in a real browser: its steps are those that the run has, and each fits the screen."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hap_engine.picture.standalone import standalone
from hap_engine.runs.examples import example
from hap_engine.runs.record import Run

pytestmark = pytest.mark.browser
PATIENT = 180_000
BOX = """() => {
  const box = document.querySelector('.hap');
  return [box.scrollHeight - box.clientHeight, box.scrollWidth - box.clientWidth];
}"""
SIZE = "() => document.querySelector('.hap-tells').getBoundingClientRect().height"


def told(visit: Any, run: Run, tmp_path: Path, width: int = 1280, height: int = 720) -> Any:
    """The run's page with the story begun."""
    path = tmp_path / "page.html"
    path.write_text(standalone(run, *run.sides, view="sentence", strongest=60), encoding="utf-8")
    page = visit("about:blank").page
    page.unroute("**/*")
    page.set_viewport_size({"width": width, "height": height})
    page.goto(path.as_uri(), timeout=PATIENT)
    page.locator(".hap-controls").get_by_role("button", name="Present").click(timeout=PATIENT)
    return page


def steps(page: Any) -> list[tuple[str, str]]:
    """Walk to the end; title and sentence of each step."""
    found = []
    while True:
        found.append((page.locator(".hap-step").inner_text(), page.locator(".hap-tells").inner_text()))
        assert page.evaluate(BOX) == [0, 0], found[-1]
        at = page.locator(".hap-turns span").inner_text()
        if page.locator('[data-turn="1"]').is_disabled():
            return found
        page.keyboard.press("ArrowRight")
        page.wait_for_function(f"() => document.querySelector('.hap-turns span').textContent !== '{at}'")


def test_the_arrow_keys_walk_from_the_task_to_the_replay(visit: Any, tmp_path: Path) -> None:
    run = example("hap-mini")
    page = told(visit, run, tmp_path)
    found = steps(page)
    assert [title for title, _ in found] == [
        "The task", "What the first circuit keeps", "What it misses", "What follows without it",
        "What the second circuit keeps", "How it was found",
    ]  # fmt: skip
    assert "EAP alone misses 2 heads that HAP keeps. One is 0.3 (S-inhibition, EAP rank 32)." in found[2][1]
    cuts = run.cuts["circuits"]["hap"]
    for share in (cuts["base"][0], cuts["off"]["a0.h3"][0]):
        assert f"{100 * share:.0f} %" in found[3][1]
    page.keyboard.press("PageUp")
    assert page.locator(".hap-turns span").inner_text() == "5 / 6"
    page.keyboard.press("Escape")
    page.locator(".hap-lead").wait_for()
    assert page.locator("[data-unpin]").count() == 0
    assert page.locator(".hap-title").first.inner_text().startswith("EAP only")


def test_a_step_that_the_run_has_nothing_for_is_left_out(visit: Any, tmp_path: Path) -> None:
    run = replace(example("hap-mini"), cuts={}, replay={})
    same = replace(run, circuits=run.circuits | {"eap": run.circuits["hap"]})
    found = steps(told(visit, same, tmp_path))
    assert [title for title, _ in found][2:] == ["What it misses", "What the second circuit keeps"]
    assert found[2][1] == "EAP alone misses no head that HAP keeps."


def test_type_scales_with_the_screen(visit: Any, tmp_path: Path) -> None:
    run = example("hap-mini")
    small, large = (told(visit, run, tmp_path, *size).evaluate(SIZE) for size in ((1280, 720), (3840, 2160)))
    assert large > 2.5 * small
