"""Hard-concrete gates: limits, frequencies, and a projection that meets its budget."""

from __future__ import annotations

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from hap_engine.pruning import gates


def draw(log_alpha: torch.Tensor, seed: int = 0) -> torch.Tensor:
    return gates.sample(log_alpha, torch.Generator().manual_seed(seed))


def test_far_gates_are_exactly_shut_or_open() -> None:
    assert (draw(torch.full((1000,), -30.0)) == 0).all()
    assert (draw(torch.full((1000,), 30.0)) == 1).all()
    assert gates.stretch(torch.tensor([-40.0, 0.0, 40.0])).tolist() == [0, 0.5, 1]


def test_samples_lie_between_and_reach_both_ends() -> None:
    z = draw(torch.zeros(20_000))
    assert ((z >= 0) & (z <= 1)).all()
    for end in (0, 1):
        assert (z == end).any()
    assert ((z > 0) & (z < 1)).any()
    assert z.mean() == pytest.approx(0.5, abs=0.01)


@pytest.mark.parametrize("location", [-4.0, -1.5, 0.0, 2.0])
def test_open_probability_is_the_frequency_of_open_gates(location: float) -> None:
    log_alpha = torch.full((100_000,), location)
    opened = (draw(log_alpha) > 0).float().mean()
    assert opened == pytest.approx(gates.open_probability(log_alpha)[0].item(), abs=0.006)


def test_open_probability_by_hand() -> None:
    """P(z > 0) = sigmoid(log_alpha - beta log(0.1 / 1.1)); at log_alpha 0 that is 0.8318."""
    assert gates.open_probability(torch.tensor([0.0])).item() == pytest.approx(0.83180, abs=1e-4)


def test_gradient_flows_between_the_ends_only() -> None:
    log_alpha = torch.tensor([-20.0, 0.1, 20.0], requires_grad=True)
    gates.stretch(log_alpha).sum().backward()
    assert log_alpha.grad is not None
    assert log_alpha.grad.tolist()[::2] == [0, 0]
    assert log_alpha.grad[1] > 0


def test_generators_decide() -> None:
    log_alpha = torch.linspace(-3, 3, 50)
    assert torch.equal(draw(log_alpha, 1), draw(log_alpha, 1))
    assert not torch.equal(draw(log_alpha, 1), draw(log_alpha, 2))
    state = torch.get_rng_state()
    draw(log_alpha)
    assert torch.equal(state, torch.get_rng_state()), "the global generator is left alone"


@settings(max_examples=80, deadline=None)
@given(st.lists(st.floats(-50, 50), min_size=1, max_size=300), st.floats(0.001, 1.2))
@example([0.0, 0.0, 0.0, 30.0, 32.0, 31.5], 0.1875)  # the shift of float64 gates once had float32's digits
def test_projection_meets_the_budget(values: list[float], share: float) -> None:
    log_alpha = torch.tensor(values, dtype=torch.float64)
    budget = max(1e-3, share * len(values))
    shift = gates.project(log_alpha, budget)
    assert shift.shape == ()
    expected = gates.open_probability(log_alpha + shift).sum().item()
    assert expected == pytest.approx(min(budget, 0.999 * len(values)), rel=1e-6, abs=1e-6)


def test_projection_keeps_the_order_and_the_dtype() -> None:
    log_alpha = torch.randn(30, generator=torch.Generator().manual_seed(0))
    shift = gates.project(log_alpha, 7)
    assert shift.dtype == torch.float32
    assert torch.equal(log_alpha.argsort(), (log_alpha + shift).argsort())
    for impossible, met in ((-5, 1e-3), (0, 1e-3), (31, 0.999 * 30)):
        moved = log_alpha + gates.project(log_alpha, impossible)
        assert gates.open_probability(moved).sum().item() == pytest.approx(met, rel=1e-3)
