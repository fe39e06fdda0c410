"""A .gguf file opens as the model that was written into it, or is refused by name."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from tokenizers import Tokenizer
from torch import Tensor
from transformers import AutoModelForCausalLM
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

from hap_engine.errors import DiskError, ModelError, UnsupportedModelError
from hap_engine.masked.opening import open_masked
from hap_engine.models.catalog import config_of, graph_of, resolve, tokenizer_file, weights_sha256
from hap_engine.models.gguf_cache import RECEIPT, converted, gguf_cache
from hap_engine.models.gguf_header import Header
from hap_engine.models.shape import Shape
from hap_engine.transformer import convert_gguf as convert
from hap_engine.transformer.convert_gguf import convert_gguf
from hap_engine.transformer.load import load_model
from hap_engine.transformer.weights import read_weights
from tests.builders.gguf_files import GGUF_FAMILIES, VOCABULARY, hf_for_gguf, tensors_of, write_gguf
from tests.builders.tiny_models import tokenizer

TOKENS = torch.arange(60)[None] % VOCABULARY
THETA = 500.0


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HAP_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def logits(hf_model: Any) -> Tensor:
    with torch.no_grad():
        return hf_model(TOKENS).logits


def read(path: Path) -> Any:
    """The Hugging Face model of the converted copy, before anything is bridged."""
    return read_weights("tiny", convert_gguf(resolve(str(path)), lambda *step: None), lambda *step: None)


def words(path: Path) -> Tokenizer:
    """The tokenizer of the converted copy."""
    return Tokenizer.from_file(str(convert_gguf(resolve(str(path)), lambda *step: None) / "tokenizer.json"))


def opened(path: Path) -> Tensor:
    return logits(read(path))


def close(got: Tensor, want: Tensor) -> None:
    torch.testing.assert_close(got, want, atol=1e-4, rtol=1e-4)


# -- the right logits ----------------------------------------------------------------------------


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("family", GGUF_FAMILIES)
def test_a_file_opens_as_the_model_that_was_written(tmp_path: Path, family: str, tied: bool) -> None:
    original = hf_for_gguf(family, tied)
    path = write_gguf(tmp_path / "tiny.gguf", original)
    before = graph_of(resolve(str(path))), Shape.of(config_of(resolve(str(path))) or {})
    close(opened(path), logits(original))
    assert before == (graph_of(resolve(str(path))), Shape.of(config_of(resolve(str(path))) or {}))


@pytest.mark.parametrize("family", GGUF_FAMILIES)
def test_two_readings_of_a_file_agree(tmp_path: Path, family: str) -> None:
    """Ours and transformers' own, which knows fewer keys but these tensors."""
    path = write_gguf(tmp_path / "tiny.gguf", hf_for_gguf(family))
    ours = read(path).state_dict()
    theirs = AutoModelForCausalLM.from_pretrained(
        tmp_path, gguf_file=path.name, dtype=torch.float32, config=hf_for_gguf(family).config
    ).state_dict()
    original = hf_for_gguf(family).state_dict()
    for name, value in theirs.items():
        assert torch.equal(value, original[name]), name
        assert torch.equal(ours[name], value), name


