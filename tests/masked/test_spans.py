"""The masked pass with a mask a span, against a slow loop with one a token."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from hap_engine.graph.circuit import Circuit, empty_circuit, full_circuit, random_circuit
from hap_engine.graph.graph import Span
from hap_engine.masked.masked_pass import MaskedModel
from hap_engine.tasks.pair import EncodedPair
from tests.builders.masked_runs import LENGTHS, close, in_random_spans, real_mask, run
from tests.builders.slow import Slow
from tests.builders.tiny_models import random_pairs

SCHEMAS = {"two": ["early"], "three in any order": ["one", "other", "third"], "many": [f"part {at}" for at in range(7)]}


def divided(schema: str, seed: int = 0) -> tuple[list[EncodedPair], tuple[Span, ...]]:
    return in_random_spans(random_pairs(LENGTHS), SCHEMAS[schema], seed)


@pytest.mark.parametrize("schema", SCHEMAS)
@pytest.mark.parametrize("density", [1.0, 0.3])
def test_equals_an_explicit_loop_over_edges_and_tokens(masked: MaskedModel, schema: str, density: float) -> None:
    (pairs, spans), slow = divided(schema), Slow(masked.model.hf_model)
    at_spans = masked.at_spans(spans)
    mask = real_mask(at_spans, 1, density)
    with torch.no_grad():
        want = slow.masked_logits(at_spans.graph, mask, pairs)
        assert close(run(at_spans, mask, pairs), want, 1e-5)
    assert not close(want, run(at_spans, torch.zeros_like(mask), pairs), 1e-3), "the mask matters"


@pytest.mark.parametrize("schema", SCHEMAS)
def test_gradient_of_the_mask_is_that_of_the_loop(masked: MaskedModel, schema: str) -> None:
    (pairs, spans), slow = divided(schema, 1), Slow(masked.model.hf_model)
    at_spans = masked.at_spans(spans)
    weights = torch.randn(3, 72, generator=torch.Generator().manual_seed(0))
    mask = real_mask(at_spans, 3)
    fast_mask, slow_mask = mask.clone().requires_grad_(), mask.clone().requires_grad_()
    (run(at_spans, fast_mask, pairs) * weights).sum().backward()
    (slow.masked_logits(at_spans.graph, slow_mask, pairs) * weights).sum().backward()
    assert close(fast_mask.grad, slow_mask.grad)
    assert not fast_mask.grad[~torch.from_numpy(at_spans.graph.edge_mask)].any()


@pytest.mark.parametrize("seed", range(3))
def test_dead_edges_change_no_logit(masked: MaskedModel, seed: int) -> None:
    pairs, spans = divided("three in any order", seed)
    at_spans, slow = masked.at_spans(spans), Slow(masked.model.hf_model)
    rng, real = np.random.default_rng(seed), at_spans.graph.edge_mask
    before = np.arange(len(real))[:, None] < at_spans.graph.upstream  # edges that could never live among them
    kept = before & (rng.random(real.shape) < 0.12)
    circuit = Circuit(at_spans.graph, kept & real)
    assert len(circuit.live) < kept.sum()
    with torch.no_grad():
        with_dead = slow.masked_logits(at_spans.graph, torch.from_numpy(kept).float(), pairs)
    assert close(run(at_spans, circuit.live, pairs), with_dead)


def test_a_mask_alike_at_all_spans_is_the_mask_without(masked: MaskedModel) -> None:
    pairs, spans = divided("many")
    at_spans, mask = masked.at_spans(spans), real_mask(masked, 2, 0.4)
    columns = [masked.graph.reader_index[reader.name.partition("@")[0]] for reader in at_spans.graph.readers]
    alike = mask[:, columns] * torch.from_numpy(at_spans.graph.edge_mask)
    assert close(run(at_spans, alike, pairs), run(masked, mask, random_pairs(LENGTHS)), 1e-5)


def test_ends_are_the_clean_and_the_corrupt_run(masked: MaskedModel) -> None:
    pairs, spans = divided("three in any order")
    at_spans, plain = masked.at_spans(spans), random_pairs(LENGTHS)
    for of in (full_circuit, empty_circuit):
        assert close(run(at_spans, of(at_spans.graph), pairs), run(masked, of(masked.graph), plain), 1e-5)


def test_random_circuits_equal_the_loop(masked: MaskedModel) -> None:
    pairs, spans = divided("three in any order")
    at_spans, slow = masked.at_spans(spans), Slow(masked.model.hf_model)
    for seed in range(2):
        mask = torch.from_numpy(random_circuit(at_spans.graph, 30, np.random.default_rng(seed)).kept).float()
        with torch.no_grad():
            assert close(run(at_spans, mask, pairs), slow.masked_logits(at_spans.graph, mask, pairs), 1e-5)
