"""The masked forward against the raw models, a slow loop, finite differences and hand arithmetic."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from hap_engine.graph.circuit import Circuit, empty_circuit, full_circuit, random_circuit
from hap_engine.masked import delta_buffer, masked_pass
from hap_engine.masked.masked_pass import MaskedModel
from hap_engine.masked.opening import open_masked
from hap_engine.masked.plan import Plan
from hap_engine.transformer.batches import to_batch
from tests.builders.masked_runs import LENGTHS, close, real_mask, run
from tests.builders.slow import Slow
from tests.builders.tiny_models import hf_model, made_of, random_pairs


@pytest.mark.parametrize("density", [1.0, 0.4, 0.2])
def test_equals_an_explicit_loop_over_edges(masked: MaskedModel, density: float) -> None:
    pairs, slow = random_pairs(LENGTHS), Slow(masked.model.hf_model)
    mask = real_mask(masked, 1, density)
    with torch.no_grad():
        want = slow.masked_logits(masked.graph, mask, pairs)
        assert close(run(masked, mask, pairs), want)
    assert not close(want, run(masked, torch.zeros_like(mask), pairs), 1e-3), "the mask matters"


def test_zero_one_masks_equal_the_loop(masked: MaskedModel) -> None:
    pairs, slow = random_pairs(LENGTHS), Slow(masked.model.hf_model)
    rng = np.random.default_rng(0)
    for circuit in (
        random_circuit(masked.graph, 30, rng),
        Circuit(masked.graph, masked.graph.edge_mask & (rng.random(masked.graph.edge_mask.shape) < 0.5)),
    ):
        mask = torch.from_numpy(circuit.kept).float()
        with torch.no_grad():
            assert close(run(masked, mask, pairs), slow.masked_logits(masked.graph, mask, pairs))


def test_ends_are_the_clean_and_corrupt_runs_of_the_raw_model(masked: MaskedModel) -> None:
    pairs = random_pairs([8, 8])
    for circuit, field in ((full_circuit, "clean_ids"), (empty_circuit, "corrupt_ids")):
        tokens = torch.tensor([getattr(pair, field) for pair in pairs])
        with torch.no_grad():
            want = masked.model.hf_model(tokens).logits[:, -1]
        assert close(run(masked, circuit(masked.graph), pairs), want)


def test_a_padded_batch_equals_its_prompts_one_by_one(masked: MaskedModel) -> None:
    pairs, mask = random_pairs([3, 9, 6, 9]), real_mask(masked, 2, 0.5)
    together = run(masked, mask, pairs)
    alone = torch.cat([run(masked, mask, [pair]) for pair in pairs])
    assert close(together, alone, 1e-5)


def test_gradient_of_the_mask_is_that_of_the_loop(masked: MaskedModel) -> None:
    pairs, slow = random_pairs(LENGTHS), Slow(masked.model.hf_model)
    weights = torch.randn(3, 72, generator=torch.Generator().manual_seed(0))
    mask = real_mask(masked, 3)
    fast_mask, slow_mask = mask.clone().requires_grad_(), mask.clone().requires_grad_()
    (run(masked, fast_mask, pairs) * weights).sum().backward()
    (slow.masked_logits(masked.graph, slow_mask, pairs) * weights).sum().backward()
    assert close(fast_mask.grad, slow_mask.grad)
    assert not fast_mask.grad[~torch.from_numpy(masked.graph.edge_mask)].any()


def test_gradient_of_the_mask_is_the_finite_difference(masked: MaskedModel) -> None:
    pairs, graph = random_pairs(LENGTHS), masked.graph
    weights = torch.randn(3, 72, generator=torch.Generator().manual_seed(0))
    mask = real_mask(masked, 4).requires_grad_()
    (run(masked, mask, pairs) * weights).sum().backward()
    rng, step = np.random.default_rng(0), 1e-2
    chosen = rng.permutation(np.argwhere(graph.edge_mask))[:12]
    largest = mask.grad.abs().max()
    for w, r in chosen:
        ends = []
        for sign in (1, -1):
            moved = mask.detach().clone()
            moved[w, r] += sign * step
            ends.append((run(masked, moved, pairs) * weights).sum())
        difference = (ends[0] - ends[1]) / (2 * step)
        assert abs(difference - mask.grad[w, r]) < 0.01 * largest


@pytest.mark.parametrize("seed", range(4))
def test_dead_edges_change_no_logit(masked: MaskedModel, seed: int) -> None:
    rng = np.random.default_rng(seed)
    real = masked.graph.edge_mask
    circuit = Circuit(masked.graph, real & (rng.random(real.shape) < 0.12))
    assert len(circuit.live) < len(circuit)
    pairs, slow = random_pairs(LENGTHS), Slow(masked.model.hf_model)
    with torch.no_grad():
        with_dead = slow.masked_logits(masked.graph, torch.from_numpy(circuit.kept).float(), pairs)
    assert close(run(masked, circuit.live, pairs), with_dead)


def test_a_mask_of_zeros_has_a_gradient(gpt2: MaskedModel) -> None:
    """Pruning meets it when every sampled gate is closed; the gradient is zero, not an error."""
    mask = torch.zeros(gpt2.graph.edge_mask.shape, requires_grad=True)
    run(gpt2, mask, random_pairs([5])).sum().backward()
    assert mask.grad is not None
    assert not mask.grad.any()


def test_trace_and_patterns_are_those_of_the_plain_model(masked: MaskedModel) -> None:
    (pair,), slow, graph = random_pairs([6]), Slow(masked.model.hf_model), masked.graph
    batch = to_batch([pair], masked.device)
    trace = masked.trace(batch.clean, batch.last)
    with torch.no_grad():
        plain = slow.plain(pair.clean_ids)
    for layer in range(graph.n_layers):
        patterns = masked.patterns(trace, layer)[:, 0]
        outputs = masked.head_outputs_at(trace, layer, torch.tensor([3]))[:, 0]
        for head in range(graph.n_heads):
            name = f"a{layer}.h{head}"
            torch.testing.assert_close(patterns[head], plain.patterns[name], atol=1e-5, rtol=1e-4)
            torch.testing.assert_close(outputs[head], plain.outputs[name][3], atol=1e-4, rtol=1e-4)
        got = trace.at(torch.arange(6)).mlp(layer)[0]
        torch.testing.assert_close(got, plain.inputs[f"m{layer}"], atol=1e-4, rtol=1e-4)


def test_slots_at_a_position_are_those_of_the_trace(masked: MaskedModel) -> None:
    """What residual streams give is what the trace kept, and gives the same attention there."""
    batch = to_batch(random_pairs([6, 4]), masked.device)
    trace, at = masked.trace(batch.clean, batch.last), torch.tensor([3, 2])
    rows, layer, head = torch.arange(2), 1, 3
    resid = trace.at(trace.tokens(at)).attn_in(layer)[None]
    kept = trace.whole(trace.layers[layer].slots)
    given = {}
    for slot in "qkv":
        value = masked.slot_at(layer, slot, head, resid)
        torch.testing.assert_close(value[0], kept[masked.slot_row(slot, head), rows, at], atol=1e-5, rtol=1e-4)
        given[slot] = value, at
    pattern, z = masked.attended(trace, layer, head, at, given)
    torch.testing.assert_close(pattern[0], masked.patterns(trace, layer)[head][rows, at], atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(z[0], trace.whole(trace.layers[layer].z)[head, rows, at], atol=1e-5, rtol=1e-4)


def test_a_model_worked_out_by_hand() -> None:
    """With silent heads and MLPs, ``input -> logits`` is the one edge that can matter::

    logits = W_U LayerNorm(corrupt + m (clean - corrupt)),  of the embeddings at the last position
    """
    hf, (pair,) = hf_model("gpt2"), random_pairs([5])
    base = hf.base_model
    with torch.no_grad():
        for block in base.h:
            for part in (block.attn.c_proj, block.mlp.c_proj):
                part.weight.zero_()
                part.bias.zero_()
    model = made_of(hf, "tiny-gpt2")
    masked, slow = open_masked(model), Slow(model.hf_model)
    clean, corrupt = (slow.embed(ids)[-1].detach().double().numpy() for ids in (pair.clean_ids, pair.corrupt_ids))
    weights = (base.ln_f.weight, base.ln_f.bias, model.hf_model.lm_head.weight)
    gain, bias, unembed = (weight.detach().double().numpy() for weight in weights)
    edge = masked.graph.edge("input", "logits")
    for m in (0.0, 0.5, 1.0, 2.0):
        x = corrupt + m * (clean - corrupt)
        normed = (x - x.mean()) / np.sqrt(x.var() + 1e-5) * gain + bias
        mask = full_circuit(masked.graph).kept * 1.0  # all other edges carry nothing
        mask[edge] = m
        got = run(masked, torch.from_numpy(mask).float(), [pair])[0].numpy()
        np.testing.assert_allclose(got, unembed @ normed, atol=1e-4)


@pytest.mark.parametrize("little", [0.0, np.inf])
@pytest.mark.parametrize("sparse", [0.0, np.inf])
def test_with_dtype_stays_close(
    masked: MaskedModel, little: float, sparse: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the deltas in bfloat16 as well and without, by products and by sums."""
    monkeypatch.setattr(masked_pass, "LITTLE", little)
    monkeypatch.setattr(delta_buffer, "SPARSE", sparse)
    pairs, mask = random_pairs(LENGTHS), real_mask(masked, 5).clamp(0, 1)
    half = masked.with_dtype(torch.bfloat16)
    found = []
    for model in (masked, half):
        leaf = mask.clone().requires_grad_()
        logits = run(model, leaf, pairs)
        assert logits.dtype == torch.float32
        logits.log_softmax(-1)[:, 0].sum().backward()
        assert leaf.grad is not None
        found.append((logits.detach(), leaf.grad))
    for want, got in zip(*found, strict=True):
        assert 0 < (got - want).abs().max() < 0.05 * want.abs().max()