LLAMA3 = {"rope_type": "llama3", "rope_theta": THETA, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
LLAMA3 = {**LLAMA3, "original_max_position_embeddings": 400}


def slower(rope: Mapping[str, Any]) -> np.ndarray:
    """By how much each frequency of a Llama is lowered, as the converter writes it."""
    found = hf_for_gguf("llama", rope_parameters=dict(rope)).config
    scaled, _ = ROPE_INIT_FUNCTIONS[rope["rope_type"]](found)
    plain = 1 / THETA ** (torch.arange(0, 8, 2) / 8)
    factors = (plain / scaled).numpy().astype(np.float32)
    assert factors[0] == 1
    assert factors[-1] > 1
    return factors


YARN = {"rope_type": "yarn", "rope_theta": THETA, "factor": 4.0, "original_max_position_embeddings": 16}


@pytest.mark.parametrize("family", ["llama", "qwen2"])
@pytest.mark.parametrize(
    ("rope", "keys"),
    [
        ({"rope_type": "linear", "factor": 4.0}, {"rope.scaling.type": "linear", "rope.scaling.factor": 4.0}),
        ({"rope_type": "linear", "factor": 4.0}, {"rope.scaling.factor": 4.0}),
        ({"rope_type": "linear", "factor": 4.0}, {"rope.scale_linear": 4.0}),
        ({"rope_type": "default"}, {"rope.scaling.type": "none", "rope.scaling.factor": 4.0}),
        (YARN, {"rope.scaling.type": "yarn", "rope.scaling.factor": 4.0, "rope.scaling.original_context_length": 16}),
        (
            {**YARN, "attention_factor": 0.5 * (1 + 0.1 * float(np.log(4))), "beta_fast": 16.0, "beta_slow": 2.0},
            {
                "rope.scaling.type": "yarn",
                "rope.scaling.factor": 4.0,
                "rope.scaling.original_context_length": 16,
                "rope.scaling.attn_factor": 0.5,
                "rope.scaling.yarn_beta_fast": 16.0,
                "rope.scaling.yarn_beta_slow": 2.0,
                "rope.scaling.yarn_ext_factor": 1.0,
                "rope.scaling.finetuned": True,
            },
        ),
    ],
)
def test_stretched_positions(tmp_path: Path, family: str, rope: dict[str, Any], keys: dict[str, Any]) -> None:
    original = hf_for_gguf(family, rope_parameters={"rope_theta": THETA, **rope})
    got = opened(write_gguf(tmp_path / "tiny.gguf", original, keys))
    close(got, logits(original))
    if rope["rope_type"] != "default":
        assert (got - logits(hf_for_gguf(family))).abs().max() > 0.1, "ignoring the keys would show"


def test_the_slower_frequencies_of_llama_3(tmp_path: Path) -> None:
    original = hf_for_gguf("llama", rope_parameters=LLAMA3)
    path = write_gguf(tmp_path / "tiny.gguf", original, tensors={"rope_freqs.weight": slower(LLAMA3)})
    close(opened(path), logits(original))
    assert (logits(original) - logits(hf_for_gguf("llama"))).abs().max() > 0.1


def test_the_two_sets_of_frequencies_of_phi_3(tmp_path: Path) -> None:
    long, short = [1.0, 4.0], [1.0, 1.5]
    rope = {
        "rope_type": "longrope",
        "rope_theta": THETA,
        "partial_rotary_factor": 0.5,
        "long_factor": long,
        "short_factor": short,
        "attention_factor": 1.2,
        "original_max_position_embeddings": 32,
    }
    original = hf_for_gguf("phi3", rope_parameters=rope, original_max_position_embeddings=32)
    factors = {"rope_factors_long.weight": np.float32(long), "rope_factors_short.weight": np.float32(short)}
    keys = {"rope.scaling.attn_factor": 1.2, "rope.scaling.original_context_length": 32}
    path = write_gguf(tmp_path / "tiny.gguf", original, keys, factors)
    model = read(path)
    for length in (20, 60):
        with torch.no_grad():
            close(model(TOKENS[:, :length]).logits, original(TOKENS[:, :length]).logits)


def test_biases_and_windows_that_the_file_has(tmp_path: Path) -> None:
    biased = hf_for_gguf("llama", attention_bias=True, mlp_bias=True)
    close(opened(write_gguf(tmp_path / "biased.gguf", biased)), logits(biased))
    parallel = hf_for_gguf("stablelm", use_parallel_residual=True, use_qkv_bias=True)
    close(opened(write_gguf(tmp_path / "parallel.gguf", parallel)), logits(parallel))
    windowed = hf_for_gguf("phi3", sliding_window=12)
    path = write_gguf(tmp_path / "window.gguf", windowed, {"attention.sliding_window": 12})
    close(opened(path), logits(windowed))
    assert load_model(str(path)).hf_model.config.sliding_window == 12


@pytest.mark.parametrize(
    ("family", "keys"),
    [
        ("gemma2", {"attn_logit_softcapping": 4.0}),
        ("gemma2", {"final_logit_softcapping": 6.0}),
        ("gemma2", {"attention.sliding_window": 9}),
        ("gemma3_text", {"final_logit_softcapping": 6.0}),
        ("gemma3_text", {"attention.sliding_window": 9}),
        ("gemma3_text", {"attention.sliding_window_pattern": 3}),
        ("gemma3_text", {"rope.freq_base_swa": 90.0}),
        ("gemma3_text", {"rope.scaling.type": "linear", "rope.scaling.factor": 8.0}),
    ],
)
def test_each_key_of_gemma_is_computed_with(tmp_path: Path, family: str, keys: dict[str, Any]) -> None:
    """The same key in a config gives the same logits, and other ones than without it."""
    rope = hf_for_gguf(family).config.rope_parameters
    layers = ["sliding_attention", "sliding_attention", "full_attention"] * 2
    changes = {
        "attention.sliding_window": lambda value: {"sliding_window": value},
        "attention.sliding_window_pattern": lambda _: {"layer_types": layers},
        "rope.freq_base_swa": lambda value: {
            "rope_parameters": {**rope, "sliding_attention": {"rope_type": "default", "rope_theta": value}}
        },
        "rope.scaling.type": lambda value: {
            "rope_parameters": {**rope, "full_attention": rope["full_attention"] | {"rope_type": value, "factor": 8.0}}
        },
    }
    key, value = next(iter(keys.items()))
    original = hf_for_gguf(family, **changes.get(key, lambda value: {key: value})(value))
    path = write_gguf(tmp_path / "tiny.gguf", hf_for_gguf(family), keys)
    close(opened(path), logits(original))
    assert (logits(original) - logits(hf_for_gguf(family))).abs().max() > 0.01, "ignoring the key would show"


def test_gemma_3_without_a_window_looks_everywhere(tmp_path: Path) -> None:
    original = hf_for_gguf("gemma3_text", layer_types=["full_attention"] * 6)
    close(opened(write_gguf(tmp_path / "tiny.gguf", original, {"attention.sliding_window": None})), logits(original))


@pytest.mark.parametrize("family", ["gemma2", "gemma3_text", "qwen3"])
def test_new_architectures_pass_the_self_check(tmp_path: Path, family: str) -> None:
    masked = open_masked(load_model(str(write_gguf(tmp_path / "tiny.gguf", hf_for_gguf(family)))))
    assert masked.model.parts.ways == {"closed": masked.graph.n_layers}
    assert masked.graph.post_norm == family.startswith("gemma")


# -- refused by name -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("keys", "told"),
    [
        ({"attn_logit_softcapping": 50.0}, "llama.attn_logit_softcapping = 50.0"),
        ({"final_logit_softcapping": 30.0}, "llama.final_logit_softcapping = 30.0"),
        ({"attention.sliding_window": 16}, "llama.attention.sliding_window = 16"),
        ({"attention.sliding_window_pattern": [True, False]}, "llama.attention.sliding_window_pattern"),
        ({"attention.head_count_kv": [2, 1]}, "llama.attention.head_count_kv = [2, 1]"),
        ({"attention.causal": False}, "llama.attention.causal = False"),
        ({"attention.scale": 0.5}, "llama.attention.scale = 0.5"),
        ({"attention.clamp_kqv": 8.0}, "llama.attention.clamp_kqv = 8.0"),
        ({"attention.value_length": 4}, "llama.attention.value_length = 4"),
        ({"rope.dimension_count": 4}, "llama.rope.dimension_count = 4"),
        ({"rope.scaling.type": "longrope", "rope.scaling.factor": 4.0}, "llama.rope.scaling.type = longrope"),
        ({"rope.scaling.type": "later", "rope.scaling.factor": 4.0}, "llama.rope.scaling.type = later"),
        ({"rope.scaling.yarn_ext_factor": 0.5}, "llama.rope.scaling.yarn_ext_factor = 0.5"),
        ({"rope.scaling.attn_factor": 1.5}, "llama.rope.scaling.attn_factor = 1.5"),
        ({"logit_scale": 0.25}, "llama.logit_scale = 0.25"),
        ({"embedding_scale": 12.0, "residual_scale": 0.5}, "llama.embedding_scale = 12.0; llama.residual_scale = 0.5"),
        ({"expert_count": 8, "expert_used_count": 2}, "llama.expert_count = 8; llama.expert_used_count = 2"),
        ({"use_parallel_residual": True}, "llama.use_parallel_residual = True"),
    ],
)
def test_keys_that_change_the_computation_are_refused_by_name(tmp_path: Path, keys: dict[str, Any], told: str) -> None:
    path = write_gguf(tmp_path / "tiny.gguf", hf_for_gguf("llama"), keys)
    assert graph_of(resolve(str(path))) is not None, "a page can show it before it is refused"
    with pytest.raises(UnsupportedModelError) as caught:
        load_model(str(path))
    assert f"its header says {told}" in str(caught.value)
    assert not gguf_cache(weights_sha256(resolve(str(path))) or "").exists()


