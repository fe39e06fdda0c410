"""In which ways a run's model was computed: told of every run that says so, the same everywhere."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from app.export.handout import handout
from hap_engine.errors import RunFileError
from hap_engine.graph.graph import Graph
from hap_engine.picture import page
from hap_engine.report.titles import attention_ways
from hap_engine.runs.run_file import load, save
from tests.builders.fakes import fake_run
from tests.builders.tiny_models import make_model

MIXED = {"closed": 8, "prepared": 4}
SAID = "Attention: closed form in 8 of 12 layers, prepared in 4 of 12 layers."


def test_the_ways_of_a_model_in_words() -> None:
    assert attention_ways(make_model("gpt2").to_dict()) == "Attention: closed form in all 2 layers."
    assert attention_ways({"ways": MIXED}) == SAID
    assert attention_ways({"ways": {"replayed": 3}}) == "Attention: replayed in all 3 layers."
    assert attention_ways({"ways": {"another": 3}}) == "Attention: another in all 3 layers.", "of a newer program"
    assert attention_ways({}) == attention_ways({"ways": None}) == "", "an older run does not say"


def test_a_run_says_it_wherever_it_says_how_it_was_made(tmp_path: Path) -> None:
    old = fake_run(Graph(2, 2, 2), edges=8)
    run = replace(old, model={**old.model, "ways": MIXED})
    save(run, tmp_path / "run.json")
    assert load(tmp_path / "run.json").model["ways"] == MIXED
    assert SAID in handout(run, *run.sides)
    assert SAID in dict(page.facts(run))["Model"]
    assert "Attention" not in handout(old, *old.sides) + dict(page.facts(old))["Model"]
    for wrong in (["closed"], {"closed": "all"}):
        save(replace(old, model={**old.model, "ways": wrong}), tmp_path / "run.json")
        with pytest.raises(RunFileError, match="ways"):
            load(tmp_path / "run.json")
