"""Checkpoints that hold more than the plain weights of a language model: other parts, or codes for weights."""

from __future__ import annotations

import json
from importlib import metadata
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from hap_engine.errors import ModelError, UnsupportedModelError
from hap_engine.masked.opening import open_masked
from hap_engine.models.supported import CODED, check_config, graph_of_config
from hap_engine.transformer.load import Model, load_model
from hap_engine.transformer.stored_forms import as_numbers
from tests.builders.family_zoo import build
from tests.builders.tiny_models import VOCABULARY, made_of, tokenizer
from tests.builders.wrapper_zoo import WRAPPERS, wrapper

IDS = torch.randint(VOCABULARY, (1, 9), generator=torch.Generator().manual_seed(3))
INNER = {"llama4": "language_model", "blip-2": "language_model", "instructblip": "language_model"}


def stored(kind: str, path: Path) -> Path:
    model = wrapper(kind)
    model.save_pretrained(path)
    tokenizer().save(str(path / "tokenizer.json"))
    return path


def logits(model: Model) -> torch.Tensor:
    masked = open_masked(model)
    return masked.unembed(masked.trace(IDS, torch.tensor([IDS.shape[1] - 1])).final)


@pytest.mark.parametrize("kind", WRAPPERS)
def test_the_text_part_is_the_model_on_text(tmp_path: Path, kind: str) -> None:
    """Also what its config tells before; what no text reaches is not kept."""
    path, whole = stored(kind, tmp_path), wrapper(kind)
    config = json.loads((path / "config.json").read_text())
    check_config(config, kind)
    said: list[str] = []
    model = load_model(str(path), progress=lambda text, share: said.append(text))
    part = whole.get_submodule(INNER[kind]) if kind in INNER else whole
    with torch.no_grad():
        want = part(IDS, use_cache=False).logits[:, -1]
    torch.testing.assert_close(logits(model), want, atol=1e-4, rtol=1e-4)
    assert graph_of_config(config) == model.graph
    assert any("its text part is opened alone" in text for text in said)
    if kind != "mistral4":  # it has no other parts
        assert model.n_parameters < whole.num_parameters()
    assert model.to_dict()["vocabulary"] == VOCABULARY


def test_what_a_wrapper_lacks_or_has_besides_is_refused(tmp_path: Path) -> None:
    """Its towers for pictures count: a checkpoint without one is not whole."""
    path = stored("gemma3", tmp_path)
    file = path / "model.safetensors"
    whole = load_file(file)
    for words, change in (
        (r"missing .*embed_tokens", {key: value for key, value in whole.items() if "embed_tokens" not in key}),
        (r"missing .*vision", {key: value for key, value in whole.items() if "vision" not in key}),
        (r"no place .*score.weight", {**whole, "score.weight": torch.ones(2, 32)}),
    ):
        save_file(change, file, metadata={"format": "pt"})
        with pytest.raises(ModelError, match=words):
            load_model(str(path))


@pytest.mark.parametrize(
    ("kind", "text", "words"),
    [
        ("mllama", "mllama_text_model", "look at a picture.*Try Llama 3.2 1B"),
        ("kosmos-2", "kosmos_2_text_model", "no text without a picture.*Try Gemma 3"),
        ("lfm2_vl", "lfm2", "attention heads.*Try SmolLM2"),
        ("gemma3n", "gemma3n_text", "several residual streams.*Try Gemma 3"),
    ],
)
def test_wrappers_that_cannot_work_are_told_from_their_config(kind: str, text: str, words: str) -> None:
    with pytest.raises(UnsupportedModelError, match=words):
        check_config({"model_type": kind, "text_config": {"model_type": text}}, kind)


# -- codes ---------------------------------------------------------------------------------------

FP4 = torch.tensor([0, 0.5, 1, 1.5, 2, 3, 4, 6, -0.0, -0.5, -1, -1.5, -2, -3, -4, -6])
BLOCK = 32  # codes that share a scale


def with_codes(path: Path, weights: dict[str, torch.Tensor], **settings: object) -> Path:
    """A saved model with other tensors, of which the config says that they are codes."""
    save_file({key: value.contiguous() for key, value in weights.items()}, path / "model.safetensors", {"format": "pt"})
    config = json.loads((path / "config.json").read_text())
    (path / "config.json").write_text(json.dumps(config | {"quantization_config": settings}))
    return path


def saved(name: str, path: Path, **more: int) -> tuple[Path, dict[str, torch.Tensor]]:
    build(name, **more).save_pretrained(path)
    tokenizer().save(str(path / "tokenizer.json"))
    return path, load_file(path / "model.safetensors")


