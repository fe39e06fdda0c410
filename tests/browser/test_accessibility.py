"""No violation that axe-core can find, in light and dark, in every view and every question of the first page."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from hap_engine.runs.examples import example

pytestmark = pytest.mark.browser
ROOT = Path(__file__).parents[2]
AXE = ROOT / "tests" / "vendor" / "axe" / "axe.min.js"

# What is being drawn anew is faded, and a colour on its way to another has no contrast yet. So what is found counts
# only if nothing of the kind was seen for half a second before, nor while it was looked for.
FIND = """async (where) => {
    const app = document.querySelector('[data-test-script-state]');
    const still = () => app.dataset.testScriptState === 'notRunning' &&
        document.getAnimations().every(({ playState }) => playState !== 'running');
    let moved = performance.now();
    const move = () => { moved = performance.now(); };
    new MutationObserver(move).observe(app, { subtree: true, childList: true, attributes: true, characterData: true });
    for (const begin of ['transitionrun', 'animationstart']) document.addEventListener(begin, move);
    for (const end = moved + 90_000; performance.now() < end;) {
        await new Promise(requestAnimationFrame);
        if (!still()) move();
        if (performance.now() - moved < 500) continue;
        const began = performance.now();
        const { violations } = await axe.run(where, { resultTypes: ['violations'] });
        if (still() && moved < began) return violations.map(
            ({ id, help, nodes }) => `${id}: ${help}: ${nodes.map((n) => n.html.slice(0, 160)).join(' | ')}`);
    }
    throw new Error('the page is never still');
}"""
FITS = "() => { const box = document.querySelector('.hap'); return box.scrollWidth <= box.clientWidth + 1; }"
QUESTIONS = {  # and what is drawn when it is there
    "What if …?": "Start from",
    "Type a sentence": "Your sentence",
    "At every size": "The chart stands under the pictures",
    "How good is it?": "Not tested yet.",
    "Why was it missed?": "EAP ranks the best edge of",
    "Which prompts fail?": "Select a row to load that prompt",
    "Can it be smaller?": "Edge Pruning can go on among these",
    "Is there another?": "One circuit that explains the model",
}


@pytest.fixture(scope="module")
def address(serve: Any) -> str:
    return serve(ROOT / "app" / "main.py")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_no_violation(visit: Any, address: str, scheme: str) -> None:
    page = visit(address, scheme).page
    page.wait_for_selector(".hap-panel[data-side=right] .hap-head-box", timeout=90_000)
    page.get_by_role("searchbox", name="Find a node").fill("S-inhibition", timeout=90_000)
    page.keyboard.press("Enter")
    page.locator(".hap-pins button").first.wait_for(timeout=90_000)
    page.get_by_text("How this run was made").wait_for(timeout=90_000)
    page.locator(".hap-tables summary").click()
    page.add_script_tag(path=str(AXE))
    for view in ("On the sentence", "Overlay", "Edges", "Side by side", "By role", "Matrix"):
        page.locator(".hap-bar").get_by_role("button", name=view, exact=True).first.click()
        page.wait_for_timeout(800)
        assert page.evaluate(FIND, "html") == [], view


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_no_violation_in_any_question(visit: Any, address: str, scheme: str) -> None:
    """Of hap-mini's run, whose model opens at once; what each question draws is waited for."""
    page = visit(f"{address}/?run={example('hap-mini').id}", scheme).page
    page.get_by_text("How this run was made").wait_for(timeout=90_000)
    page.add_script_tag(path=str(AXE))
    for title, there in QUESTIONS.items():
        page.locator(".st-key-ask").get_by_role("radio", name=title).or_(
            page.locator(".st-key-ask").get_by_role("button", name=title)
        ).first.click()
        page.get_by_text(there).first.wait_for(timeout=90_000)
        page.mouse.move(0, 0)
        assert page.evaluate(FIND, "html") == [], title


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_question_can_be_read_under_the_pointer_chosen_or_not(visit: Any, address: str, scheme: str) -> None:
    page = visit(f"{address}/?run={example('hap-mini').id}", scheme).page
    questions = page.locator(".st-key-ask [role=radio]")
    questions.first.wait_for(timeout=90_000)
    page.add_script_tag(path=str(AXE))
    for place, title in enumerate(QUESTIONS):
        question = questions.nth(place)
        assert question.inner_text().strip() == title
        for chosen in (place == 0, True):
            if chosen:
                question.click()
                page.locator(f".st-key-ask [role=radio][aria-checked=true]:has-text('{title}')").wait_for(
                    timeout=90_000
                )
            question.hover()
            assert page.evaluate(FIND, ".st-key-ask") == [], (title, chosen)


@pytest.mark.parametrize(("width", "height"), [(360, 740), (768, 1024), (3840, 2160)])
def test_nothing_is_cut_off_at_any_width(visit: Any, address: str, width: int, height: int) -> None:
    page = visit(address).page
    page.set_viewport_size({"width": width, "height": height})
    page.wait_for_selector(".hap-panel[data-side=left] .hap-head-box", timeout=90_000)
    for view in ("By role", "Matrix", "Edges", "Overlay", "On the sentence"):
        page.locator(".hap-bar").get_by_role("button", name=view, exact=True).first.click()
        page.wait_for_function(FITS, timeout=90_000)  # a picture of the width before may stand for a moment
        panel = page.locator(".hap-panel[data-side=left]").bounding_box()
        assert panel["width"] <= width
        assert panel["x"] >= 0
