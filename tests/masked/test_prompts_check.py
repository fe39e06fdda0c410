"""A job's own prompts against the model itself: what no random prompt shows is exact, or refused in words."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

import pytest
import torch

from hap_engine import api
from hap_engine.errors import TaskError, UnsupportedModelError
from hap_engine.explain.what_if import Bench
from hap_engine.graph.circuit import full_circuit
from hap_engine.masked import self_check
from hap_engine.masked.masked_pass import MaskedModel
from hap_engine.masked.opening import open_masked
from hap_engine.masked.self_check import check_prompts
from hap_engine.settings import PruningConfig
from hap_engine.tasks.pair import EncodedPair
from tests.builders.family_zoo import build
from tests.builders.masked_runs import close, run
from tests.builders.tiny_models import SIZES, made_of, make_model, random_pairs

LONG = random_pairs([40, 12, 31])


def opened(family: str, **changes: Any) -> MaskedModel:
    return open_masked(made_of(build(family, **changes), family))


def is_the_model(masked: MaskedModel, pairs: list[EncodedPair]) -> bool:
    """At m = 1, each prompt by itself."""
    got = run(masked, torch.from_numpy(full_circuit(masked.graph).kept).float(), pairs)
    with torch.no_grad():
        rows = [masked.model.hf_model(torch.tensor([pair.clean_ids])).logits[0, -1] for pair in pairs]
    return all(close(mine, own, 2e-5) for mine, own in zip(got, rows, strict=True))


# -- Switches that depend on the input ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("family", "limit"), [("olmo:clip", 500.0), ("olmo:clip", 2e5), ("olmoe:clip", 2e5), ("mpt:clip", 500.0)]
)
def test_a_limit_that_random_prompts_do_not_reach_is_kept(family: str, limit: float) -> None:
    """Projections so large that it bites."""
    inner = {"attn_config": {"clip_qkv": limit}} if family == "mpt:clip" else {"clip_qkv": limit}
    hf = build(family, **inner)
    bitten = made_of(hf, family)
    assert "closed" not in bitten.parts.ways
    with torch.no_grad():
        for name, weight in hf.named_parameters():
            if name.endswith(("v_proj.weight", "Wqkv.weight")):
                weight.mul_(3 * limit)
    free = build(family, **({"attn_config": {"clip_qkv": None}} if family == "mpt:clip" else {"clip_qkv": None}))
    free.load_state_dict(hf.state_dict())
    ids = torch.tensor([LONG[0].clean_ids])
    with torch.no_grad():
        assert not close(hf(ids).logits, free(ids).logits, 1e-3), "it bites"
    masked = open_masked(made_of(hf, family))
    check_prompts(masked, LONG)
    assert is_the_model(masked, LONG)


ROPE = {"rope_type": "default", "rope_theta": 1e4, "llama_4_scaling_beta": 0.5}
MINISTRAL = {"rope_parameters": {**ROPE, "original_max_position_embeddings": 28}}
LLAMA4 = {"attn_temperature_tuning": True, "floor_scale": 28, "attn_scale": 0.5}
SWITCHED = {"ministral3": MINISTRAL, "llama4_text": LLAMA4}


@pytest.mark.parametrize("family", SWITCHED)
def test_a_temperature_past_its_length_is_refused_and_short_prompts_are_exact(family: str) -> None:
    masked = opened(family, **SWITCHED[family])
    short = random_pairs([26, 12])
    check_prompts(masked, short)
    assert is_the_model(masked, short)
    assert not is_the_model_unchecked(masked)
    for _ in range(2):  # a second try finds it too
        with pytest.raises(
            UnsupportedModelError, match=r"prompts of this job .*the attention core \(closed\)"
        ) as caught:
            check_prompts(masked, LONG)
        assert "Use prompts of at most 26 tokens" in str(caught.value)
        with pytest.raises(UnsupportedModelError, match="computes a prompt of 40 tokens otherwise"):
            run(masked, torch.zeros(masked.graph.edge_mask.shape), LONG)


def is_the_model_unchecked(masked: MaskedModel) -> bool:
    """What a false accept would give: the longest prompt, if nobody compared it."""
    ids, last = torch.tensor([LONG[0].clean_ids]), torch.tensor([39])
    with torch.no_grad():
        own = masked.model.hf_model(ids).logits[:, -1]
        return close(masked.unembed(masked.plain_trace(ids, last).final), own, 1e-4)


@pytest.mark.parametrize("family", ["mistral:window", "gemma2", "gemma3_text", "cohere2", "gpt_oss", "gpt_neo"])
def test_windows_are_exact(family: str) -> None:
    masked = open_masked(made_of(build(family), family))
    check_prompts(masked, LONG)
    assert is_the_model(masked, LONG)


@pytest.mark.parametrize(("family", "limit"), [("phi3:longrope", 32), ("llama:dynamic", 64)])
def test_positions_that_turn_otherwise_at_some_length_are_exact_below_it_and_refused_above(
    family: str, limit: int
) -> None:
    masked = open_masked(made_of(build(family), family))
    pairs = random_pairs([limit, 7, limit - 5])
    check_prompts(masked, pairs)
    assert is_the_model(masked, pairs)
    with pytest.raises(TaskError, match=f"reads at most {limit}"):
        api.encoded(masked, random_pairs([limit + 1]))


# -- Whoever asks ------------------------------------------------------------------------------------

WAYS_IN: dict[str, Callable[[MaskedModel], object]] = {
    "discover": lambda masked: api.discover(
        masked, "ioi", sparsity=0.8, keep=0.6, sizes=SIZES, pruning=PruningConfig(steps=2, batch_size=4)
    ),
    "attribute": lambda masked: api.attribute(masked, LONG),
    "evaluate": lambda masked: api.evaluate(masked, full_circuit(masked.graph), LONG),
    "logits": lambda masked: api.logits(masked, LONG),
    "what if": lambda masked: Bench(masked, LONG),
}


@pytest.mark.parametrize("way", WAYS_IN)
def test_every_way_to_compute_something_compares_first(way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A temperature that begins where random prompts end, here."""
    monkeypatch.setattr(self_check, "TOKENS", 5)
    masked = opened("ministral3", rope_parameters={**ROPE, "original_max_position_embeddings": 8})
    with pytest.raises(UnsupportedModelError, match="prompts of this job"):
        WAYS_IN[way](masked)


