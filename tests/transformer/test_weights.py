"""Every weight of an opened model is the file's: what is missing, unknown or broken is refused by name."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from hap_engine.errors import ModelError, UnsupportedModelError
from hap_engine.models.hub import missing_weights
from hap_engine.transformer.load import Model, load_model
from tests.builders.fake_hub import put
from tests.builders.tiny_models import FAMILIES, hf_model, saved, tokenizer

Weights = Mapping[str, Tensor]
TOKENS = torch.arange(5)[None]


@pytest.fixture
def rewritten(tmp_path: Path) -> Callable[..., Path]:
    """Makes a copy of a tiny saved model with other tensors or another config."""

    def make(family: str, change: Callable[[Weights], Weights] = dict, **config: object) -> Path:
        path = saved(family, tmp_path / family)
        file = path / "model.safetensors"
        save_file(dict(change(load_file(file))), file, metadata={"format": "pt"})
        told = json.loads((path / "config.json").read_text())
        (path / "config.json").write_text(json.dumps(told | config))
        return path

    return make


def logits(model: Model) -> Tensor:
    with torch.no_grad():
        return model.hf_model(TOKENS).logits


def original(family: str) -> Tensor:
    with torch.no_grad():
        return hf_model(family)(TOKENS).logits


def within(prefix: str) -> Callable[[Weights], Weights]:
    return lambda weights: {prefix + key: value for key, value in weights.items()}


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(
    ("prefix", "wrapper"),
    [("_orig_mod.", "torch.compile"), ("module.", "DistributedDataParallel"), ("module._orig_mod.", "torch.compile")],
)
def test_what_training_wraps_a_model_in_is_taken_off(
    rewritten: Callable[..., Path], family: str, prefix: str, wrapper: str
) -> None:
    told: list[str] = []
    path = rewritten(family, within(prefix))
    model = load_model(str(path), progress=lambda text, share: told.append(text))
    torch.testing.assert_close(logits(model), original(family))
    assert any(wrapper in text and "without that prefix" in text for text in told)


def test_a_wrapper_of_an_inner_part_is_taken_off(rewritten: Callable[..., Path]) -> None:
    path = rewritten("llama", lambda w: {key.replace("model.", "model._orig_mod."): v for key, v in w.items()})
    torch.testing.assert_close(logits(load_model(str(path))), original("llama"))


def without(part: str) -> Callable[[Weights], Weights]:
    return lambda weights: {key: value for key, value in weights.items() if part not in key}


def changed(part: str, change: Callable[[Tensor], Tensor]) -> Callable[[Weights], Weights]:
    return lambda weights: {key: change(value) if part in key else value for key, value in weights.items()}


def spoiled(value: float) -> Callable[[Tensor], Tensor]:
    return lambda weight: weight.clone().index_fill_(0, torch.tensor([1]), value)


@pytest.mark.parametrize(
    ("family", "change", "words"),
    [
        ("gpt2", without("lm_head"), r"1 of its tensors are missing .*\(lm_head.weight\)"),
        ("llama", without("lm_head"), r"missing .*\(lm_head.weight\)"),
        ("neox", without("embed_out"), r"missing .*\(lm_head.weight\)"),
        ("llama", without("layers.1."), r"9 of its tensors are missing .*model.layers.1.*and 6 more"),
        ("llama", within("other."), r"21 of its tensors are missing"),
        ("gpt2", lambda w: {**w, "score.weight": torch.ones(2, 32)}, r"1 of its tensors have no place .*score.weight"),
        ("llama", lambda w: {**w, "model.layers.0.self_attn.q_proj.lora_A.weight": torch.ones(2)}, "no place.*lora_A"),
        ("llama", changed("lm_head", lambda w: w[:70]), r"lm_head.weight \[70, 32\] for \[72, 32\]"),
        ("qwen2", changed("layers.0.mlp.up_proj", lambda w: w[:0]), r"another shape .*\[0, 32\]"),
        ("gpt2", changed("wte", lambda w: w.to(torch.int8)), r"stored as integers.*transformer.wte.weight"),
        ("gpt2", changed("c_proj.bias", lambda w: w.to(torch.int8)), r"4 of .* stored as integers.*attn.c_proj.bias"),
        ("gpt2", changed("ln_f.weight", lambda w: w > 0), r"stored as integers.*ln_f.weight"),
        ("llama", changed("norm.weight", spoiled(float("nan"))), "5 of its tensors hold values that are not finite"),
        ("llama", changed("lm_head", spoiled(float("-inf"))), r"not finite .*\(lm_head.weight\)"),
    ],
)
def test_a_model_that_is_not_all_there_is_refused_by_name(
    rewritten: Callable[..., Path], family: str, change: Callable[[Weights], Weights], words: str
) -> None:
    with pytest.raises(ModelError, match=words) as caught:
        load_model(str(rewritten(family, change)))
    message = str(caught.value)
    assert message.startswith(f"{family} is not a complete ")
    assert "save_pretrained" in message
    assert "\n" not in message


def test_a_base_model_without_its_head_is_refused(tmp_path: Path) -> None:
    saved("llama", tmp_path)
    (tmp_path / "model.safetensors").unlink()
    hf_model("llama").model.save_pretrained(tmp_path)
    with pytest.raises(ModelError, match=r"missing .*\(lm_head.weight\)"):
        load_model(str(tmp_path))


@pytest.mark.parametrize("family", FAMILIES)
def test_tied_weights_are_stored_once_and_complete(rewritten: Callable[..., Path], family: str) -> None:
    names = {"lm_head.weight", "embed_out.weight"}
    path = rewritten(family, lambda w: {k: v for k, v in w.items() if k not in names}, tie_word_embeddings=True)
    model = load_model(str(path))
    head = model.hf_model.get_output_embeddings().weight
    assert torch.equal(head, hf_model(family).get_input_embeddings().weight)


def test_a_head_of_its_own_is_kept_whatever_the_config_says(rewritten: Callable[..., Path]) -> None:
    path = rewritten("llama", tie_word_embeddings=True)
    torch.testing.assert_close(logits(load_model(str(path))), original("llama"))


def test_masks_and_positions_of_old_checkpoints_are_harmless(rewritten: Callable[..., Path]) -> None:
    mask = {"transformer.h.0.attn.bias": torch.ones(1, 1, 8, 8, dtype=torch.uint8)}
    torch.testing.assert_close(logits(load_model(str(rewritten("gpt2", lambda w: {**w, **mask})))), original("gpt2"))
    old = {
        "gpt_neox.layers.0.attention.bias": torch.ones(1, 1, 8, 8, dtype=torch.bool),
        "gpt_neox.layers.0.attention.masked_bias": torch.tensor(-1e9),
        "gpt_neox.layers.0.attention.rotary_emb.inv_freq": torch.ones(4),
    }
    torch.testing.assert_close(logits(load_model(str(rewritten("neox", lambda w: {**w, **old})))), original("neox"))


def test_a_shard_that_is_not_there_is_named(tmp_path: Path) -> None:
    hf_model("gpt2").save_pretrained(tmp_path, max_shard_size="40KB")
    lost = sorted(tmp_path.glob("*.safetensors"))[-1]
    lost.unlink()
    assert missing_weights(tmp_path) == [lost.name]
    with pytest.raises(ModelError, match=f"found no {lost.name}"):
        load_model(str(tmp_path))


def test_an_index_that_leaves_a_shard_out_is_refused(tmp_path: Path) -> None:
    hf_model("gpt2").save_pretrained(tmp_path, max_shard_size="40KB")
    file = tmp_path / "model.safetensors.index.json"
    index = json.loads(file.read_text())
    dropped = sorted(set(index["weight_map"].values()))[0]
    index["weight_map"] = {key: shard for key, shard in index["weight_map"].items() if shard != dropped}
    file.write_text(json.dumps(index))
    with pytest.raises(ModelError, match="are missing and would be random"):
        load_model(str(tmp_path))


def test_weights_that_a_folder_holds_twice_are_refused(tmp_path: Path) -> None:
    """An older file beside newer pieces: the file was taken without a word."""
    hf_model("gpt2").save_pretrained(tmp_path, max_shard_size="40KB")
    tokenizer().save(str(tmp_path / "tokenizer.json"))
    load_model(str(tmp_path))
    save_file({key: 2 * value for key, value in hf_model("gpt2").state_dict().items()}, tmp_path / "model.safetensors")
    with pytest.raises(ModelError, match=r"holds weights twice: in model\.safetensors, and in the pieces"):
        load_model(str(tmp_path))


def test_a_note_of_git_lfs_is_told_as_that(folder: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(folder, tmp_path / "cloned"))
    (copy / "model.safetensors").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:ab\nsize 5\n")
    with pytest.raises(ModelError, match=r"cloned holds no weights: model\.safetensors is a note of Git LFS"):
        load_model(str(copy))


def test_an_adapter_is_not_taken_for_a_model(folder: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(folder, tmp_path / "tuned"))
    (copy / "adapter_config.json").write_text("{}")
    with pytest.raises(ModelError, match=r"tuned holds an adapter.*Merge"):
        load_model(str(copy))


def test_codes_are_not_taken_for_weights(rewritten: Callable[..., Path]) -> None:
    path = rewritten("llama", quantization_config={"quant_method": "gptq", "bits": 4})
    with pytest.raises(UnsupportedModelError, match=r"stored quantised \(gptq\)"):
        load_model(str(path))


def test_hub_models_are_checked_alike(
    rewritten: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    put(tmp_path / "hub", "someone/headless", rewritten("gpt2", without("lm_head")))
    with pytest.raises(ModelError, match=r"someone/headless .*missing .*\(lm_head.weight\)"):
        load_model("someone/headless")


@pytest.mark.parametrize(
    ("header", "words"),
    [
        (b"\xff" * 8, "should be at most 16 MB, got 18,446,744,073,709,551,615 bytes"),
        (b'{"a":' * 100_000, "nested more than 32 levels"),
        (b'{"a": 1}', "is damaged"),
        (b"[]", "is damaged"),
        (b'{"a": {"dtype": "F32", "shape": [], "data_offsets": [0, 4]}, "a": {}}', "'a' is named twice"),
    ],
)
def test_the_header_of_weights_is_bounded_before_it_is_parsed(tmp_path: Path, header: bytes, words: str) -> None:
    path = saved("gpt2", tmp_path / "model")
    size = b"" if header.startswith(b"\xff") else len(header).to_bytes(8, "little")
    (path / "model.safetensors").write_bytes(size + header)
    started = time.process_time()
    with pytest.raises(ModelError, match=words):
        load_model(str(path))
    assert time.process_time() - started < 10


def test_a_tokenizer_nested_without_end_or_too_large_is_refused(tmp_path: Path) -> None:
    path = saved("gpt2", tmp_path / "model") / "tokenizer.json"
    path.write_bytes(b'{"a":' * 1_000_000)
    with pytest.raises(ModelError, match=r"Expected a tokenizer in tokenizer\.json"):
        load_model(str(path.parent))
    with path.open("wb") as file:
        file.truncate(300 * 2**20)
    with pytest.raises(ModelError, match="300 MB large, expected at most 256"):
        load_model(str(path.parent))


def test_no_empty_tokenizer_takes_the_place_of_one_that_is_missing(tmp_path: Path) -> None:
    path = saved("gpt2", tmp_path / "model")
    (path / "tokenizer.json").unlink()
    os.mkfifo(path / "tokenizer.json")
    with pytest.raises(ModelError, match="it has no tokenizer"):
        load_model(str(path))
    (path / "tokenizer.json").unlink()
    (path / "tokenizer_config.json").write_text('{"tokenizer_class": "GPT2Tokenizer"}')
    with pytest.raises(ModelError):
        load_model(str(path))