def test_two_kinds_of_stretched_positions_at_once_are_refused(tmp_path: Path) -> None:
    factors = {"rope_freqs.weight": slower(LLAMA3)}
    path = write_gguf(tmp_path / "tiny.gguf", hf_for_gguf("llama"), {"rope.scaling.factor": 4.0}, factors)
    with pytest.raises(UnsupportedModelError, match=r"llama.rope.scaling.factor = 4.0"):
        load_model(str(path))


def test_keys_that_compute_nothing_are_harmless(tmp_path: Path) -> None:
    original = hf_for_gguf("llama")
    keys = {
        "expert_count": 0,
        "attn_logit_softcapping": 0.0,
        "logit_scale": 1.0,
        "attention.causal": True,
        "attention.head_count_kv": [2, 2],
        "attention.key_length": 8,
        "attention.value_length": 8,
        "vocab_size": VOCABULARY,
        "use_parallel_residual": False,
        "rope.scaling.type": "yarn",
    }
    path = write_gguf(
        tmp_path / "tiny.gguf", original, keys, quantize__imatrix__file="a", general__tags=["a"], acme__note=3
    )
    close(opened(path), logits(original))


@pytest.mark.parametrize(
    ("named", "told"),
    [
        ({"tokenizer__ggml__pre": "other"}, "tokenizer.ggml.pre = other"),
        ({"tokenizer__ggml__pre": None}, "tokenizer.ggml.pre = None"),
        ({"tokenizer__ggml__model": "rwkv"}, "tokenizer.ggml.model = rwkv"),
        (
            {"tokenizer__ggml__model": "llama", "tokenizer__ggml__add_space_prefix": False},
            "tokenizer.ggml.add_space_prefix = False",
        ),
    ],
)
def test_text_cut_in_an_unknown_way_is_refused(tmp_path: Path, named: dict[str, Any], told: str) -> None:
    path = write_gguf(tmp_path / "tiny.gguf", hf_for_gguf("llama"), **named)
    with pytest.raises(UnsupportedModelError, match=f"its header says {told}"):
        load_model(str(path))