def test_with_dtype_leaves_the_model_as_it_is(masked: MaskedModel) -> None:
    half = masked.with_dtype(torch.bfloat16)
    assert masked.with_dtype(torch.float32) is masked
    assert half.with_dtype(torch.bfloat16) is half
    assert all(p.dtype == torch.float32 for p in masked.model.hf_model.parameters())


def test_a_processor_with_little_to_mix_mixes_in_float32(gpt2: MaskedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    assert gpt2.mix_dtype == torch.float32
    for little, expected in ((masked_pass.LITTLE, torch.float32), (0.0, torch.bfloat16)):
        monkeypatch.setattr(masked_pass, "LITTLE", little)
        half = gpt2.with_dtype(torch.bfloat16)
        assert {half.mix_dtype, half.blocks[0].w_read.dtype} == {expected}


def test_pairs_are_the_rows_that_readers_mix_and_edges_those_they_need(gpt2: MaskedModel) -> None:
    plan = Plan(random_circuit(gpt2.graph, 40, np.random.default_rng(0)))
    for zone, columns in enumerate(plan.readers):
        assert plan.pairs(zone) == sum(plan.seen(zone, column) for column in columns)
        assert plan.edges(zone) == sum(plan.live[:, column].sum() for column in columns)


@pytest.mark.real_model
def test_the_real_model_passes_its_self_check(smollm2: str, shared_home: None) -> None:
    from hap_engine.transformer.load import load_model

    masked = open_masked(load_model(smollm2))
    assert masked.graph.n_edges == 70_651
    rng = np.random.default_rng(0)
    circuit, pairs = random_circuit(masked.graph, 200, rng), random_pairs([6])
    mask = torch.from_numpy(circuit.kept).float()
    with torch.no_grad():
        want = Slow(masked.model.hf_model).masked_logits(masked.graph, mask, pairs)
    assert close(run(masked, mask, pairs), want)


@pytest.mark.parametrize("density", [1.0, 0.5, 0.2])
def test_shared_beginnings_are_skipped_without_a_change(masked: MaskedModel, density: float) -> None:
    pairs = [
        replace(pair, corrupt_ids=pair.clean_ids[:shared] + pair.corrupt_ids[shared:])
        for pair, shared in zip(random_pairs(LENGTHS), (3, 0, 6), strict=True)
    ]
    slow, mask = Slow(masked.model.hf_model), real_mask(masked, 5, density)
    weights = torch.randn(3, 72, generator=torch.Generator().manual_seed(0))
    fast_mask, slow_mask = mask.clone().requires_grad_(), mask.clone().requires_grad_()
    got, want = run(masked, fast_mask, pairs), slow.masked_logits(masked.graph, slow_mask, pairs)
    assert close(got, want)
    (got * weights).sum().backward()
    (want * weights).sum().backward()
    kept = mask != 0  # entries of 0 may be skipped
    assert close(fast_mask.grad * kept, slow_mask.grad * kept)


def test_buffers_are_reused_and_two_pending_passes_keep_theirs(gpt2: MaskedModel) -> None:
    pairs = random_pairs(LENGTHS)
    masks = [real_mask(gpt2, seed).requires_grad_() for seed in (0, 1)]
    alone = []
    for mask in masks:
        run(gpt2, mask, pairs).square().sum().backward()
        alone.append(mask.grad)
        mask.grad = None
    first, second = (run(gpt2, mask, pairs).square().sum() for mask in masks)
    first.backward()
    second.backward()
    for mask, want in zip(masks, alone, strict=True):
        assert close(mask.grad, want, 1e-6)
