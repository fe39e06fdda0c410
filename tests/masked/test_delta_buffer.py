"""Layers whose readers are mixed together, against the slow loop, for every way to group them."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from hap_engine.machine import workload
from hap_engine.masked import delta_buffer
from hap_engine.masked.masked_pass import MaskedModel
from hap_engine.masked.opening import open_masked
from tests.builders.masked_runs import LENGTHS, close, real_mask, run
from tests.builders.scoring import by_autograd, scores_of
from tests.builders.slow import Slow
from tests.builders.tiny_models import make_model, random_pairs

LAYERS = 5


@pytest.fixture(scope="module", params=["gpt2", "llama", "neox"])
def deep(request: pytest.FixtureRequest) -> MaskedModel:
    return open_masked(make_model(request.param, layers=LAYERS))


@pytest.fixture(params=[1, 2, 3, LAYERS])
def together(request: pytest.FixtureRequest, deep: MaskedModel, monkeypatch: pytest.MonkeyPatch) -> int:
    layers = int(request.param)
    monkeypatch.setattr(workload, "LOOK_AHEAD", layers * len(deep.graph.readers) // LAYERS)
    assert workload.look_ahead(deep.graph.slots) == layers
    return layers


@pytest.mark.parametrize("sparse", [0.0, np.inf], ids=["products", "sums"])
@pytest.mark.parametrize("density", [1.0, 0.2, 0.02])
def test_logits_and_gradients_are_those_of_the_loop(
    deep: MaskedModel, together: int, density: float, sparse: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delta_buffer, "SPARSE", sparse)
    pairs, slow = random_pairs(LENGTHS), Slow(deep.model.hf_model)
    weights = torch.randn(3, 72, generator=torch.Generator().manual_seed(0))
    mask = real_mask(deep, 5, density)
    fast_mask, slow_mask = mask.clone().requires_grad_(), mask.clone().requires_grad_()
    got, want = run(deep, fast_mask, pairs), slow.masked_logits(deep.graph, slow_mask, pairs)
    assert close(got, want)
    with torch.no_grad():
        assert close(run(deep, mask, pairs), want), "memory is handed on where no gradient is wanted"
    (got * weights).sum().backward()
    (want * weights).sum().backward()
    at = mask != 0  # gates at exactly 0 are not computed
    assert close(fast_mask.grad[at], slow_mask.grad[at], 1e-3)


def test_scores_are_those_of_the_plain_model(deep: MaskedModel, together: int) -> None:
    pairs = random_pairs(LENGTHS)
    scores, want = scores_of(deep, pairs), by_autograd(deep, pairs)
    assert np.abs(scores - want).max() <= 1e-4 * np.abs(want).max()
