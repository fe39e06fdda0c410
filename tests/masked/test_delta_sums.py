"""Sums over edges against products, step by step, and which of them a plan gets."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from hap_engine.graph.circuit import empty_circuit, full_circuit, random_circuit
from hap_engine.masked import delta_buffer
from hap_engine.masked.delta_buffer import Span, SparseSpan, span_of
from hap_engine.masked.masked_pass import MaskedModel
from hap_engine.masked.plan import Indices, Plan
from hap_engine.masked.workspace import Workspace

TOKENS, WIDTH = 7, 6


def random_plan(masked: MaskedModel, edges: int) -> Plan:
    return Plan(random_circuit(masked.graph, edges, np.random.default_rng(0)))


def both(plan: Plan, name: str, mask: torch.Tensor, *, training: bool = True) -> list[Span]:
    """The two kinds over the same rows; what is in their memory before is not a number."""
    found = []
    for kind in (Span, SparseSpan):
        span = kind(name, plan, TOKENS, mask, WIDTH, Workspace(), training=training)
        span.readers.fill_(float("nan"))
        generator = torch.Generator().manual_seed(1)
        span.delta.copy_(torch.randn(span.delta.shape, generator=generator))
        found.append(span)
    return found


def forward(span: Span, plan: Plan, name: str) -> torch.Tensor:
    """Mix for each reader in turn, layer by layer, as a pass does."""
    got = []
    for layer in range(plan.graph.n_layers):
        columns = plan.columns(name, layer)
        if layer % delta_buffer.look_ahead(plan.graph) == 0 and columns:
            span.open(span.places(columns))
            if due := span.due(span.places(columns), plan.seen(name, plan.graph.column(layer, 0))):
                span.mix(*due)
        for column in plan.layer_columns(name, layer):
            if due := span.due(span.places([column]), plan.seen(name, column)):
                span.mix(*due)
            got.append(span.at(span.places([column])).clone())
    return torch.cat(got)


@pytest.mark.parametrize("name", ["wide", "narrow"])
@pytest.mark.parametrize("share", [0.1, 0.4, 1.0])
def test_readers_get_the_same(gpt2: MaskedModel, name: str, share: float) -> None:
    """The mask is set also where there is no edge: earlier rows count then, later ones do not."""
    plan = random_plan(gpt2, round(share * gpt2.graph.n_edges))
    assert plan.readers[name]
    mask = torch.randn(gpt2.graph.edge_mask.shape)
    for training in (True, False):
        products, sums = both(plan, name, mask, training=training)
        want, got = forward(products, plan, name), forward(sums, plan, name)
        torch.testing.assert_close(got, want)


@pytest.mark.parametrize("name", ["wide", "narrow"])
def test_gradients_are_the_same(gpt2: MaskedModel, name: str) -> None:
    plan = random_plan(gpt2, gpt2.graph.n_edges // 5)
    rows = len(plan.writers[name])
    mask = torch.randn(plan.live.shape) * torch.from_numpy(plan.live)
    found = []
    for span in both(plan, name, mask):
        places = slice(0, len(plan.readers[name]))
        generator = torch.Generator().manual_seed(2)
        span.readers.copy_(torch.randn(span.readers.shape, generator=generator))
        for place in reversed(range(places.stop)):
            span.unmix(slice(place, place + 1), slice(0, span.before[place]))
        apart = list(range(0, rows, 2))
        found.append((span.mask_grad(), span.row_grads(list(range(rows))), span.row_grads(apart)))
    for want, got in zip(*found, strict=True):
        torch.testing.assert_close(got, want)


def test_pieces_of_the_masks_gradient_are_the_whole(gpt2: MaskedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = Plan(full_circuit(gpt2.graph))
    mask = torch.from_numpy(gpt2.graph.edge_mask).float()
    _, sums = both(plan, "wide", mask)
    sums.readers.normal_()
    whole = sums.mask_grad()
    monkeypatch.setattr(delta_buffer, "PIECE", 3)
    torch.testing.assert_close(sums.mask_grad(), whole)


def test_rows_that_no_reader_has_an_edge_from(gpt2: MaskedModel) -> None:
    """Gates of exactly 0 in a plan that computes more than the mask needs."""
    plan = random_plan(gpt2, 30)
    products, sums = both(plan, "wide", torch.zeros(plan.live.shape))
    assert torch.equal(forward(products, plan, "wide"), forward(sums, plan, "wide"))
    assert not sums.row_grads([0]).any()


def test_sparse_plans_sum_on_a_processor_and_multiply_elsewhere(
    gpt2: MaskedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    graph = gpt2.graph
    plan = random_plan(gpt2, graph.n_edges // 5)
    share = plan.edges("wide") / plan.pairs("wide")
    assert 0 < share < 1

    def kind(circuit: Plan, device: str) -> type:
        circuit.indices = Indices()  # tensors of one device
        mask = torch.zeros(graph.edge_mask.shape, device=device)
        span = span_of("wide", circuit, TOKENS, mask, WIDTH, Workspace(), training=True)
        return type(span)

    for limit, device, expected in (
        (1.01 * share, "cpu", SparseSpan),
        (0.99 * share, "cpu", Span),
        (1.01 * share, "meta", Span),
    ):
        monkeypatch.setattr(delta_buffer, "SPARSE", limit)
        assert kind(plan, device) is expected
    assert kind(Plan(empty_circuit(graph)), "cpu") is Span
