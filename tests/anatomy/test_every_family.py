"""Every family of the table: its masked pass against the model itself, differences, other plans and scores."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from hap_engine.graph.circuit import Circuit, full_circuit, random_circuit
from hap_engine.masked.masked_pass import MaskedModel
from hap_engine.masked.opening import open_masked
from hap_engine.masked.plan import Plan, Positions
from hap_engine.transformer.batches import to_batch
from tests.builders.family_zoo import FAMILIES, build
from tests.builders.masked_runs import LENGTHS, close, real_mask, run
from tests.builders.precision import in_double
from tests.builders.scoring import scores_of
from tests.builders.tiny_models import VOCABULARY, made_of, random_pairs

PAIRS = random_pairs(LENGTHS)
STEP = 1e-6  # of a mask: in float64 above rounding, and hardly over a kink (a clip, a route)


@pytest.fixture(scope="module", params=FAMILIES)
def family(request: pytest.FixtureRequest) -> MaskedModel:
    return open_masked(made_of(build(request.param), request.param))


def test_both_ends_are_the_model(family: MaskedModel) -> None:
    """With prompts longer than any window of the table."""
    pairs = random_pairs([40, 40, 33])
    for share, side in ((1.0, "clean_ids"), (0.0, "corrupt_ids")):
        got = run(family, torch.from_numpy(full_circuit(family.graph).kept).float() * share, pairs)
        for row, pair in zip(got, pairs, strict=True):
            with torch.no_grad():
                want = family.model.hf_model(torch.tensor([getattr(pair, side)])).logits[0, -1]
            assert close(row, want, 2e-5)


def test_a_sparse_plan_gives_what_a_full_one_gives(family: MaskedModel) -> None:
    """Nothing that is left out (dead edges, heads that nothing reaches, tokens that agree) changes a logit."""
    batch, graph, rng = to_batch(PAIRS, family.device), family.graph, np.random.default_rng(0)
    corrupt, clean = family.trace(batch.corrupt, batch.last), family.embed(batch.clean)
    whole, everywhere = Plan(full_circuit(graph)), Positions.all(batch.last, batch.clean.shape[1])
    half = Circuit(graph, graph.edge_mask & (rng.random(graph.edge_mask.shape) < 0.3))
    for circuit in (random_circuit(graph, 12, rng), random_circuit(graph, 60, rng), half):
        mask = torch.from_numpy(circuit.kept).float()
        with torch.no_grad():
            want = family.planned_logits(whole, everywhere, mask, clean, corrupt, batch.last)
            got = family.logits(mask, clean, corrupt, batch.last)
        assert close(got, want, 2e-5)
        assert not close(want, family.unembed(corrupt.final), 1e-4), "the circuit matters"


def test_scores_are_the_gradient_of_the_mask(family: MaskedModel) -> None:
    assert close(torch.from_numpy(scores_of(family, PAIRS)), by_mask(family), 1e-4)


def by_mask(masked: MaskedModel) -> Tensor:
    """EAP's scores from the masked pass itself."""
    batch = to_batch(PAIRS, masked.device)
    mask = torch.from_numpy(full_circuit(masked.graph).kept).float().requires_grad_()
    logits = run(masked, mask, PAIRS)
    rows = torch.arange(len(PAIRS))
    (logits[rows, batch.answer[:, 0]] - logits[rows, batch.distractor[:, 0]]).mean().backward()
    assert mask.grad is not None
    return -mask.grad


def test_gradients_are_differences(request: pytest.FixtureRequest, family: MaskedModel) -> None:
    """At masks far from 0 and 1, all that is computed in float64."""
    with in_double():
        masked = open_masked(made_of(build(family.model.name).double(), family.model.name))
        generator = torch.Generator().manual_seed(0)
        weights = torch.randn(len(PAIRS), VOCABULARY, generator=generator)
        mask = real_mask(masked, 1).requires_grad_()
        (run(masked, mask, PAIRS) * weights).sum().backward()
        edges = torch.from_numpy(masked.graph.edge_mask)
        for _ in range(2):
            direction = torch.randn(mask.shape, generator=generator) * edges
            slope = (mask.grad * direction).sum()
            with torch.no_grad():
                ends = [(run(masked, mask + side * STEP * direction, PAIRS) * weights).sum() for side in (1, -1)]
            difference = (ends[0] - ends[1]) / (2 * STEP)
            assert abs(slope - difference) < 1e-4 * torch.linalg.vector_norm(mask.grad)
