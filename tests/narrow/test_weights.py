"""Weights that stay as they are stored: the numbers of a float32 model in half the memory."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from hap_engine.masked.masked_pass import MaskedModel
from hap_engine.masked.opening import open_masked
from hap_engine.narrow import weights
from hap_engine.narrow.codes import Codes
from hap_engine.narrow.weights import Narrow, bytes_of, stacked, times, without_mean
from hap_engine.transformer.load import load_model
from tests.builders.family_zoo import GROUPS, build
from tests.builders.masked_runs import LENGTHS, close, real_mask, run
from tests.builders.scoring import scores_of
from tests.builders.tiny_models import VOCABULARY, made_of, random_pairs, tokenizer

PAIRS = random_pairs(LENGTHS)
HALF = torch.bfloat16
TOKENS = torch.arange(6)[None]


@pytest.fixture
def save(tmp_path: Path) -> Callable[..., Path]:
    """Writes a family's model in some dtype, as people find them."""

    def write(name: str, dtype: torch.dtype = HALF, **changes: Any) -> Path:
        build(name).to(dtype).save_pretrained(tmp_path)
        tokenizer().save(str(tmp_path / "tokenizer.json"))
        file = tmp_path / "model.safetensors"
        save_file(load_file(file) | changes, file, metadata={"format": "pt"})
        return tmp_path

    return write


def rounded(name: str, *, widened: bool) -> Any:
    """A family's model with rounded weights, kept narrow or widened again."""
    model = build(name)
    for weight in model.parameters():
        weight.data = weight.data.to(HALF).to(torch.float32 if widened else HALF)
    return model


def opened(name: str, *, widened: bool) -> MaskedModel:
    return open_masked(made_of(rounded(name, widened=widened), name))


def storages() -> dict[int, int]:
    """All numbers in memory: bytes by address."""
    gc.collect()
    found = (x for x in gc.get_objects() if issubclass(type(x), Tensor) and type(x) not in (Narrow, Codes))
    return {x.untyped_storage().data_ptr(): x.untyped_storage().nbytes() for x in found if x.device.type == "cpu"}


def larger() -> Iterator[tuple[str, Any]]:
    """Families of enough weights that all else is little beside them."""
    import transformers as tf

    sizes = {"vocab_size": 600, "num_hidden_layers": 4, "num_attention_heads": 4, "hidden_size": 128}
    sizes |= {"num_key_value_heads": 2, "intermediate_size": 512, "head_dim": 32}
    ids = {"bos_token_id": None, "eos_token_id": None, "pad_token_id": None}
    for kind in ("llama", "qwen3", "gemma2", "gpt_neox", "phi3", "olmo2"):
        config = tf.AutoConfig.for_model(kind, **sizes, **ids)
        yield kind, tf.AutoModelForCausalLM.from_config(config)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_no_weight_is_in_memory_twice_or_widened(tmp_path: Path, dtype: torch.dtype) -> None:
    for kind, model in larger():
        model.to(dtype).save_pretrained(tmp_path / kind)
        tokenizer().save(str(tmp_path / kind / "tokenizer.json"))
        stored = (tmp_path / kind / "model.safetensors").stat().st_size
        del model
        before = storages()
        masked = open_masked(load_model(str(tmp_path / kind)))
        masked.workspace.clear()
        held = sum(size for at, size in storages().items() if at not in before)
        assert 0.9 * stored < held < 1.15 * stored, kind
        weights = list(masked.model.hf_model.parameters())
        assert {weight.raw().dtype for weight in weights if isinstance(weight, Narrow)} == {dtype}
        assert all(isinstance(weight, Narrow) for weight in weights if weight.ndim > 1)
        assert {weight.dtype for weight in weights} == {torch.float32}
        del masked, weights


@pytest.mark.parametrize("name", [next(iter(group)) for group in GROUPS.values()])
def test_numbers_are_those_of_the_widened_model(name: str) -> None:
    """One family of each mechanism: the same way of computing, logits and gradients of all edges."""
    half, whole = opened(name, widened=False), opened(name, widened=True)
    assert half.model.parts.ways == whole.model.parts.ways
    mask = real_mask(half, 1)
    assert close(run(half, mask, PAIRS), run(whole, mask, PAIRS), 1e-5)
    ours, theirs = (torch.from_numpy(scores_of(masked, PAIRS)) for masked in (half, whole))
    assert close(ours, theirs, 1e-4)


