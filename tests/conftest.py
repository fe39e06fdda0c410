# ruff: noqa: E402
"""Tiny random models of every supported family, and the real one where it is there.

Nothing here uses the network. `HAP_HOME` points to a fresh folder in every test. With ``-n 2`` two processes share the
tests file by file (`tests.builders.parallel`).
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.builders import shapes

if "PYTEST_XDIST_WORKER" in os.environ:  # one of several processes, each with the servers and kernels that it starts
    os.environ.setdefault("OMP_NUM_THREADS", "1")
shapes.install("hap_engine")  # shapes and types in the engine's signatures are checked while the tests run

from hap_engine.machine.threads import wait_briefly

wait_briefly()

import torch
import transformers.modeling_utils  # noqa: F401 before the engine: within a checked module byte code is not found
from tokenizers import Tokenizer

from hap_engine.machine import speed
from hap_engine.masked.masked_pass import MaskedModel
from hap_engine.masked.opening import open_masked
from hap_engine.models.catalog import resolve, tokenizer_file
from hap_engine.tasks.pair import EncodedPair
from hap_engine.tasks.templates import ioi
from hap_engine.transformer.load import load_model
from tests.builders.site import build_site
from tests.builders.tiny_models import FAMILIES, MACHINE, SIZES, make_model, saved, tokenizer

ROOT = Path(__file__).resolve().parents[1]

torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "2")))
# The real model is converted from .gguf once; its copy is kept here between test runs.
SHARED_HOME = Path(os.environ.get("HAP_TEST_HOME", ROOT / ".pytest_cache" / "hap-home"))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    from tests.builders.parallel import ByFile

    return ByFile(config, log)


@pytest.fixture(autouse=True)
def _isolated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HAP_HOME", str(tmp_path / "hap-home"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr(speed, "known", lambda: MACHINE)  # nothing is measured unless asked


@pytest.fixture(scope="session")
def models() -> Callable[[str], MaskedModel]:
    """The masked model of a family, built once a session."""
    made: dict[str, MaskedModel] = {}

    def get(family: str) -> MaskedModel:
        if family not in made:
            made[family] = open_masked(make_model(family))
        return made[family]

    return get


@pytest.fixture(scope="session")
def gpt2(models: Callable[[str], MaskedModel]) -> MaskedModel:
    return models("gpt2")


@pytest.fixture(scope="session")
def llama(models: Callable[[str], MaskedModel]) -> MaskedModel:
    return models("llama")


@pytest.fixture(params=FAMILIES)
def masked(request: pytest.FixtureRequest, models: Callable[[str], MaskedModel]) -> MaskedModel:
    """Each family in turn."""
    return models(request.param)


@pytest.fixture(scope="session")
def pairs() -> list[EncodedPair]:
    """Eight IOI training prompts of several lengths."""
    return list(ioi.IOI.generate(tokenizer(), SIZES, 0, "abc").train)


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny GPT-2 saved with `save_pretrained` and a tokenizer.json beside it."""
    return saved("gpt2", tmp_path_factory.mktemp("saved") / "tiny")


@pytest.fixture(scope="session")
def docs_site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The documentation, built once a session."""
    return build_site(tmp_path_factory.mktemp("site"))


@pytest.fixture(scope="session")
def smollm2() -> str:
    """Path of the real model's .gguf file."""
    chosen = os.environ.get("HAP_TEST_GGUF")
    found = [Path(chosen)] if chosen else sorted((ROOT / "../shared/models").glob("*.gguf"))
    if not found or not found[0].is_file():
        pytest.skip("no SmolLM2 .gguf: set HAP_TEST_GGUF or put it into ../shared/models")
    return str(found[0].resolve())


@pytest.fixture(scope="session")
def smollm2_home() -> Iterator[None]:
    """`shared_home` for fixtures of a whole session."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HAP_HOME", str(SHARED_HOME))
        yield


@pytest.fixture(scope="session")
def smollm2_tokenizer(smollm2: str, smollm2_home: None) -> Tokenizer:
    """The tokenizer of the real model, which is converted first where no test has done so."""
    path = tokenizer_file(resolve(smollm2))
    return Tokenizer.from_file(str(path)) if path else load_model(smollm2).tokenizer


@pytest.fixture
def shared_home(monkeypatch: pytest.MonkeyPatch) -> None:
    """A `HAP_HOME` that outlives the session, for tests that convert the real model."""
    monkeypatch.setenv("HAP_HOME", str(SHARED_HOME))


@pytest.fixture
def own_main(monkeypatch: pytest.MonkeyPatch) -> None:
    """New processes would run this one's main module: Streamlit's test runner leaves its page there."""
    monkeypatch.setitem(sys.modules, "__main__", ModuleType("__main__"))
