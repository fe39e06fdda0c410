"""The pages through Streamlit's own test runner (no browser; JavaScript does not run here)."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from hap_engine.runs.examples import example
from hap_engine.runs.run_file import runs_folder, save
from tests.builders.fakes import fake_run
from tests.builders.pages import SCRIPT, open_app, texts


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HAP_HOME", str(tmp_path))


def test_the_first_page_shows_a_shipped_run_and_loads_nothing_heavy() -> None:
    code = (
        "import sys; from streamlit.testing.v1 import AppTest;"
        f"app = AppTest.from_file({SCRIPT!r}, default_timeout=60).run();"
        "assert not app.exception, app.exception;"
        "heavy = ('torch', 'transformers', 'pandas', 'networkx');"
        "print([name for name in heavy if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout.strip().splitlines()[-1] == "[]"


def test_a_saved_run_is_shown_with_its_verdict_and_metrics() -> None:
    run = fake_run()
    save(run, runs_folder() / f"{run.id}.json")
    app = open_app(run=run.id)
    assert not app.exception
    assert "S-inhibition heads" in texts(app)
    (metrics,) = [e.proto.body for e in app.get("html") if "Metrics of the circuits" in e.proto.body]
    rows = re.findall(r'<th scope="row" class="words">(.*?)</th>', metrics)
    assert rows == ["Full model", "Everything corrupted", "Random circuits", "EAP", "HAP"]


def test_newcomers_are_offered_the_lesson_and_deep_links_are_not() -> None:
    assert [link.proto.label for link in open_app().get("page_link")] == ["New here? Seven short steps"]
    assert not open_app(run=example("hap-mini").id).get("page_link")


def test_unknown_runs_and_jobs_get_a_plain_answer() -> None:
    assert "no run 'nothing'" in texts(open_app(run="nothing"))
    assert "not known to this explorer any more" in texts(open_app(job="nothing"))


def test_a_run_id_cannot_leave_the_folder() -> None:
    app = open_app(run="../../etc/passwd")
    assert not app.exception
    assert "There is no run" in texts(app)


def test_a_wrong_model_is_answered_with_a_remedy_and_the_button_is_off() -> None:
    app = open_app(model="other")
    app.text_input(key="reference").set_value("gpt-two").run()
    assert "There is no model named" in texts(app)
    assert app.sidebar.button[0].disabled


def test_html_in_a_prompt_stays_text() -> None:
    attack = "<img src=x onerror=alert(1)>"
    prompt = {"clean": attack, "corrupt": attack, "answer": " a", "distractor": " b"}
    run = fake_run(prompts={"train": [], "test": [prompt]}, name=attack)
    save(run, runs_folder() / f"{run.id}.json")
    app = open_app(run=run.id)
    assert not app.exception
    assert all(not element.allow_html for element in app.markdown)