# -- What is told ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "cause"),
    [
        (lambda b: replace(b, w_in=1.01 * b.w_in), "layer 1: what its attention reads"),
        (
            lambda b: replace(b, core=replace(b.core, kv_of_head=b.core.kv_of_head.flip(0))),
            r"layer 1: the attention core",
        ),
        (lambda b: replace(b, w_out=1.01 * b.w_out), "layer 1: what becomes of its heads' sum, or the MLP"),
        (lambda b: replace(b, mlp=replace(b.mlp, inner=lambda x: 1.01 * b.mlp.inner(x))), "heads' sum, or the MLP"),
    ],
)
def test_the_part_that_is_wrong_is_named(change: Callable[[Any], Any], cause: str) -> None:
    masked = open_masked(make_model("llama"))
    masked.blocks[1] = change(masked.blocks[1])
    with pytest.raises(UnsupportedModelError, match=cause):
        check_prompts(masked, LONG)


def test_an_end_that_is_wrong_is_named() -> None:
    masked = open_masked(make_model("llama"))
    right = masked.unembed
    masked.unembed = lambda *args: 1.01 * right(*args)  # type: ignore[assignment]
    with pytest.raises(UnsupportedModelError, match="what enters the first or leaves the last is not"):
        check_prompts(masked, LONG)


def test_whatever_fails_refuses_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    masked = open_masked(make_model("gpt2"))

    def fails(*_: Any, **__: Any) -> None:
        raise IndexError("index 40 is out of bounds")

    monkeypatch.setattr(type(masked.model.hf_model), "forward", fails)
    with pytest.raises(UnsupportedModelError, match=r"fails on prompts of 40 tokens: IndexError: index 40"):
        check_prompts(masked, LONG)
    with pytest.raises(UnsupportedModelError, match=r"fails on prompts of 40 tokens: IndexError: index 40"):
        run(masked, torch.zeros(masked.graph.edge_mask.shape), LONG)


@pytest.mark.parametrize(("family", "forgiven"), [("mixtral", True), ("llama", False)])
def test_a_prompt_at_a_tie_between_experts_is_no_fault(
    family: str, forgiven: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    masked, own = open_masked(made_of(build(family), family)), self_check._own_logits

    def tied(masked: MaskedModel, tokens: torch.Tensor, last: torch.Tensor) -> torch.Tensor:
        logits = own(masked, tokens, last)
        logits[1, 0] += 0.1 * logits.abs().max()
        return logits

    monkeypatch.setattr(self_check, "_own_logits", tied)
    with nullcontext() if forgiven else pytest.raises(UnsupportedModelError):
        check_prompts(masked, random_pairs([12] * 6))
    with pytest.raises(UnsupportedModelError):  # one of two
        check_prompts(masked, random_pairs([13, 13]))


def test_prompts_are_compared_once_and_the_longest_for_sure(monkeypatch: pytest.MonkeyPatch) -> None:
    masked = open_masked(make_model("neox"))
    looked: list[list[int]] = []
    compare = self_check._compare

    def seen(masked: MaskedModel, prompts: self_check._Prompts, where: str) -> None:
        looked.append(sorted((prompts.last + 1).tolist()))
        compare(masked, prompts, where)

    monkeypatch.setattr(self_check, "_compare", seen)
    pairs = random_pairs([*range(5, 45), 60, *range(5, 45)])
    check_prompts(masked, pairs)
    assert len(looked[0]) == self_check.SAMPLE
    assert (looked[0][0], looked[0][-1]) == (5, 60)
    check_prompts(masked, pairs[:3])
    check_prompts(masked.with_dtype(torch.bfloat16), pairs)
    assert len(looked) == 1
    check_prompts(masked, [*pairs[:3], *random_pairs([9], seed=1)])
    assert len(looked) == 2
