"""From a click to the picture on models that are built otherwise than GPT-2: Gemma's norm writers, Qwen 3's norms."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from app.glossary import TERMS
from app.stored import recent_models
from app.work import workers
from hap_engine.models.catalog import resolve
from hap_engine.runs.record import Run
from hap_engine.runs.run_file import load, runs_folder
from tests.builders.family_zoo import build
from tests.builders.pages import open_app, press, texts
from tests.builders.tiny_models import tokenizer


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HAP_HOME", str(tmp_path / "home"))
    workers.models.clear()


def computed(name: str, tmp_path: Path) -> tuple[AppTest, Run]:
    """Choose a model's folder on the page, press the button, and wait for its result."""
    folder = tmp_path / f"tiny-{name}"
    build(name).save_pretrained(folder)
    tokenizer().save(str(folder / "tokenizer.json"))
    recent_models.remember(resolve(str(folder)))
    app = open_app(model=folder.name, effort="quick", kept="20.0")
    assert not app.exception
    press(app, "Find the circuit")
    end = time.monotonic() + 240
    while not app.query_params.get("run") and time.monotonic() < end:
        assert not app.exception
        assert not app.error, texts(app)
        time.sleep(0.5)
        app.run()
    return app, load(runs_folder() / f"{app.query_params['run']}.json")


@pytest.mark.parametrize("name", ["gemma2", "qwen3"])
def test_a_click_ends_in_the_picture(name: str, tmp_path: Path) -> None:
    app, run = computed(name, tmp_path)
    assert run.graph.post_norm == (name == "gemma2")
    assert not app.exception
    (picture,) = [one for one in app.get("bidi_component") if str(one.key).startswith(f"comparison-{run.id}")]
    assert ("Norm writer" in str(picture.proto)) == run.graph.post_norm, "the bar of each layer"
    assert (name == "gemma2") == ("Norm writer" in texts(open_app(run=run.id, pin=["n1", "a1.h0"])))
    if name == "gemma2":
        assert TERMS["norm writer"] in texts(open_app(run=run.id, pin="n1")), "what it is, in the words of the glossary"
