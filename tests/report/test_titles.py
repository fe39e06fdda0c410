"""In which ways a run's model was computed: told of every run that says so, the same everywhere."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from app.export.handout import handout
from hap_engine.errors import RunFileError
from hap_engine.findings import METRICS
from hap_engine.graph.graph import Graph
from hap_engine.picture import page
from hap_engine.report.titles import METHOD_TITLES, METRIC_TITLES, attention_ways
from hap_engine.runs.run_file import load, save
from hap_engine.settings import SCORERS
from tests.builders.fakes import fake_run
from tests.builders.tiny_models import make_model

ROOT = Path(__file__).parents[2]
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


def test_every_measure_has_one_name_wherever_it_stands() -> None:
    """The browser's table, the page's help and all that is written use these names; old ones are gone."""
    curves = (ROOT / "hap_engine" / "picture" / "web" / "curves.js").read_text(encoding="utf-8")
    for key, title in re.findall(r'\["(\w+)", "([^"]+)", \d\]', curves):
        assert METRIC_TITLES[key] == title
    assert {*METRICS, "deviation"} <= METRIC_TITLES.keys()
    for path in written():
        found = re.findall(r"IO>S|Right beats wrong|Right is first|Same first choice", path.read_text(encoding="utf-8"))
        assert not found or path.name == "CHANGELOG.md", path


def test_every_method_and_scorer_has_a_title_in_words() -> None:
    assert {*SCORERS, "ep", "hap"} <= METHOD_TITLES.keys()
    for path in (ROOT / "docs").rglob("*.md"):
        if path.name == "run-file.md":  # of the file's sections
            continue
        keys = re.findall(r"^\| `?([a-z-]+)`? \|", path.read_text(encoding="utf-8"), re.MULTILINE)
        assert not METHOD_TITLES.keys() & {*keys}, path


def written() -> list[Path]:
    """What a person reads: pages, texts, and the code that prints."""
    folders = [ROOT / name for name in ("app", "hap_engine", "docs", "benchmarks")]
    kinds = (".md", ".toml", ".py", ".js", ".html", ".ipynb")
    return [ROOT / "README.md", *(path for one in folders for path in one.rglob("*") if path.suffix in kinds)]
