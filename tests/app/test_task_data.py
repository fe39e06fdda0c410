"""A task whose prompts are downloaded, in the page's list: what it says, and that looking asks nobody."""

from __future__ import annotations

import pytest

from hap_engine.models import hub
from hap_engine.tasks.builtin import TASKS
from tests.builders.choices import files
from tests.builders.pages import open_app, texts


def test_the_list_says_what_a_run_downloads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "_endpoint", lambda: pytest.fail("looking asks nobody"))
    app = open_app(task="mcqa")
    assert not app.exception
    box, title = app.selectbox(key="task"), TASKS["mcqa"].title
    assert box.value == "mcqa"
    assert f"{title} · to download, 1 MB" in box.options
    assert "downloaded once from the Hugging Face Hub" in texts(app)
    data = TASKS["mcqa"].data
    assert data is not None
    for name, content in files().items():
        (data.folder / name).parent.mkdir(parents=True, exist_ok=True)
        (data.folder / name).write_bytes(content)
    assert title in open_app(task="mcqa").selectbox(key="task").options
