"""The settings beside the picture: models with where they are, tasks with what they ask, the estimate."""

from __future__ import annotations

import json
import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from app.explore import cost
from app.stored import recent_models
from app.stored.related_runs import SIZES
from app.work import discoveries, heavy_imports
from app.work.worker import Worker
from hap_engine.errors import SettingsError
from hap_engine.machine import speed
from hap_engine.models.catalog import graph_of, resolve
from hap_engine.models.reader import reader_of
from hap_engine.runs import run_file
from hap_engine.settings import DiscoveryConfig
from hap_engine.tasks import prompts_file
from hap_engine.workflows.run_prompts import graph_at_spans
from tests.builders.fake_hub import put
from tests.builders.pages import open_app, texts, turn_to
from tests.builders.tiny_models import MACHINE


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import streamlit as st

    monkeypatch.setenv("HAP_HOME", str(tmp_path))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    st.cache_data.clear()


def labels(app: AppTest) -> list[str]:
    return list(app.selectbox(key="model").options)


def test_every_model_says_where_it_is(tmp_path: Path, folder: Path) -> None:
    put(tmp_path / "hub", "someone/tiny", folder)
    recent_models.remember(resolve(str(folder)))
    found = labels(open_app())
    assert found[0] == "hap-mini · bundled"
    assert "tiny · on this machine" in found
    assert "someone/tiny · on this machine" in found
    assert "gpt2 · to download, 0.55 GB" in found
    assert found[-1].startswith("A file, a folder")


def test_a_typed_path_joins_the_list_and_only_its_name_the_url(folder: Path) -> None:
    app = open_app(model="other")
    app.text_input(key="reference").set_value(str(folder)).run()
    assert not app.exception
    assert app.selectbox(key="model").value == "tiny"
    assert app.query_params["model"] in ("tiny", ["tiny"])
    assert str(folder.parent) not in str(app.query_params)
    again = open_app(model="tiny")  # a reload, or tomorrow
    assert again.selectbox(key="model").value == "tiny"
    assert "of 110 edges" in texts(again)


def test_a_typed_hub_name_is_kept_in_the_url() -> None:
    app = open_app(model="other")
    app.text_input(key="reference").set_value("someone/model@v2").run()
    assert not app.exception
    assert app.selectbox(key="model").value == "someone/model@v2"
    again = open_app(model="someone/model@v2")
    assert again.selectbox(key="model").value == "someone/model@v2"
    assert "someone/model@v2 · to download" in labels(again)
    for name in ("no such", "/etc", "../x", "other"):
        assert name not in labels(open_app(model=name)), "a link cannot name a path"


def test_a_model_that_was_moved_leaves_the_list(tmp_path: Path, folder: Path) -> None:
    moved = tmp_path / "moved"
    moved.mkdir()
    recent_models.remember(resolve(str(moved)))
    assert "moved" in recent_models.remembered()
    moved.rmdir()
    assert recent_models.remembered() == {}
    (tmp_path / "models.json").write_text("{not json")
    assert recent_models.remembered() == {}
    assert open_app(model="moved").selectbox(key="model").value == "hap-mini"


def test_the_list_stays_short_and_holds_files_only(tmp_path: Path) -> None:
    recent_models.remember(resolve("hap-mini"))
    recent_models.remember(resolve("gpt2"))
    assert recent_models.remembered() == {}
    for number in range(20):
        (tmp_path / f"m{number}").mkdir()
        recent_models.remember(resolve(str(tmp_path / f"m{number}")))
    assert list(recent_models.remembered())[:2] == ["m19", "m18"]
    assert len(recent_models.remembered()) == recent_models.REMEMBERED


def test_time_and_memory_are_told_before_a_run() -> None:
    assert "GB of memory." in texts(open_app())
    assert "About" in texts(open_app(model="gpt2")), "the sizes of offered models are known"