@pytest.mark.parametrize(
    ("way", "pieces"),
    [
        ("gpt-2", ["it", "'s", "Ġ2024", ",", "ĠOK", "!!", "Ċ"]),
        ("smollm", ["it", "'s", "Ġ", "2", "0", "2", "4", ",", "ĠOK", "!!", "Ċ"]),
        ("llama-bpe", ["it", "'s", "Ġ", "202", "4", ",", "ĠOK", "!!Ċ"]),
        ("qwen2", ["it", "'s", "Ġ", "2", "0", "2", "4", ",", "ĠOK", "!!Ċ"]),
    ],
)
def test_text_is_cut_as_the_file_says(tmp_path: Path, way: str, pieces: list[str]) -> None:
    path = write_gguf(tmp_path / "tiny.gguf", hf_for_gguf("llama"), tokenizer__ggml__pre=way)
    assert [piece for piece, _ in words(path).pre_tokenizer.pre_tokenize_str("it's 2024, OK!!\n")] == pieces


@pytest.mark.parametrize(
    ("way", "says", "starts"),
    [
        ("gpt-2", None, False),
        ("gpt-2", True, True),
        ("llama-bpe", None, True),
        ("llama-bpe", True, True),
        ("llama-bpe", False, False),
    ],
)
def test_a_text_starts_as_the_models_own_tokenizer_starts_it(
    tmp_path: Path, way: str, says: bool | None, starts: bool
) -> None:
    named = {"tokenizer__ggml__pre": way, "tokenizer__ggml__add_bos_token": says, "tokenizer__ggml__bos_token_id": 0}
    path = write_gguf(tmp_path / "tiny.gguf", hf_for_gguf("llama"), **named)
    assert words(path).encode("a cat").tokens == ["<|end|>"] * starts + ["a", "Ġcat"]
    assert words(path).encode("a cat", add_special_tokens=False).tokens == ["a", "Ġcat"]


