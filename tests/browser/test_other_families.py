"""The picture of a run on models that are built otherwise than GPT-2, as a notebook shows it, in a real browser."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import hap_engine as hap
from hap_engine.runs.record import Run
from hap_engine.settings import PruningConfig
from tests.browser.conftest import NOTEBOOK, PATIENT
from tests.builders.family_zoo import build
from tests.builders.tiny_models import SIZES, tokenizer

pytestmark = pytest.mark.browser


def discovered(name: str, folder: Path) -> Run:
    """A short run on a saved tiny model, as somebody in a notebook makes it."""
    build(name).save_pretrained(folder)
    tokenizer().save(str(folder / "tokenizer.json"))
    few = {"pruning": PruningConfig("projection", steps=5, batch_size=4), "sizes": SIZES}
    return hap.discover(hap.open_model(str(folder)), "ioi", sparsity=0.8, keep=0.6, **few)


@pytest.mark.parametrize("name", ["gemma2", "qwen3"])
def test_the_bar_of_a_norm_writer_stands_between_heads_and_mlp(chromium: Any, tmp_path: Path, name: str) -> None:
    run = discovered(name, tmp_path)
    context = chromium.new_context(viewport={"width": 1100, "height": 1300})
    page = context.new_page()
    said: list[str] = []
    page.on("console", lambda message: message.type == "error" and said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.set_content("<body><div id='output'></div></body>")
    page.evaluate(NOTEBOOK, run.show()._repr_html_())
    frame = page.frame_locator("iframe")
    panel = frame.locator(".hap-panel[data-side=right]")
    panel.locator(".nsewdrag").wait_for(timeout=PATIENT)
    bars = panel.locator("[data-id='n1']")
    assert bars.count() == run.graph.post_norm
    if run.graph.post_norm:
        head, bar, mlp = (panel.locator(f"[data-id^='{one}']").first.bounding_box() for one in ("a1.", "n1", "m1"))
        assert mlp["y"] + mlp["height"] <= bar["y"]
        assert bar["y"] + bar["height"] <= head["y"]
        assert bar["height"] < head["height"] / 2, "thin"
        page.mouse.move(bar["x"] + bar["width"] / 2, bar["y"] + bar["height"] / 2)
        frame.get_by_text("Carries what the norm of this layer's heads adds").first.wait_for(timeout=PATIENT)
    assert said == []
    context.close()
