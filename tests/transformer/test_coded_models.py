"""Models whose matrices stay codes in memory compute what the same models of plain numbers do."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gguf import GGMLQuantizationType as Kind

from hap_engine.machine.workload import memory
from hap_engine.masked.masked_pass import MaskedModel
from hap_engine.masked.opening import open_masked
from hap_engine.models import gguf_header
from hap_engine.models.catalog import config_of, resolve
from hap_engine.models.shape import Shape
from hap_engine.narrow.codes import Codes
from hap_engine.narrow.weights import Narrow, bytes_of, exchange
from hap_engine.settings import DiscoveryConfig
from hap_engine.transformer.load import load_model
from tests.builders.cards import ROOM, cards
from tests.builders.gguf_files import hf_for_gguf, write_gguf
from tests.builders.masked_runs import LENGTHS, close, real_mask, run
from tests.builders.scoring import scores_of
from tests.builders.tiny_models import made_of, random_pairs

PAIRS = random_pairs(LENGTHS)
TOKENS = torch.arange(12)[None]
SIZES: dict[str, dict[str, Any]] = {
    "llama": {"hidden_size": 64, "intermediate_size": 96},
    "gpt2": {"n_embd": 64, "n_inner": 96},
    "gemma2": {"hidden_size": 64, "intermediate_size": 96, "head_dim": 16, "query_pre_attn_scalar": 16},
    "phi3": {"hidden_size": 64, "intermediate_size": 96},
}
KINDS = {Kind.Q4_0: 4.5, Kind.Q4_1: 5, Kind.Q8_0: 8.5, Kind.F16: 16}


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HAP_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(gguf_header, "ROOMY", 0)


def written(folder: Path, family: str, kind: Kind) -> Path:
    return write_gguf(folder / "tiny.gguf", hf_for_gguf(family, **SIZES[family]), coded=kind)


def widened(coded: Any) -> Any:
    """The same model of plain numbers."""
    plain = hf_for_gguf(coded.config.model_type, **SIZES[coded.config.model_type])
    theirs = dict(coded.named_parameters())
    with torch.no_grad():
        for name, weight in plain.named_parameters():
            weight.copy_(theirs[name] + 0)
    return plain.eval()


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
@pytest.mark.parametrize("family", SIZES)
def test_numbers_are_those_of_the_plain_model(tmp_path: Path, family: str, kind: Kind) -> None:
    model = load_model(str(written(tmp_path, family, kind)))
    matrices = [weight for weight in model.hf_model.parameters() if weight.ndim > 1]
    assert all(isinstance(weight, Narrow) for weight in matrices)
    assert all(isinstance(weight.raw(), Codes) == (kind != Kind.F16) for weight in matrices)
    held = [sum(bytes_of(weight).values()) / weight.numel() for weight in matrices]
    assert np.allclose(held, KINDS[kind] / 8)
    plain = widened(model.hf_model)
    with torch.no_grad():
        assert torch.equal(model.hf_model(TOKENS).logits, plain(TOKENS).logits)
    coded, whole = open_masked(model), open_masked(made_of(plain))
    assert coded.model.parts.ways == whole.model.parts.ways
    mask = real_mask(coded, 1)
    assert close(run(coded, mask, PAIRS), run(whole, mask, PAIRS), 1e-5)
    ours, theirs = (torch.from_numpy(scores_of(masked, PAIRS)) for masked in (coded, whole))
    assert close(ours, theirs, 1e-4)


@pytest.mark.parametrize("family", SIZES)
def test_a_descent_takes_the_same_steps(tmp_path: Path, family: str) -> None:
    model = load_model(str(written(tmp_path, family, Kind.Q4_1)))
    coded, whole = open_masked(model), open_masked(made_of(widened(model.hf_model)))
    for dtype, rounding in ((torch.float32, 1e-4), (torch.bfloat16, 0.1)):
        masks = [descended(masked.with_dtype(dtype)) for masked in (coded, whole)]
        assert close(masks[0], masks[1], rounding)


def descended(masked: MaskedModel) -> torch.Tensor:
    """A mask after three steps down the logits."""
    mask = real_mask(masked, 1)
    for _ in range(3):
        mask = mask.detach().requires_grad_()
        (gradient,) = torch.autograd.grad(run(masked, mask, PAIRS).square().mean(), mask)
        mask = mask - 0.01 * gradient / gradient.abs().max()
    return mask.detach()


def test_no_pass_leaves_numbers_behind(tmp_path: Path) -> None:
    """Not those of the rows that it takes, nor any kept for its backward pass."""
    masked = open_masked(load_model(str(written(tmp_path, "llama", Kind.Q4_0))))
    saved: list[torch.Tensor] = []
    weights = {tuple(sorted(weight.shape)) for weight in masked.model.hf_model.parameters() if weight.ndim > 1}
    mask = real_mask(masked, 1).requires_grad_()
    with torch.autograd.graph.saved_tensors_hooks(lambda x: saved.append(x) or x, lambda x: x):
        run(masked, mask, PAIRS)
    assert saved
    wide = [x for x in saved if not isinstance(x, Narrow) and tuple(sorted(x.shape)) in weights]
    assert not wide


def test_the_estimate_counts_codes(tmp_path: Path) -> None:
    source = resolve(str(written(tmp_path, "llama", Kind.Q4_1)))
    before = Shape.of(config_of(source) or {})
    model = load_model(source.reference)
    assert before == model.shape == Shape.of(config_of(source) or {})
    assert before is not None
    assert before.stored == "codes"
    held = {at: size for weight in model.hf_model.parameters() for at, size in bytes_of(weight).items()}
    counted = memory(DiscoveryConfig(model="tiny"), before, 20)["weights"]
    assert counted == pytest.approx(sum(held.values()), rel=0.05)


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_codes_of_a_small_model_become_numbers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, family: str) -> None:
    path = written(tmp_path, family, Kind.Q4_1)
    coded = load_model(str(path))
    shutil.rmtree(tmp_path / "home")
    monkeypatch.undo()
    monkeypatch.setenv("HAP_HOME", str(tmp_path / "home"))
    plain = load_model(str(path))
    assert plain.shape is not None
    assert plain.shape.stored == "float32"
    assert not any(isinstance(weight, Narrow) for weight in plain.hf_model.parameters())
    with torch.no_grad():
        assert torch.equal(plain.hf_model(TOKENS).logits, coded.hf_model(TOKENS).logits)


def test_tied_matrices_stay_one() -> None:
    plain = hf_for_gguf("gpt2", tied=True)
    name, weight = next(iter(plain.named_parameters()))
    exchange(plain, {name: weight.data.half()})
    assert plain.lm_head.weight is plain.transformer.wte.weight
    assert isinstance(plain.lm_head.weight, Narrow)


def test_codes_stay_codes_on_cards(tmp_path: Path) -> None:
    path = str(written(tmp_path, "llama", Kind.Q4_1))
    want = scores_of(open_masked(load_model(path)), PAIRS)
    with cards(ROOM, ROOM):
        other = open_masked(load_model(path, device="cuda", layers_on="cuda:0,cuda:1"))
        kept = [weight for weight in other.model.hf_model.parameters() if isinstance(weight, Narrow)]
        assert any(isinstance(part, Codes) for weight in kept for part in weight.parts)
        assert {str(weight.device) for weight in kept} == {"cuda:0", "cuda:1"}
        got = scores_of(other, PAIRS)
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-4 * np.abs(want).max())