def test_sentencepiece_vocabularies(tmp_path: Path) -> None:
    tokens = ["<unk>", "<s>", "</s>", "▁", *"catdog", "at", "▁c", "▁cat", "▁a", "▁d", "og", "▁dog"]
    tokens += [f"<{number}>" for number in range(VOCABULARY - len(tokens))]
    path = write_gguf(
        tmp_path / "tiny.gguf",
        hf_for_gguf("llama"),
        tokenizer__ggml__model="llama",
        tokenizer__ggml__pre=None,
        tokenizer__ggml__merges=None,
        tokenizer__ggml__tokens=tokens,
        tokenizer__ggml__scores=[-float(number) for number in range(VOCABULARY)],
        tokenizer__ggml__token_type=[2, 3, 3, *[1] * (VOCABULARY - 3)],
        tokenizer__ggml__bos_token_id=1,
    )
    assert words(path).encode("a cat dog").tokens == ["<s>", "▁a", "▁cat", "▁dog"]
    assert words(path).decode(words(path).encode("a cat dog").ids) == "a cat dog"


def test_the_vocabulary_of_gemma(tmp_path: Path) -> None:
    """No space is put before a text; the pieces of a word are joined in the order of the list."""
    tokens = ["<pad>", "<eos>", "<bos>", "<unk>", "▁", *"catdog", "at", "cat", "▁cat", "og", "dog", "▁dog", "  "]
    tokens += [f"<{number}>" for number in range(VOCABULARY - len(tokens))]
    named: dict[str, Any] = {
        "tokenizer__ggml__model": "llama",
        "tokenizer__ggml__pre": "default",
        "tokenizer__ggml__merges": None,
        "tokenizer__ggml__tokens": tokens,
        "tokenizer__ggml__scores": [-float(number) for number in range(VOCABULARY)],
        "tokenizer__ggml__token_type": [3, 3, 3, 3, *[1] * (VOCABULARY - 4)],
        "tokenizer__ggml__bos_token_id": 2,
        "tokenizer__ggml__unknown_token_id": 3,
    }
    no_space = {"tokenizer__ggml__add_space_prefix": False}
    path = write_gguf(tmp_path / "tiny.gguf", hf_for_gguf("gemma2"), **named, **no_space)
    found = words(path)
    assert found.encode("cat dog").tokens == ["<bos>", "cat", "▁dog"]
    assert found.encode(" cat", add_special_tokens=False).tokens == ["▁cat"]
    assert found.decode(found.encode("cat dog").ids) == "cat dog"
    other = write_gguf(tmp_path / "other.gguf", hf_for_gguf("gemma2"), **named)
    with pytest.raises(UnsupportedModelError, match=r"its header says tokenizer\.ggml\.add_space_prefix = True"):
        load_model(str(other))


def test_a_word_of_llama_3_stays_whole_without_merges(tmp_path: Path) -> None:
    path = write_gguf(tmp_path / "tiny.gguf", hf_for_gguf("llama"), tokenizer__ggml__pre="llama-bpe")
    assert words(path).encode("cat at", add_special_tokens=False).tokens == ["c", "at", "Ġ", "at"]
    vocabulary = list(words(path).get_vocab())
    assert "Ġcat" in vocabulary
    merges = ["a t", "Ġ d", "o g", "Ġd og"]  # none leads to the word for a cat
    path = write_gguf(
        tmp_path / "other.gguf", hf_for_gguf("llama"), tokenizer__ggml__pre="llama-bpe", tokenizer__ggml__merges=merges
    )
    assert words(path).encode("a cat", add_special_tokens=False).tokens == ["a", "Ġcat"]


def test_a_file_that_was_cut_short_is_refused(tmp_path: Path) -> None:
    path = write_gguf(tmp_path / "tiny.gguf", hf_for_gguf("llama"))
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ModelError, match="cannot be read as a language model") as caught:
        load_model(str(path))
    assert "\n" not in str(caught.value)


def test_weights_that_are_no_numbers_are_refused(tmp_path: Path) -> None:
    broken = {"output_norm.weight": np.full(32, np.nan, np.float32)}
    path = write_gguf(tmp_path / "tiny.gguf", hf_for_gguf("llama"), tensors=broken)
    with pytest.raises(ModelError, match=r"not finite .*\(model.norm.weight\)"):
        load_model(str(path))


