"""Texts from a file beside their module."""

from __future__ import annotations

from pathlib import Path

import pytest

from hap_engine.words import Words

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
