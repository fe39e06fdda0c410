"""Tasks whose prompts are downloaded: from a Hub of our own on localhost, once, and only when one asks for them."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from hap_engine.cli.commands import main
from hap_engine.errors import ModelError
from hap_engine.models.catalog import Source
from hap_engine.models.hub import DownloadStoppedError, download_data
from hap_engine.progress import Progress
from hap_engine.settings import DiscoveryConfig, PruningConfig
from hap_engine.tasks.builtin import TASKS
from hap_engine.tasks.task import SplitSizes
from hap_engine.transformer.load import from_hf
from hap_engine.workflows.discover import discover
from hap_engine.workflows.run_prompts import with_data
from tests.builders.choices import files, lines, row, tokenizer
from tests.builders.fake_hub import FakeHub
from tests.builders.tiny_models import finish, hf_model

TASK = TASKS["mcqa"]
CONFIG = DiscoveryConfig(
    task="mcqa", sparsity=0.5, keep=0.9, sizes=SplitSizes(40, 40, 8), pruning=PruningConfig(steps=2, batch_size=4)
)


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    from huggingface_hub import constants

    made = FakeHub()
    made.files = files()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setenv("HF_ENDPOINT", made.address)
    yield made
    made.server.shutdown()
    made.server.server_close()


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A tiny GPT-2 that knows the words of the rows."""
    path = tmp_path / "tiny"
    hf_model("gpt2").save_pretrained(path)
    tokenizer().save(str(path / "tokenizer.json"))
    return path


def test_a_run_downloads_its_prompts_once_and_says_so(hub: FakeHub) -> None:
    hub.files["4_answer_choices/train.jsonl"] += lines(row(0, symbol_counterfactual=None)).encode()
    hub.piece, hub.pause = 1 << 11, 0.1
    tiny = from_hf(hf_model("gpt2"), tokenizer(), Source("tiny", "folder", "tiny", None), sha256="0" * 64)
    seen: list[Progress] = []
    steps = discover(CONFIG, tiny)
    while True:
        try:
            seen.append(next(steps))
        except StopIteration as end:
            run = end.value
            break
    assert any(one.message.startswith("Downloading mib-bench/copycolors_mcqa: ") for one in seen)
    assert sorted(hub.downloads()) == ["test.jsonl", "train.jsonl", "validation.jsonl"]
    assert [len(run.prompts[split]) for split in ("train", "test")] == [16, 8]
    assert run.settings["sizes"] == {"train": 16, "validation": 4, "test": 8}
    assert run.prompts["test"][0]["answer"] in "ABCD"
    (check,) = [one.data["check"] for one in seen if "check" in one.data]
    assert "of 33 rows 32 fit this tokenizer" in check["doubts"]
    hub.asked.clear()
    assert list(with_data(TASK)) == []
    assert hub.asked == [], "the second time nobody is asked"


def test_a_download_can_be_stopped_and_goes_on(hub: FakeHub) -> None:
    hub.piece, hub.pause = 64, 0.05
    steps = with_data(TASK)
    while not hub.downloads():
        next(steps)
    steps.close()
    time.sleep(0.5)
    assert TASK.data is not None
    assert not TASK.data.here
    with pytest.raises(DownloadStoppedError, match="was stopped"):
        download_data(TASK.data, stopped=lambda: True)
    hub.pause = 0
    finish(with_data(TASK))
    assert TASK.data.here


def test_offline_and_other_layouts_are_said(hub: FakeHub) -> None:
    hub.files = {"data.parquet": b""}
    with pytest.raises(ModelError, match=r"has no files like \*4_answer_choices\*train\*.jsonl.*another task"):
        finish(with_data(TASK))
    hub.status = 500
    with pytest.raises(
        ModelError, match=r"could not be downloaded .*Check the connection.*other tasks need no network"
    ):
        finish(with_data(TASK))


def test_the_terminal_asks_for_what_is_named_only(
    hub: FakeHub, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["tasks"]) == 0
    assert "mcqa: Multiple choice: which colour? (a run downloads its prompts, 1 MB)" in capsys.readouterr().out
    assert main(["tasks", "--model", str(model)]) == 0
    assert "mcqa" not in capsys.readouterr().out
    assert main(["tasks", "--task", "mcqa"]) == 0
    assert hub.asked == []
    assert main(["tasks", "--task", "mcqa", "--model", str(model)]) == 0
    assert "mcqa" in capsys.readouterr().out
    assert len(hub.downloads()) == 3
    assert main(["tasks"]) == 0
    assert "mcqa: Multiple choice: which colour?\n" in capsys.readouterr().out
    assert main(["tasks", "--model", str(model)]) == 0
    assert "mcqa" in capsys.readouterr().out


def test_offline_the_terminal_explains_itself(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["discover", "--task", "arc-easy", "--model", str(model)]) == 1
    said = capsys.readouterr().err
    assert "error: The data set mib-bench/arc_easy could not be downloaded" in said
    assert "Traceback" not in said