@pytest.mark.parametrize(
    ("tensors", "told"),
    [
        ({"blk.1.ffn_up.weight": np.zeros(0)}, r"1 of its tensors are missing \(blk.1.ffn_up.weight\)"),
        ({"blk.0.attn_q_norm.weight": np.ones(8, np.float32)}, r"have no place .*\(blk.0.attn_q_norm.weight\)"),
        ({"blk.0.attn_k.bias": np.ones(16, np.float32)}, r"have no place .*\(blk.0.attn_k.bias\)"),
        ({"output_norm.weight": np.ones(8, np.float32)}, r"another shape than the header says \(model.norm.weight\)"),
    ],
)
def test_tensors_are_all_used_or_refused_by_name(tmp_path: Path, tensors: Mapping[str, np.ndarray], told: str) -> None:
    path = write_gguf(tmp_path / "tiny.gguf", hf_for_gguf("llama"), tensors=tensors)
    with pytest.raises(ModelError, match=told):
        load_model(str(path))
    assert tokenizer_file(resolve(str(path))) is None


def test_an_architecture_that_cannot_be_read_says_so(tmp_path: Path) -> None:
    path = write_gguf(tmp_path / "tiny.gguf", hf_for_gguf("llama"), architecture="plamo")
    with pytest.raises(UnsupportedModelError, match=r"is a plamo model; of \.gguf files gemma2, gemma3, gpt2, llama"):
        load_model(str(path))


@pytest.mark.parametrize("pieces", [1, 3])
def test_a_converter_that_is_wrong_about_one_tensor_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pieces: int
) -> None:
    original = hf_for_gguf("llama")
    path = write_gguf(tmp_path / "tiny.gguf", original, pieces=pieces)
    layout = convert._layout

    def forgetful(header: Header, name: str) -> Callable[[Tensor], Tensor]:
        return (lambda x: x) if name == "blk.1.attn_k.weight" else layout(header, name)

    with monkeypatch.context() as patch:
        patch.setattr(convert, "_layout", forgetful)
        with pytest.raises(ModelError, match=r"blk\.1\.attn_k\.weight \(model\.layers\.1\.self_attn\.k_proj\.weight\)"):
            load_model(str(path))
        assert tokenizer_file(resolve(str(path))) is None, "nothing of it is kept"
    close(opened(path), logits(original))


@pytest.mark.parametrize("family", GGUF_FAMILIES)
def test_a_copy_that_was_written_wrongly_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, family: str
) -> None:
    """One number of one tensor, as a new version of a library might make it."""
    path = write_gguf(tmp_path / "tiny.gguf", hf_for_gguf(family))

    def wrong(tensors: dict[str, Tensor], file: Path, metadata: dict[str, str]) -> None:
        name = sorted(tensors)[3]
        tensors[name] = tensors[name].clone()
        tensors[name].flatten()[-1] += 1e-6
        save_file(tensors, file, metadata)

    monkeypatch.setattr("safetensors.torch.save_file", wrong)
    with pytest.raises(ModelError, match="two readings of the tensor"):
        load_model(str(path))


# -- split files ---------------------------------------------------------------------------------


def test_all_pieces_of_a_split_file_are_read(tmp_path: Path) -> None:
    original = hf_for_gguf("llama")
    first = write_gguf(tmp_path / "tiny.gguf", original, pieces=3)
    assert first.name == "tiny-00001-of-00003.gguf"
    source = resolve(str(tmp_path / "tiny-00002-of-00003.gguf"))
    assert source.path == first, "any piece names the model"
    assert Shape.of(config_of(source) or {}) == Shape.of(original.config.to_dict())
    model = load_model(str(first))
    close(logits(model.hf_model), logits(original))
    assert model.sha256 == weights_sha256(source)
    last = tmp_path / "tiny-00003-of-00003.gguf"
    last.write_bytes(last.read_bytes()[:-4] + b"\0\0\0\0")
    assert weights_sha256(source) != model.sha256, "a change in any piece is another model"


def test_a_piece_without_the_others_is_refused(tmp_path: Path) -> None:
    first = write_gguf(tmp_path / "tiny.gguf", hf_for_gguf("llama"), pieces=2)
    (tmp_path / "tiny-00002-of-00002.gguf").unlink()
    with pytest.raises(ModelError, match=r"one piece of 2 .* no tiny-00002-of-00002\.gguf"):
        resolve(str(first))
    renamed = first.rename(tmp_path / "tiny.gguf")
    with pytest.raises(ModelError, match="a piece of a model in 2 pieces with 21 tensors; 1 with 11 were found"):
        load_model(str(renamed))