def test_where_there_is_a_gpu_it_is_offered(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[DiscoveryConfig] = []
    monkeypatch.setattr(speed, "known", lambda: replace(MACHINE, gpu="cuda", gpu_name="H200"))

    def submit(worker: Worker, config: DiscoveryConfig, owner: str = "") -> str:
        asked.append(config)
        return "nothing"

    monkeypatch.setattr(discoveries, "submit", submit)
    app = open_app()
    where = next(box for box in app.selectbox if box.label == "Compute on")
    assert where.options == ["GPU: H200", "Processor"]
    assert "Only the processor's time is estimated" in texts(app)
    next(b for b in app.button if b.label == "Find the circuit").click().run()
    where = next(box for box in open_app().selectbox if box.label == "Compute on")
    app = where.select("cpu").run()
    assert "GB of memory." in texts(app)
    assert [config.device for config in asked] == ["cuda"]


def test_where_torch_does_not_start_the_page_says_what_to_repair(monkeypatch: pytest.MonkeyPatch) -> None:
    """The process that measures this machine has ended, and nothing is known: no endless "Measuring …"."""

    class Ended:
        def poll(self) -> int:
            return 1

    monkeypatch.setattr(speed, "known", lambda: None)
    monkeypatch.setattr(cost, "_measuring", lambda home: Ended())
    said = texts(open_app().run())
    assert "PyTorch does not start here" in said
    assert "pip install" in said
    assert "Measuring this machine" not in said


def test_work_says_what_to_repair_where_torch_does_not_start(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(name: str) -> None:
        raise OSError("libtorch_cpu.so: cannot open shared object file")

    monkeypatch.setattr(heavy_imports, "import_module", broken)
    with pytest.raises(SettingsError, match=r"PyTorch does not start here \(libtorch_cpu.so.*pip install"):
        heavy_imports.load.__wrapped__()


def test_a_run_that_will_not_fit_is_told_with_a_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speed, "free_memory", lambda: 10**6)
    assert "Choose a smaller model" in texts(open_app(model="gpt2-xl"))


def test_a_model_that_cannot_work_is_told_before_a_run(tmp_path: Path) -> None:
    path = tmp_path / "my-mamba"
    path.mkdir()
    (path / "config.json").write_text(json.dumps({"model_type": "mamba"}))
    recent_models.remember(resolve(str(path)))
    assert "cannot be taken apart" in texts(open_app(model="my-mamba"))


def test_a_size_that_makes_no_path_is_told_in_per_cent_as_it_was_chosen() -> None:
    app = open_app(kept="0.1")
    said = texts(app)
    assert "Keeping 0.1 % (sparsity 0.999) leaves 1 of" in said
    least = float(said.split("Keep at least ")[1].split(" %")[0])
    assert next(button for button in app.button if button.label == "Find the circuit").disabled
    enough = open_app(kept=str(next(share for share in SIZES if share >= least)))
    assert not next(button for button in enough.button if button.label == "Find the circuit").disabled


def test_a_loose_set_smaller_than_the_circuit_is_told_in_per_cent_before_the_run() -> None:
    app = open_app(kept="2.0")
    app.toggle(key="automatic").set_value(False).run()
    app.slider(key="keep").set_value(1).run()
    find = next(button for button in app.button if button.label == "Find the circuit")
    assert "Of 1 % of the edges no 2 % can be kept" in texts(app)
    assert find.disabled
    app.slider(key="keep").set_value(2).run()
    assert not next(button for button in app.button if button.label == "Find the circuit").disabled


def test_the_size_counts_edges_where_they_act() -> None:
    app = open_app(kept="2.0")
    whole = graph_of(resolve("hap-mini"))
    assert whole is not None
    assert f"of {whole.n_edges:,} edges · sparsity" in texts(app)
    app.selectbox(key="positions").select("roles").run()
    reader = reader_of(resolve("hap-mini"))
    assert reader is not None
    graph = graph_at_spans(DiscoveryConfig(positions="roles"), whole, reader)
    assert graph.n_edges > 3 * whole.n_edges
    assert f"of {graph.n_edges:,} edges at their spans · sparsity" in texts(app)
    app.selectbox(key="positions").select("tokens").run()
    assert "tokens and the first row" in texts(app), "IOI's prompts are of different lengths"
    assert next(button for button in app.button if button.label == "Find the circuit").disabled


def test_advanced_settings_survive_a_visit_to_another_page(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[DiscoveryConfig] = []
    monkeypatch.setattr(discoveries, "submit", lambda worker, config, owner="": asked.append(config) or "nothing")
    app = open_app()
    chosen: dict[str, Any] = {
        "method": "eap",
        "scorer": "eap-gim",
        "bos": "always",
        "positions": "coarse",
        "dtype": "bfloat16",
    }
    for name, value in chosen.items():
        app.selectbox(key=name).select(value).run()
    app.selectbox(key="budget-standard").select("projection").run()
    app.selectbox(key="corruption-ioi").select("s2").run()
    app.number_input(key="steps-standard").set_value(77).run()
    app.number_input(key="memory").set_value(3.0).run()
    app.number_input(key="seed").set_value(5).run()
    app.toggle(key="automatic").set_value(False).run()
    app.slider(key="keep").set_value(42).run()
    turn_to(app, "Runs")
    assert not app.get("slider")
    turn_to(app, "Explore")
    next(button for button in app.button if button.label == "Find the circuit").click().run()
    (config,) = asked
    assert {name: getattr(config, name) for name in chosen} == chosen
    assert (config.pruning.steps, config.pruning.budget, config.corruption) == (77, "projection", "s2")
    assert (config.memory, config.seed, config.keep) == (3.0, 5, 0.42)


def test_a_file_may_be_as_large_as_the_error_says() -> None:
    """What the browser refuses is what the reader would."""
    app = open_app()
    runs, own = turn_to(app, "Runs").get("file_uploader"), turn_to(app, "Your prompts").get("file_uploader")
    sizes = [one.proto.max_upload_size_mb << 20 for one in (runs[0], own[0])]
    assert sizes == [run_file.MAX_BYTES, prompts_file.MAX_BYTES]
    config = tomllib.loads((Path(__file__).parents[2] / "app" / ".streamlit" / "config.toml").read_text())
    assert config["server"]["maxUploadSize"] << 20 >= max(sizes)


def test_a_task_says_what_the_model_must_do() -> None:
    from hap_engine.tasks.builtin import TASKS

    for name, task in TASKS.items():
        app = open_app(task=name)
        assert not app.exception
        assert app.selectbox(key="task").value == name
        assert task.summary[:40] in texts(app)
