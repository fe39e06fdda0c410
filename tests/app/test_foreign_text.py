"""Texts of others stay texts: what a run file, a name or an address holds reaches Markdown only through `plain`."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.message import Message
from streamlit.testing.v1 import AppTest

from app.link import KEYS
from app.own_prompts import drafts
from app.questions.menu import SECTIONS
from hap_engine.models.catalog import BUNDLED
from hap_engine.runs.run_file import load, runs_folder, save
from tests.builders.pages import open_app, turn_to
from tests.builders.payloads import PAYLOAD, PICTURE, hostile_run, linked_run
from tests.builders.reading import failures, files, shown
from tests.builders.whole_runs import whole_run

ADDRESS = re.compile(r"https?:(?=/+elsewhere)|www\.|\w@elsewhere")
# Fields in which a browser takes every letter for itself.
TEXT = (
    "id",
    "raw_value",
    "raw_values",
    "json",
    "code_text",
    "element_id",
    "key",
    "form_id",
    "url",
    "spec",
    "figure",
    "js_content",
)
ELEMENT = re.compile(
    r'(?<!\\)<img(?! class="hap-card-picture" alt="[^"<>]+" src="data:image/svg\+xml;base64,[\w+/=]+">)'
)
TEXT_OF = {"Selectbox.options", "Json.body", "TextInput.value", "Dataframe.columns"}


def texts(message: Message, of: str) -> Iterator[tuple[str, str]]:
    """Every text that goes to the browser to be read as Markdown or HTML, with its place."""
    for field, value in message.ListFields():
        place = f"{of}.{field.name}"
        if field.name in TEXT or place in TEXT_OF or (field.message_type and field.message_type.GetOptions().map_entry):
            continue
        for one in value if field.is_repeated else [value]:
            if isinstance(one, Message):
                yield from texts(one, place)
            elif isinstance(one, str):
                yield place, one


def unescaped(app: AppTest) -> set[str]:
    """Places where the payload is read as Markdown, or as an HTML element."""
    assert not app.exception

    def walk(block: Any) -> Iterator[tuple[str, str]]:
        for child in block.children.values():
            if isinstance(message := getattr(child, "proto", None), Message):
                yield from texts(message, type(message).__name__)
            if hasattr(child, "children"):
                yield from walk(child)

    return {
        f"{place}: {text[:200]}"
        for place, text in walk(app._tree)
        if (place != "Html.body" and (PICTURE in text or ADDRESS.search(text))) or ELEMENT.search(text)
    }


@pytest.fixture(autouse=True)
def stored() -> None:
    save(hostile_run(), runs_folder() / f"{hostile_run().id}.json")
    save(linked_run(), runs_folder() / "linked.json")
    save(whole_run(id="other"), runs_folder() / "other.json")


@pytest.mark.parametrize("run", [hostile_run().id, "linked"])
def test_every_part_of_a_page(run: str) -> None:
    app = shown(runs_folder() / f"{run}.json", runs_folder() / "other.json")
    assert unescaped(app) == set()
    assert app.session_state["failures"] == []


@pytest.mark.parametrize("ask", SECTIONS)
def test_every_question(ask: str) -> None:
    for run in (hostile_run().id, "linked"):
        assert unescaped(open_app(run=run, ask=ask, pin=hostile_run().graph.heads[0])) == set()


@pytest.mark.parametrize("run", [hostile_run().id, "linked"])
def test_every_page(run: str) -> None:
    app = open_app(run=run)
    for title in ("Runs", "Compare", "Lesson", "Your prompts"):
        assert unescaped(turn_to(app, title, run=run, **{"with": "other"})) == set(), title


@pytest.mark.parametrize(
    "key", sorted({*KEYS.values(), "job", "model", "task", "kept", "effort", "seed", "do", "base"})
)
def test_every_word_of_an_address(key: str) -> None:
    for value in (PAYLOAD, f"-{PAYLOAD}", PICTURE[:60]):
        app = open_app(**{key: value})
        assert unescaped(app) == set()
        for title in ("Compare", "Lesson"):
            assert unescaped(turn_to(app, title, **{key: value})) == set(), title


def test_prompts_of_others() -> None:
    row = dict.fromkeys(("clean", "corrupt", "answer", "distractor"), PAYLOAD)
    drafts.save([row, row | {"corrupt": f"{PAYLOAD} x"}, {**row, "answer_ids": PAYLOAD}], [])
    assert unescaped(turn_to(open_app(), "Your prompts")) == set()


@pytest.mark.parametrize("part", ["model_type", "architectures", "rope_scaling"])
def test_models_of_others(part: str, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(BUNDLED["hap-mini"], tmp_path / "model"))
    config = json.loads((folder / "config.json").read_text())
    harm = {"model_type": PAYLOAD, "architectures": [PAYLOAD], "rope_scaling": {"rope_type": PAYLOAD}}
    (folder / "config.json").write_text(json.dumps(config | {part: harm[part]}))
    assert unescaped(open_app(model=str(folder), new="1")) == set()


def test_files_that_are_made_of_it_hold_no_element() -> None:
    run = load(runs_folder() / f"{hostile_run().id}.json")
    assert failures(files(run)) == []
