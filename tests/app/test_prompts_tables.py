"""The tables of prompts show what the model reads, through the one door, white space and all."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from app.widgets.markdown import visible
from hap_engine.machine import estimate
from hap_engine.machine.estimate import tokens_of
from hap_engine.models.catalog import BUNDLED, resolve
from hap_engine.runs.examples import example
from hap_engine.settings import DiscoveryConfig
from tests.builders.pages import texts


@pytest.fixture
def short(tmp_path: Path) -> Path:
    """hap-mini with four positions: fewer than any prompt has tokens."""
    copy = Path(shutil.copytree(BUNDLED["hap-mini"], tmp_path / "short"))
    config = json.loads((copy / "config.json").read_text())
    limit = next(key for key in ("n_positions", "max_position_embeddings") if key in config)
    (copy / "config.json").write_text(json.dumps(config | {limit: 4}))
    return copy


def sample(model: str) -> AppTest:
    def script(model: str) -> None:
        from app.explore import prompts
        from hap_engine.models.catalog import resolve
        from hap_engine.settings import DiscoveryConfig

        prompts.preview(resolve(model), "ioi", DiscoveryConfig(model=model))

    app = AppTest.from_function(script, args=(model,), default_timeout=60).run()
    assert not app.exception
    return app


def test_a_sample_is_what_the_model_reads() -> None:
    rows = sample("hap-mini").dataframe[0].value
    assert len(rows) == 12
    for row in rows.itertuples(index=False):
        assert row[0].count(" · ") == row[2].count(" · "), "as many tokens"
        assert row[1] in row[0], "the answer is a name of the prompt"


def test_a_sample_and_the_estimate_pass_the_one_door(short: Path) -> None:
    """They made tokens themselves: the sample showed prompts that the run then refused."""
    app = sample(str(short))
    assert not app.dataframe
    assert "short reads at most 4" in texts(app)
    assert tokens_of(DiscoveryConfig(model=str(short)), resolve(str(short))) == estimate.USUAL_TOKENS


def test_a_finished_runs_table_shows_every_answer_with_its_spaces() -> None:
    def script() -> None:
        from app.explore import prompts

        row = {"clean": "a", "corrupt": "b", "answer": " cold", "distractor": "cold", "more_answers": [" chill"]}
        prompts.table([row])

    (row,) = AppTest.from_function(script, default_timeout=60).run().dataframe[0].value.itertuples(index=False)
    assert row[2:] == ("␣cold | ␣chill", "cold")


def test_white_space_is_seen() -> None:
    assert visible(" a\u00a0b\n\tc") == "␣a⍽b↵⇥c"


def test_which_prompts_fail_shows_where_a_prompt_ends_and_the_wrong_word_that_was_chosen() -> None:
    def script() -> None:
        import streamlit as st

        from app.questions import which_prompts
        from hap_engine.runs.examples import example

        st.session_state["page"] = ""
        run = example("SmolLM2")
        which_prompts.show(run, *run.sides, [])

    app = AppTest.from_function(script, default_timeout=60).run()
    assert not app.exception
    table, tests = app.dataframe[0].value, example("SmolLM2").prompts["test"]
    assert any(shown.startswith("… ") for shown in table["Prompt"])
    wrong = 0
    for row in table.to_dict("records"):
        test = tests[row["#"] - 1]
        assert test["clean"].endswith(row["Prompt"].removeprefix("… "))
        assert row["Instead"] == (test["distractor"].strip() if row["Circuit"] < 0 else "")
        wrong += bool(row["Instead"])
    assert wrong
