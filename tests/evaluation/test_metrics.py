"""The metrics by hand, on sets of answers, and the laws that hold for any logits."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hap_engine.evaluation.metrics import (
    among,
    faithfulness,
    kl_divergence,
    logit_difference,
    probability_difference,
    set_logit,
)


def ids(*rows: tuple[int, ...]) -> torch.Tensor:
    return torch.tensor(rows)


def test_one_token_each_is_the_plain_difference_to_the_last_bit() -> None:
    logits = torch.randn(64, 100, generator=torch.Generator().manual_seed(0), requires_grad=True)
    answer, distractor = torch.arange(64), torch.arange(64) + 7
    rows = torch.arange(64)
    plain = logits[rows, answer] - logits[rows, distractor]
    general = logit_difference(logits, answer[:, None], distractor[:, None])
    assert torch.equal(plain, general)
    assert torch.equal(*(torch.autograd.grad(x.sum(), logits)[0] for x in (plain, general)))


def test_sets_are_compared_by_their_probability() -> None:
    probabilities = torch.tensor([[0.4, 0.2, 0.1, 0.3]])
    difference = logit_difference(probabilities.log() + 5, ids((0, 1)), ids((2, 3)))
    assert difference.item() == pytest.approx(math.log(0.6 / 0.4), abs=1e-5)
    gap = probability_difference(probabilities.log() + 5, ids((0, 1)), ids((2, -1)))
    assert gap.item() == pytest.approx(0.5, abs=1e-6)


def test_padding_changes_nothing() -> None:
    logits = torch.randn(3, 9)
    short, padded = ids((1, 2), (3, 4), (5, 6)), ids((1, 2, -1), (3, 4, -1), (5, 6, -1))
    assert torch.equal(set_logit(logits, short), set_logit(logits, padded))
    assert torch.equal(among(torch.tensor([2, 2, 6]), padded), torch.tensor([1.0, 0.0, 1.0]))


def test_gradients_stay_finite_where_sets_are_padded() -> None:
    logits = torch.randn(2, 5, requires_grad=True)
    logit_difference(logits, ids((0, 1), (2, -1)), ids((3, -1), (4, -1))).sum().backward()
    assert logits.grad is not None
    assert torch.isfinite(logits.grad).all()
    assert logits.grad[1].tolist() == [0, 0, 1, 0, -1]


@given(st.integers(0, 2**31), st.floats(-20, 20))
def test_laws(seed: int, shift: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(4, 12, generator=generator)
    order = torch.randperm(12, generator=generator)
    right, wrong = order[None, :3].expand(4, -1), order[None, 3:7].expand(4, -1)
    difference = logit_difference(logits, right, wrong)
    moved = logit_difference(logits + shift, right, wrong)
    np.testing.assert_allclose(moved, difference, atol=1e-4)
    np.testing.assert_allclose(logit_difference(logits, wrong, right), -difference, atol=1e-5)
    gap = probability_difference(logits, right, wrong)
    assert ((gap > 0) == (difference > 0)).all()
    assert (gap.abs() <= 1).all()
    assert kl_divergence(logits, logits.log_softmax(-1)).abs().max() < 1e-5


def test_rounding_makes_no_kl_negative() -> None:
    logits = torch.randn(64, 5000, generator=torch.Generator().manual_seed(0))
    assert kl_divergence(logits, (logits + 1e-6).log_softmax(-1)).min() == 0


def test_faithfulness_is_a_ratio_of_means() -> None:
    assert faithfulness(2.0, 4.0, 0.0) == 0.5
    assert math.isnan(faithfulness(1.0, 2.0, 2.0))
