"""The page of one's own prompts: kept at every change, checked row by row, mended, run."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from app import drafts
from app.views import tokens
from hap_engine.catalog import resolve, tokenizer_file
from hap_engine.tasks.editing import align
from hap_engine.tasks.prompts_file import MIN_ROWS, parse_prompts
from tests.test_app import open_app, texts

NAMES = ("Mary", "John", "Emma", "David", "Sarah", "James", "Laura", "Peter", "Susan", "Kevin", "Alice", "Robert")


def draft(count: int = 12) -> list[drafts.Row]:
    """Pairs that hap-mini's words allow, from its own IOI task."""
    from hap_engine.tasks import TASKS, SplitSizes

    words = tokenizer_file(resolve("hap-mini"))
    assert words is not None
    from tokenizers import Tokenizer

    task = TASKS["ioi"]
    pairs = task.generate(Tokenizer.from_file(str(words)), SplitSizes(count, 1, 1), 0, "abc").train
    return [drafts.row_of(one.pair) for one in pairs]


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HAP_HOME", str(tmp_path))


def open_page(**query: str) -> AppTest:
    app = open_app(**query)
    return app.switch_page("app/views/writing.py") if False else app


def test_x() -> None:
    drafts.save(draft())
    app = open_app(task="custom")
    assert not app.exception
    print(texts(app))
