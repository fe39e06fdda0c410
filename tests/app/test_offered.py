"""The models that the page offers: told before anything is fetched."""

from __future__ import annotations

import re
import socket
from pathlib import Path

import pytest

from hap_engine.machine import speed
from hap_engine.models.catalog import HUB_MODELS
from hap_engine.tasks.builtin import TASKS
from tests.builders.pages import open_app, texts
from tests.builders.tiny_models import MACHINE

WANTED = ("gemma-3-270m", "Qwen3-0.6B", "Llama-3.2-1B", "OLMo-2-0425-1B", "pythia-70m", "pythia-410m")
WANTED += ("SmolLM2-135M", "SmolLM2-360M", "gpt2", "gpt2-medium")


@pytest.fixture(autouse=True)
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An explorer of its own that may ask nobody."""
    monkeypatch.setenv("HAP_HOME", str(tmp_path))

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("the page asked the network")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(speed, "known", lambda: MACHINE)


def rows() -> dict[str, list[str]]:
    """The table's cells by model."""
    app = open_app()
    assert not app.exception
    (table,) = [e.proto.body for e in app.get("html") if "Models that can be downloaded" in e.proto.body]
    found = re.findall(r'<th scope="row" class="words">(.*?)</th>(.*?)</tr>', table)
    return {name: re.findall(r"<td[^>]*>(.*?)</td>", cells) for name, cells in found}


def test_every_model_has_its_size_memory_time_licence_and_tasks() -> None:
    found = rows()
    assert list(found) == list(HUB_MODELS)
    for name in WANTED:
        assert any(name in offered for offered in found), name
    for name, (download, memory, time, _, tasks) in found.items():
        assert download == f"{HUB_MODELS[name].gigabytes:g} GB"
        assert re.fullmatch(r"[\d.]+ GB", memory)
        assert re.fullmatch(r"[\d.]+ (s|min|h)", time)
        assert tasks
    assert found["google/gemma-3-270m"][3] == "Gemma Terms of Use"
    assert found["Qwen/Qwen3-0.6B"][3:] == ["nothing to accept", "not measured"]
    assert "Wang et al. 2022" in found["gpt2"][4]


def test_a_machine_that_is_not_measured_has_no_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speed, "known", lambda: None)
    assert all(cells[1:3] == ["–", "–"] for cells in rows().values())


def test_a_chosen_model_says_what_must_be_accepted() -> None:
    shown = texts(open_app(model="google/gemma-3-270m"))
    assert "Accept the Gemma Terms of Use on its page on the Hub first." in shown
    assert "known to do: not measured." in shown
    assert "Accept" not in texts(open_app(model="gpt2"))


def test_known_tasks_are_tasks_with_a_source() -> None:
    for name, offered in HUB_MODELS.items():
        assert set(offered.tasks) <= set(TASKS), name
        assert all(offered.tasks.values()), name
