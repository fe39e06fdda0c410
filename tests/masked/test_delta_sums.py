"""Sums over edges against products, step by step, and which of them a plan gets."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from hap_engine.graph.circuit import empty_circuit, full_circuit, random_circuit
from hap_engine.masked import delta_buffer
from hap_engine.masked.delta_buffer import Buffer, SparseBuffer, buffer_of
from hap_engine.masked.masked_pass import MaskedModel
from hap_engine.masked.plan import Indices, Plan
from hap_engine.masked.workspace import Workspace

TOKENS, WIDTH = 7, 6


def random_plan(masked: MaskedModel, edges: int) -> Plan:
    return Plan(random_circuit(masked.graph, edges, np.random.default_rng(0)))


def both(plan: Plan, zone: int, mask: torch.Tensor, *, training: bool = True) -> list[Buffer]:
    """The two kinds over the same rows; what is in their memory before is not a number."""
    found = []
    for kind in (Buffer, SparseBuffer):
        buffer = kind(zone, plan, TOKENS, mask, WIDTH, Workspace(), training=training)
        buffer.readers.fill_(float("nan"))
        generator = torch.Generator().manual_seed(1)
        buffer.delta.copy_(torch.randn(buffer.delta.shape, generator=generator))
        found.append(buffer)
    return found


def forward(buffer: Buffer, plan: Plan, zone: int) -> torch.Tensor:
    """Mix for each reader in turn, layer by layer, as a pass does."""
    got = []
    for layer in range(plan.graph.n_layers):
        columns = plan.columns(zone, layer)
        if layer % delta_buffer.look_ahead(plan.graph.slots) == 0 and columns:
            buffer.open(buffer.places(columns))
            if due := buffer.due(buffer.places(columns), plan.seen(zone, plan.graph.column(layer, 0))):
                buffer.mix(*due)
        for column in plan.layer_columns(zone, layer):
            if due := buffer.due(buffer.places([column]), plan.seen(zone, column)):
                buffer.mix(*due)
            got.append(buffer.at(buffer.places([column])).clone())
    return torch.cat(got)


@pytest.mark.parametrize("zone", [0, 1])
@pytest.mark.parametrize("share", [0.1, 0.4, 1.0])
def test_readers_get_the_same(gpt2: MaskedModel, zone: int, share: float) -> None:
    """The mask is set also where there is no edge: earlier rows count then, later ones do not."""
    plan = random_plan(gpt2, round(share * gpt2.graph.n_edges))
    assert plan.readers[zone]
    mask = torch.randn(gpt2.graph.edge_mask.shape)
    for training in (True, False):
        products, sums = both(plan, zone, mask, training=training)
        want, got = forward(products, plan, zone), forward(sums, plan, zone)
        torch.testing.assert_close(got, want)


@pytest.mark.parametrize("zone", [0, 1])
def test_gradients_are_the_same(gpt2: MaskedModel, zone: int) -> None:
    plan = random_plan(gpt2, gpt2.graph.n_edges // 5)
    rows = len(plan.writers[zone])
    mask = torch.randn(plan.live.shape) * torch.from_numpy(plan.live)
    found = []
    for buffer in both(plan, zone, mask):
        places = slice(0, len(plan.readers[zone]))
        generator = torch.Generator().manual_seed(2)
        buffer.readers.copy_(torch.randn(buffer.readers.shape, generator=generator))
        for place in reversed(range(places.stop)):
            buffer.unmix(slice(place, place + 1), slice(0, buffer.before[place]))
        apart = list(range(0, rows, 2))
        found.append((buffer.mask_grad(), buffer.row_grads(list(range(rows))), buffer.row_grads(apart)))
    for want, got in zip(*found, strict=True):
        torch.testing.assert_close(got, want)


def test_pieces_of_the_masks_gradient_are_the_whole(gpt2: MaskedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = Plan(full_circuit(gpt2.graph))
    mask = torch.from_numpy(gpt2.graph.edge_mask).float()
    _, sums = both(plan, 0, mask)
    sums.readers.normal_()
    whole = sums.mask_grad()
    monkeypatch.setattr(delta_buffer, "PIECE", 3)
    torch.testing.assert_close(sums.mask_grad(), whole)


def test_rows_that_no_reader_has_an_edge_from(gpt2: MaskedModel) -> None:
    """Gates of exactly 0 in a plan that computes more than the mask needs."""
    plan = random_plan(gpt2, 30)
    products, sums = both(plan, 0, torch.zeros(plan.live.shape))
    assert torch.equal(forward(products, plan, 0), forward(sums, plan, 0))
    assert not sums.row_grads([0]).any()


def test_sparse_plans_sum_on_a_processor_and_multiply_elsewhere(
    gpt2: MaskedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    graph = gpt2.graph
    plan = random_plan(gpt2, graph.n_edges // 5)
    share = plan.edges(0) / plan.pairs(0)
    assert 0 < share < 1

    def kind(circuit: Plan, device: str) -> type:
        circuit.indices = Indices()  # tensors of one device
        mask = torch.zeros(graph.edge_mask.shape, device=device)
        buffer = buffer_of(0, circuit, TOKENS, mask, WIDTH, Workspace(), training=True)
        return type(buffer)

    for limit, device, expected in (
        (1.01 * share, "cpu", SparseBuffer),
        (0.99 * share, "cpu", Buffer),
        (1.01 * share, "meta", Buffer),
    ):
        monkeypatch.setattr(delta_buffer, "SPARSE", limit)
        assert kind(plan, device) is expected
    assert kind(Plan(empty_circuit(graph)), "cpu") is Buffer