def test_codes_of_gpt_oss_are_read_as_numbers(tmp_path: Path) -> None:
    """MXFP4: two codes of four bits in a byte, and one power of 2 for 32 of them."""
    path, weights = saved("gpt_oss", tmp_path, intermediate_size=2 * BLOCK)
    generator, wanted = torch.Generator().manual_seed(0), dict(weights)
    for key in [key for key in weights if key.endswith(("gate_up_proj", "down_proj"))]:
        experts, read, out = weights.pop(key).shape
        codes = torch.randint(16, (experts, out, read // BLOCK, BLOCK), generator=generator)
        scales = torch.randint(124, 127, (experts, out, read // BLOCK), generator=generator)
        weights[f"{key}_blocks"] = (codes[..., ::2] + 16 * codes[..., 1::2]).to(torch.uint8)
        weights[f"{key}_scales"] = scales.to(torch.uint8)
        wanted[key] = (FP4[codes] * 2.0 ** (scales[..., None] - 127)).flatten(2).mT
    model = load_model(str(with_codes(path, weights, quant_method="mxfp4", modules_to_not_convert=["lm_head"])))
    for key, value in model.hf_model.state_dict().items():
        torch.testing.assert_close(value, wanted[key], atol=0, rtol=0)
    open_masked(model)


def test_codes_of_eight_bits_are_read_as_numbers(tmp_path: Path) -> None:
    """FP8, with a scale for each block of rows and columns (DeepSeek V3)."""
    path, weights = saved("qwen3", tmp_path)
    wanted = dict(weights)
    for key in [key for key in weights if "_proj" in key]:
        blocks = [-(-size // 16) for size in weights[key].shape]
        scales = torch.rand(blocks, generator=torch.Generator().manual_seed(0)) / 100
        whole = scales.repeat_interleave(16, 0).repeat_interleave(16, 1)[: len(weights[key]), : weights[key].shape[1]]
        weights[key] = (weights[key] / whole).clamp(-448, 448).to(torch.float8_e4m3fn)
        wanted[key] = weights[key].float() * whole
        weights[f"{key}_scale_inv"] = scales
    settings = {"quant_method": "fp8", "weight_block_size": [16, 16], "activation_scheme": "dynamic"}
    model = load_model(str(with_codes(path, weights, **settings)))
    for key, value in model.hf_model.state_dict().items():
        torch.testing.assert_close(value, wanted[key])
    open_masked(model)


class Coded(torch.nn.Module):
    """A linear part as libraries have them: codes, a scale for each row, numbers only while it is called."""

    def __init__(self, linear: torch.nn.Linear) -> None:
        super().__init__()
        self.in_features, self.out_features = linear.in_features, linear.out_features
        scale = linear.weight.abs().amax(1, keepdim=True) / 127
        self.register_buffer("scale", scale)
        self.register_buffer("codes", (linear.weight / scale).round().to(torch.int8))
        self.bias = linear.bias

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.linear(x, self.codes * self.scale, self.bias)


class Library:
    """One that cannot make numbers of its codes itself."""

    def dequantize(self, *_: object, **__: object) -> None:
        raise NotImplementedError

    def remove_quantization_config(self, model: torch.nn.Module) -> None:
        del model.hf_quantizer


def test_linear_parts_that_hold_codes_are_asked_for_their_numbers() -> None:
    model = build("qwen2").requires_grad_(False)
    for name, part in list(model.named_modules()):
        if isinstance(part, torch.nn.Linear):
            above, _, own = name.rpartition(".")
            setattr(model.get_submodule(above), own, Coded(part))
    model.hf_quantizer = Library()
    with torch.no_grad():
        want = model(IDS).logits
        as_numbers(model)
        torch.testing.assert_close(model(IDS).logits, want)
    assert not any(isinstance(part, Coded) for part in model.modules())
    open_masked(made_of(model))


@pytest.mark.parametrize("kind", sorted(CODED))
def test_a_library_that_is_missing_is_named(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    there: list[str] = []

    def look(name: str) -> None:
        if name not in there:
            raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "distribution", look)
    with pytest.raises(UnsupportedModelError, match=rf"quantised \({kind}\), and {CODED[kind]}, which reads that"):
        check_config({"model_type": "llama", "quantization_config": {"quant_method": kind}}, "someone/coded")
    there.append(CODED[kind])
    check_config({"model_type": "llama", "quantization_config": {"quant_method": kind}}, "someone/coded")


def test_codes_of_other_kinds_are_refused() -> None:
    for config in ({"quant_method": "squeezed"}, {"bits": 3}):
        with pytest.raises(UnsupportedModelError, match="codes that the explorer cannot read"):
            check_config({"model_type": "llama", "quantization_config": config}, "someone/coded")
