"""Texts from a file beside their module."""

from __future__ import annotations

import ast
import string
from collections.abc import Iterator
from pathlib import Path

import pytest

from hap_engine.words import Words, say

ENGINE = Path(__file__).resolve().parents[1] / "hap_engine"

FILE = """
[button]
label = "Test {n:,} of them"
key = "test-{run[id]}"
width = 30
kinds = ["{as written}"]
"""


@pytest.fixture
def words(tmp_path: Path) -> Words:
    (tmp_path / "words.toml").write_text(FILE, encoding="utf-8")
    return Words(str(tmp_path / "module.py"), "words.toml", run={"id": "a1"})


def test_a_text_has_its_values_in_their_form(words: Words) -> None:
    assert words("button.label", n=1200) == "Test 1,200 of them"


def test_a_group_is_filled_but_for_lists_and_numbers(words: Words) -> None:
    filled = {"label": "Test 3 of them", "key": "test-a1", "width": 30, "kinds": ["{as written}"]}
    assert words.parts("button", n=3) == filled
    assert words.parts("button", n=4)["label"] == "Test 4 of them"  # the file's texts stay as they are


@pytest.mark.parametrize("name", ["button.lable", "button.label"])
def test_a_text_or_a_value_that_is_not_there_is_a_bug(words: Words, name: str) -> None:
    with pytest.raises(KeyError):
        words(name)


def engine_calls() -> Iterator[tuple[str, set[str], str]]:
    """Name, values and place of every message that the engine says."""
    for path in ENGINE.rglob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        taken = [node for node in tree.body if isinstance(node, ast.ImportFrom) and node.module == "hap_engine.words"]
        if "say" not in {alias.name for node in taken for alias in node.names}:
            continue  # a package with a file of its own
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "say":
                assert isinstance(node.args[0], ast.Constant)
                values = {keyword.arg for keyword in node.keywords if keyword.arg}
                yield node.args[0].value, values, f"{path.relative_to(ENGINE)}:{node.lineno}"


def test_every_message_of_the_engine_is_there_and_is_given_what_it_names() -> None:
    for name, values, place in engine_calls():
        part, text = name.split(".")
        fields = [field for _, field, _, _ in string.Formatter().parse(say.texts[part][text]) if field]
        named = {field.partition(".")[0].partition("[")[0] for field in fields}
        assert named == values, f"{place}: {name} names {named}"


def test_the_engine_says_all_of_its_messages() -> None:
    written = {f"{part}.{name}" for part, texts in say.texts.items() for name in texts}
    assert written == {name for name, _, _ in engine_calls()}
