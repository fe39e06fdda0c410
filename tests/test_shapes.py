"""The checker of shapes itself: each new combination of shapes is checked, what was right before is not."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from jaxtyping import Float, Int, TypeCheckError
from torch import Tensor

from hap_engine.evaluation.metrics import kl_divergence
from tests.builders.shapes import checked

Scores = Float[np.ndarray, "writer reader"]


@checked
def product(a: Float[Tensor, "row inner"], b: Float[Tensor, "inner column"]) -> Float[Tensor, "row column"]:
    return a @ b.to(a.dtype) if b.shape[1] < 5 else a


@checked
def total(parts: dict[str, Float[Tensor, " some"]], weights: tuple[Scores, ...] = ()) -> float:
    return float(sum(part.sum() for part in parts.values()))


@checked
@dataclass(frozen=True)
class Batch:
    rows: Int[Tensor, "row place"]
    last: Int[Tensor, " row"]


def plain(x: int) -> int:
    return x


def test_what_is_wrong_is_refused_after_any_number_of_right_calls() -> None:
    with pytest.raises(TypeCheckError, match="parameters"):
        product(torch.ones(2, 3), torch.ones(2, 3))
    for _ in range(3):
        assert product(torch.ones(2, 3), torch.ones(3, 4)).shape == (2, 4)
        assert product(torch.ones(2, 3), b=torch.ones(3, 3)).shape == (2, 3)
    with pytest.raises(TypeCheckError, match="parameters"):
        product(torch.ones(2, 3), torch.ones(4, 3))
    with pytest.raises(TypeCheckError, match="parameters"):
        product(torch.ones(2, 3), torch.ones(3, 4, dtype=torch.int64))
    with pytest.raises(TypeCheckError, match="parameters"):
        product(b=torch.ones(2, 3), a=torch.ones(3, 4))


def test_what_comes_out_is_checked() -> None:
    with pytest.raises(TypeCheckError, match="return value"):
        product(torch.ones(2, 3), torch.ones(3, 5))


def test_what_comes_out_is_checked_where_the_same_went_in() -> None:
    answers = [torch.ones(2), torch.ones(2), torch.ones(3)]

    @checked
    def answer(x: Float[Tensor, " some"]) -> Float[Tensor, " some"]:
        return answers.pop(0)

    assert len(answer(torch.ones(2))) == len(answer(torch.ones(2))) == 2
    with pytest.raises(TypeCheckError, match="return value"):
        answer(torch.ones(2))


def test_parts_of_what_goes_in_count() -> None:
    assert total({"a": torch.ones(2), "b": torch.ones(2)}, (np.ones((1, 2)),)) == 4
    with pytest.raises(TypeCheckError):
        total({"a": torch.ones(2, 2)})
    with pytest.raises(TypeCheckError):
        total({"a": torch.ones(2)}, (np.ones(2),))


def test_the_fields_of_a_dataclass_are_checked() -> None:
    for _ in range(2):
        Batch(torch.ones(2, 3, dtype=torch.int64), last=torch.ones(2, dtype=torch.int64))
    with pytest.raises(TypeCheckError):
        Batch(torch.ones(2, 3, dtype=torch.int64), last=torch.ones(3, dtype=torch.int64))


def test_what_states_no_shape_stays_as_it_is() -> None:
    assert checked(plain) is plain


def test_the_engine_is_checked() -> None:
    with pytest.raises(TypeCheckError):
        kl_divergence(torch.ones(2, 3), torch.ones(2, 4))