# -- the file's own tokenizer, and the cache -----------------------------------------------------


def test_the_tokenizer_is_the_files_own_whatever_lies_beside_it(tmp_path: Path) -> None:
    original = hf_for_gguf("llama")
    path = write_gguf(tmp_path / "tiny.gguf", original)
    tokenizer().save(str(tmp_path / "tokenizer.json"))
    for name, content in {
        "tokenizer_config.json": {"tokenizer_class": "GPT2Tokenizer", "bos_token": "<1>", "add_bos_token": True},
        "config.json": {"model_type": "gpt2", "n_embd": 7},
        "special_tokens_map.json": {"bos_token": "<2>"},
        "adapter_config.json": {"peft_type": "LORA"},
    }.items():
        (tmp_path / name).write_text(json.dumps(content))
    model = load_model(str(path))
    assert model.tokenizer.encode("a cat dog").tokens == ["a", "Ġcat", "Ġdog"]
    assert model.tokenizer.encode("<|end|>a").ids == [0, 1]
    close(logits(model.hf_model), logits(original))
    (tmp_path / "alone").mkdir()
    shutil.copy(path, tmp_path / "alone")
    shutil.rmtree(tmp_path / "home")
    assert load_model(str(tmp_path / "alone" / path.name)).tokenizer.to_str() == model.tokenizer.to_str()


@pytest.mark.parametrize("damage", ["version", "weights", "tokenizer", "receipt"])
def test_a_copy_of_another_version_or_that_changed_is_made_anew(tmp_path: Path, damage: str) -> None:
    original = hf_for_gguf("llama")
    path = write_gguf(tmp_path / "tiny.gguf", original)
    load_model(str(path))
    source = resolve(str(path))
    sha = weights_sha256(source) or ""
    folder = gguf_cache(sha)
    assert converted(sha) == folder
    receipt = json.loads((folder / RECEIPT).read_text())
    if damage == "version":
        (folder / RECEIPT).write_text(json.dumps(receipt | {"version": 2}))
    elif damage == "receipt":
        (folder / RECEIPT).unlink()
    elif damage == "tokenizer":
        tokenizer().save(str(folder / "tokenizer.json"))
    else:
        hf_for_gguf("llama", rms_norm_eps=0.5).save_pretrained(folder)
    if damage != "weights":
        assert converted(sha) is None
        assert tokenizer_file(source) is None
    model = load_model(str(path))
    close(logits(model.hf_model), logits(original))
    assert model.tokenizer.encode("a cat").tokens == ["a", "Ġcat"]
    assert converted(sha) == folder


def test_a_disk_that_takes_no_copy_is_told_as_that_and_keeps_no_part(
    tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not as a damaged file: downloading it again would lead nowhere."""
    path = write_gguf(tmp_path / "tiny.gguf", hf_for_gguf("llama"))

    def full(tensors: object, file: Path, metadata: object) -> None:
        file.write_bytes(b"the first part")
        raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")

    with monkeypatch.context() as patch:
        patch.setattr("safetensors.torch.save_file", full)
        with pytest.raises(DiskError, match="the disk is full"):
            load_model(str(path))
    assert not list(home.rglob("*.part"))
    assert load_model(str(path))
    monkeypatch.setenv("HAP_HOME", str(path / "below a file"))
    with pytest.raises(DiskError, match="HAP_HOME"):
        load_model(str(path))


def test_a_copy_opened_by_itself_is_checked_too(tmp_path: Path) -> None:
    path = write_gguf(tmp_path / "tiny.gguf", hf_for_gguf("llama"))
    load_model(str(path))
    folder = gguf_cache(weights_sha256(resolve(str(path))) or "")
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x01")
    with pytest.raises(ModelError, match=r"copy .* has changed.*open the \.gguf file"):
        load_model(str(folder))


def test_every_tensor_of_the_builder_has_a_name() -> None:
    assert "None.weight" not in {name for family in GGUF_FAMILIES for name in tensors_of(hf_for_gguf(family))}


@pytest.mark.real_model
def test_two_readings_of_the_real_file_agree(smollm2: str, shared_home: None) -> None:
    path = Path(smollm2)
    theirs = AutoModelForCausalLM.from_pretrained(path.parent, gguf_file=path.name, dtype=torch.float32).state_dict()
    ours = read(path).state_dict()
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], value) for name, value in theirs.items())
