# ruff: noqa: E402
"""Tiny random models of every supported family, and the real one where it is there.

Nothing here uses the network. `HAP_HOME` points to a fresh folder in every test.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from hap_engine.threads import wait_briefly

wait_briefly()

import torch
from jaxtyping import install_import_hook
from tokenizers import Tokenizer

# Tensor shapes in the signatures of these modules are checked while the tests run.
SHAPED = ("patching", "plain", "attribution", "prepared", "batches", "path_effects", "roles")
install_import_hook([f"hap_engine.{name}" for name in SHAPED], "beartype.beartype")

from hap_engine import machine
from hap_engine.catalog import Source, resolve, tokenizer_file
from hap_engine.models import Model, from_hf, load_model
from hap_engine.patching import MaskedModel
from hap_engine.progress import drain
from hap_engine.tasks import EncodedPair, PromptPair, SplitSizes, ioi
from tests.test_task_ioi import word_tokenizer

ROOT = Path(__file__).resolve().parents[1]
WIDTH, LAYERS, HEADS, VOCABULARY = 32, 2, 4, 72
MACHINE = machine.Machine(1e11, 2e11, 4e10, 3e-6, threads=1)  # of no machine in particular
SIZES = SplitSizes(train=8, validation=6, test=8)
FAMILIES = ("gpt2", "llama", "neox", "qwen2")
finish = drain  # the tests' word for it

torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "2")))
# The real model is converted from .gguf once; its copy is kept here between test runs.
SHARED_HOME = Path(os.environ.get("HAP_TEST_HOME", ROOT / ".pytest_cache" / "hap-home"))


@pytest.fixture(autouse=True)
def _isolated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HAP_HOME", str(tmp_path / "hap-home"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr(machine, "known", lambda: MACHINE)  # nothing is measured unless asked


def tokenizer() -> Tokenizer:
    """A word-level tokenizer that knows just enough words for the IOI task."""
    made = word_tokenizer(ioi.NAMES[:10], ioi.PLACES[:4], ioi.OBJECTS[:4])
    assert made.get_vocab_size() <= VOCABULARY
    return made


def hf_model(family: str, seed: int = 0, layers: int = LAYERS) -> Any:
    """A random Hugging Face model; weights are enlarged so that no effect is tiny."""
    import transformers as tf

    common = {
        "vocab_size": VOCABULARY,
        "attn_implementation": "eager",
        "tie_word_embeddings": False,
        "bos_token_id": None,
        "eos_token_id": None,
        "pad_token_id": None,
    }
    sizes = {
        "hidden_size": WIDTH,
        "num_hidden_layers": layers,
        "num_attention_heads": HEADS,
        "intermediate_size": 48,
        "max_position_embeddings": 64,
    }
    makers: dict[str, Callable[[], Any]] = {
        "gpt2": lambda: tf.GPT2LMHeadModel(
            tf.GPT2Config(
                n_embd=WIDTH,
                n_layer=layers,
                n_head=HEADS,
                n_positions=64,
                resid_pdrop=0.1,
                **common,
            )
        ),
        "llama": lambda: tf.LlamaForCausalLM(
            tf.LlamaConfig(num_key_value_heads=2, **sizes, **common)
        ),
        "neox": lambda: tf.GPTNeoXForCausalLM(
            tf.GPTNeoXConfig(use_parallel_residual=True, **sizes, **common)
        ),
        "qwen2": lambda: tf.Qwen2ForCausalLM(
            tf.Qwen2Config(num_key_value_heads=2, **sizes, **common)
        ),
        "gemma2": lambda: tf.Gemma2ForCausalLM(
            tf.Gemma2Config(num_key_value_heads=2, head_dim=8, **sizes, **common)
        ),
    }
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = makers[family]()
        with torch.no_grad():
            for name, weight in model.named_parameters():
                weight.add_(
                    torch.randn_like(weight) * (0.1 if "norm" in name or "ln_" in name else 0.3)
                )
    return model.eval()


def make_model(family: str, seed: int = 0, layers: int = LAYERS) -> Model:
    source = Source(f"tiny-{family}", "folder", f"tiny-{family}", None)
    return from_hf(hf_model(family, seed, layers), tokenizer(), source, sha256=f"{family}-{seed}")


@pytest.fixture(scope="session")
def models() -> Callable[[str], MaskedModel]:
    """The masked model of a family, built once a session."""
    made: dict[str, MaskedModel] = {}

    def get(family: str) -> MaskedModel:
        if family not in made:
            made[family] = MaskedModel(make_model(family))
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


def random_pairs(lengths: list[int], seed: int = 0) -> list[EncodedPair]:
    """Token ids drawn at random: one pair of clean and corrupt prompts per length."""
    generator = torch.Generator().manual_seed(seed)
    made = []
    for length in lengths:
        ids = torch.randint(VOCABULARY, (2, length), generator=generator).tolist()
        answer, distractor = torch.randperm(VOCABULARY, generator=generator)[:2].tolist()
        made.append(
            EncodedPair(
                PromptPair("", "", "", ""), tuple(ids[0]), tuple(ids[1]), answer, distractor, {}
            )
        )
    return made


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny GPT-2 saved with `save_pretrained` and a tokenizer.json beside it."""
    return saved("gpt2", tmp_path_factory.mktemp("saved") / "tiny")


def saved(family: str, path: Path) -> Path:
    """`path`, with a tiny model in it."""
    hf_model(family).save_pretrained(path)
    tokenizer().save(str(path / "tokenizer.json"))
    return path


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