@pytest.mark.parametrize("name", ["gemma3_text", "gpt_neox", "mixtral", "falcon:rw-1b"])
def test_what_a_model_makes_itself_is_not_rounded(save: Callable[..., Path], name: str) -> None:
    """Gemma multiplies its embeddings by a number that is made in the dtype in which the model is read."""
    import transformers as tf

    folder = save(name)
    wanted = tf.AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float32, attn_implementation="eager", experts_implementation="eager"
    )
    model = load_model(str(folder))
    assert type(model.hf_model).__name__ == type(wanted).__name__
    assert model.stored_dtype == "bfloat16"
    with torch.no_grad():
        assert close(model.hf_model(TOKENS).logits, wanted(TOKENS).logits, 1e-6)
    for (key, ours), theirs in zip(model.hf_model.named_buffers(), wanted.buffers(), strict=True):
        assert torch.equal(ours, theirs), key


def test_a_checkpoint_of_several_dtypes_loses_nothing(save: Callable[..., Path]) -> None:
    exact = torch.randn(VOCABULARY, 32)
    model = load_model(str(save("llama", **{"lm_head.weight": exact})))
    assert torch.equal(model.hf_model.lm_head.weight, exact)
    assert not any(isinstance(weight, Narrow) for weight in model.hf_model.parameters())


def test_tied_weights_stay_one(save: Callable[..., Path]) -> None:
    model = made_of(rounded("gpt2", widened=False))
    hf = model.hf_model
    hf.lm_head.weight = hf.transformer.wte.weight
    again = made_of(hf)
    assert again.hf_model.lm_head.weight is again.hf_model.transformer.wte.weight


def test_training_in_bfloat16_shares_what_is_stored_so() -> None:
    masked = opened("llama", widened=False)
    before = masked.blocks[0].mlp.inner.gate_proj.weight.raw()
    inner = masked.with_dtype(HALF).blocks[0].mlp.inner
    assert inner.mlp.gate_proj.weight.data_ptr() == before.data_ptr()
    exact, fast = run(masked, real_mask(masked, 1), PAIRS), run(masked.with_dtype(HALF), real_mask(masked, 1), PAIRS)
    assert close(fast, exact, 0.1)


def test_no_layer_but_the_one_at_work_has_a_copy_of_its_weights() -> None:
    """Not in bfloat16, not of the rows that a pass takes, and not kept for its backward pass."""
    masked = opened("llama", widened=False)
    fast = masked.with_dtype(HALF)
    before, mask = storages(), real_mask(masked, 1).requires_grad_()
    found = [run(one, mask, PAIRS) for one in (masked, fast)]
    kept = [part for x in gc.get_objects() if type(x) is Narrow for part in x.parts if part.device.type == "cpu"]
    new = {at for part in kept for at in bytes_of(part)} - before.keys()
    assert found[0].requires_grad
    assert not new
    assert fast.blocks[0].w_read is masked.blocks[0].w_read


def test_the_transformer_lens_copy_is_in_float32() -> None:
    bridge = made_of(rounded("llama", widened=False)).bridge()
    assert {weight.dtype for weight in bridge.parameters()} == {torch.float32}
    assert not any(isinstance(weight, Narrow) for weight in bridge.parameters())


# -- the tensor itself -----------------------------------------------------------------------------


def test_large_products_are_taken_piece_by_piece(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights, "PIECE", 64)
    raw, x = torch.randn(20, 50).to(HALF), torch.randn(7, 20)
    assert close(x @ Narrow([raw]), x @ raw.float(), 1e-6)
    assert close(x @ Narrow([raw.T.contiguous()]).mT, x @ raw.float(), 1e-6)
    y = torch.randn(7, 50)
    assert close(y @ Narrow([raw]).mT, y @ raw.float().mT, 1e-6)


def test_folded_rows_are_what_they_would_be() -> None:
    raws = [torch.randn(3, 4).to(HALF) for _ in range(5)]
    gain = torch.randn(3, 1)
    wide = torch.stack([raw.float() for raw in raws]) * gain
    made = times(stacked([Narrow([raw]) for raw in raws]), gain)
    assert isinstance(made, Narrow)
    for some in (made, made[1:3], made[2], made.index_select(0, torch.tensor([0, 4])), made.mT, made.detach()):
        assert some.dtype == torch.float32
    assert torch.equal(made + 0, wide)
    assert torch.equal(made[1:3] + 0, wide[1:3])
    assert torch.equal(made[2] + 0, wide[2])
    assert torch.equal(made.index_select(0, torch.tensor([0, 4])) + 0, wide[[0, 4]])
    assert torch.equal(made.mT + 0, wide.mT)
    assert torch.equal(without_mean(made) + 0, without_mean(wide))
    assert isinstance(made[1:3], Narrow), "rows stay narrow"


@pytest.mark.parametrize("write", [lambda x: x.mul_(2), lambda x: x.zero_(), lambda x: torch.add(x, x, out=x)])
def test_nobody_writes_into_them(write: Callable[[Tensor], Tensor]) -> None:
    with pytest.raises(TypeError, match="frozen"):
        write(Narrow([torch.ones(2, 2, dtype=HALF)]))
