"""A file that names the spans of a task: what it says, what is refused, and a run that is made with it again."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest

from hap_engine.cli.commands import main
from hap_engine.errors import SettingsError, TaskError
from hap_engine.runs.continue_run import again
from hap_engine.runs.run_file import load, runs_folder
from hap_engine.runs.unfinished import Unfinished, every_interrupted
from hap_engine.settings import DiscoveryConfig
from hap_engine.tasks.pair import PromptPair, encode_pair
from hap_engine.tasks.span_file import SpanFile, names_by_file, read_span_file
from hap_engine.tasks.spans import divided
from hap_engine.tasks.task import PromptSets
from tests.builders.words import byte_tokenizer

TOKENS = byte_tokenizer(["The", " war", " siege", " lasted", " from", " the", " year", " to", " on"])
ROWS = [
    encode_pair(TOKENS, PromptPair(f"The{what} lasted{more}", f"The{other} lasted{more}", " on", " to"))
    for what, other, more in ((" war", " siege", " from the year"), (" siege", " war", " the year"))
]
IOI_FILE = """
task = "ioi"
rest = "others"
[[span]]
name = "names"
roles = ["IO", "S1"]
[[span]]
name = "second"
roles = ["S2"]
"""


def file(**span: object) -> SpanFile:
    return SpanFile.from_dict({"task": "custom", "rest": "rest", "span": [{"name": "A", **span}]})


@pytest.mark.parametrize(
    ("span", "names"),
    [
        ({"tokens": 2}, "rest A rest rest rest END"),
        ({"tokens": ["1-2", -2]}, "A A rest rest A END"),
        ({"tokens": "3-"}, "rest rest A A A END"),
        ({"words": ["war", "the year"]}, None),
        ({"words": ["war", "the"]}, "rest A rest rest A END"),
        ({"tokens": [1], "words": "lasted from"}, "A rest A A rest END"),
    ],
)
def test_tokens_and_words_are_places(span: dict[str, object], names: str | None) -> None:
    if names is None:
        with pytest.raises(TaskError, match=r"token 6 \(' year'\) lies in the spans END and A"):
            names_by_file(file(**span), TOKENS, ROWS)
    else:
        assert " ".join(names_by_file(file(**span), TOKENS, ROWS)[0]) == names


def test_a_span_that_some_prompts_lack_is_empty_there() -> None:
    sets = divided(PromptSets(tuple(ROWS), (), ()), partial(names_by_file, file(words=["from"]), TOKENS))
    assert [span.name for span in sets.spans] == ["rest", "A", "END"]
    assert 1 not in sets.train[1].spans


@pytest.mark.parametrize(
    ("data", "complaint"),
    [
        ({"span": [{"name": "B", "tokens": [2]}, {"name": "A", "tokens": ["1-5"]}]}, r"token 2 .*in the spans B and A"),
        ({"span": [{"name": "A", "tokens": [1]}]}, r"Row 2: token 2 .*is in no span.*rest = .others"),
        ({"span": [{"name": "A", "tokens": [6]}], "rest": "r"}, "Row 1: token 6 .*in the spans END and A"),
        ({"span": [{"name": "A", "tokens": [9]}], "rest": "r"}, "No prompt has a token in the span 'A'"),
        ({"span": [{"name": f"s{at}", "tokens": [at]} for at in (1, 2, 3, 4, 5)]}, "Row 2: it has 5 tokens and the"),
        ({"span": [{"name": "A", "words": ["as"]}], "rest": "r"}, "No prompt has a token in the span 'A'"),
    ],
)
def test_prompts_that_a_file_does_not_fit_are_named(data: dict[str, object], complaint: str) -> None:
    with pytest.raises(TaskError, match=complaint):
        names_by_file(SpanFile.from_dict({"task": "custom", **data}), TOKENS, ROWS)


@pytest.mark.parametrize(
    ("data", "complaint"),
    [
        ({}, "Expected a span file"),
        ({"task": "ioi", "span": []}, "Expected a span file"),
        ({"task": "ioi", "span": [{"name": "A"}]}, "Expected a span with a name"),
        ({"task": "ioi", "span": [{"name": "A", "tokens": ["0"]}]}, "Expected a span with a name"),
        ({"task": "ioi", "span": [{"name": "A", "tokens": [1.5]}]}, "Expected a span with a name"),
        ({"task": "ioi", "span": [{"name": "A", "words": [3]}]}, "Expected a span with a name"),
        ({"task": "ioi", "span": [{"name": "A", "token": [3]}]}, "has no key 'token'"),
        ({"task": "ioi", "span": [{"name": "END", "tokens": [3]}]}, "none END"),
        ({"task": "ioi", "span": [{"name": "A", "tokens": [3]}] * 2}, "each once"),
        ({"task": "ioi", "span": [{"name": "A", "tokens": [3]}], "rest": "A"}, "each once"),
        ({"task": "ioi", "span": [{"name": "A", "tokens": [3]}], "other": "A"}, "has no key 'other'"),
    ],
)
def test_what_is_no_span_file_is_refused(data: dict[str, object], complaint: str) -> None:
    with pytest.raises(TaskError, match=complaint):
        SpanFile.from_dict(data)


def test_a_file_of_another_task_or_role_is_refused(tmp_path: Path) -> None:
    (tmp_path / "ioi.toml").write_text(IOI_FILE)
    spans = read_span_file(tmp_path / "ioi.toml")
    with pytest.raises(SettingsError, match=r"for the task ioi, and the run's task is greater-than"):
        DiscoveryConfig(task="greater-than", spans=spans)
    with pytest.raises(SettingsError, match="so does positions"):
        DiscoveryConfig(spans=spans, positions="roles")
    with pytest.raises(SettingsError, match="names the role 'S3', and the task ioi has IO, S1"):
        DiscoveryConfig(spans=SpanFile.from_dict({"task": "ioi", "span": [{"name": "A", "roles": ["S3"]}]}))
    (tmp_path / "broken.toml").write_text("task = ")
    for name in ("broken.toml", "nowhere.json"):
        with pytest.raises(TaskError, match="cannot be read"):
            read_span_file(tmp_path / name)


def test_an_interrupted_run_goes_on_at_its_spans(tmp_path: Path) -> None:
    config = DiscoveryConfig(
        spans=SpanFile.from_dict({"task": "ioi", "rest": "r", "span": [{"name": "A", "tokens": 2}]})
    )
    with Unfinished(tmp_path).opened("0" * 12, config, {}):
        pass
    (left,) = every_interrupted(tmp_path)
    assert left.config == config


def test_a_run_keeps_its_spans_and_is_made_again_from_its_file(tmp_path: Path) -> None:
    (tmp_path / "ioi.toml").write_text(IOI_FILE)
    words = ["discover", "--method", "eap", "--prompts", "24,8,8", "--sparsity", "0.9", "--spans"]
    assert main([*words, str(tmp_path / "ioi.toml")]) == 0
    (path,) = runs_folder().glob("*.json")
    run = load(path)
    assert {span.name for span in run.graph.spans} == {"others", "names", "second", "END"}
    assert f"--spans {run.id}.json" in run.command
    assert again(run).spans == read_span_file(tmp_path / "ioi.toml") == read_span_file(path)
    assert main([*words, path.name, "--out", str(tmp_path / "again.json")]) == 0
    made = load(tmp_path / "again.json")
    assert (made.id, made.graph, made.prompts, made.metrics) == (run.id, run.graph, run.prompts, run.metrics)
