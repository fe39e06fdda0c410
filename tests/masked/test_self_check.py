"""The self-check: every family passes it by a wide margin, and a gradient that is wrong in part does not."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from hap_engine.errors import UnsupportedModelError
from hap_engine.masked import self_check
from hap_engine.masked.delta_buffer import Buffer
from hap_engine.masked.masked_pass import MaskedModel
from hap_engine.masked.opening import open_masked
from tests.builders.tiny_models import make_model


def test_gradients_agree_with_slopes(masked: MaskedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(self_check, "GRADIENT_TOLERANCE", self_check.GRADIENT_TOLERANCE / 10)
    with torch.no_grad():  # whoever opens a model there
        self_check.check_gradient(masked)


@pytest.mark.parametrize("lost", [slice(0, 1), slice(-1, None), slice(None)])
def test_a_gradient_that_loses_a_part_is_refused(
    gpt2: MaskedModel, monkeypatch: pytest.MonkeyPatch, lost: slice
) -> None:
    """As where a device writes a product into a copy of what it was told to write to."""
    whole = Buffer.unmix

    def part(self: Buffer, places: slice, rows: slice) -> None:
        whole(self, places, rows)
        self._mask_grad[places, rows][lost] = 0

    monkeypatch.setattr(Buffer, "unmix", part)
    with pytest.raises(UnsupportedModelError, match=r"on cpu the gradient .* another version of torch"):
        self_check.check_gradient(gpt2)


def test_a_gradient_that_is_not_a_number_is_refused(gpt2: MaskedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Buffer, "mask_grad", lambda self: self.mask * float("nan"))
    with pytest.raises(UnsupportedModelError, match="nan off"):
        self_check.check_gradient(gpt2)


def test_a_full_memory_is_not_taken_for_an_unsupported_model(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")

    monkeypatch.setattr(self_check, "check", full)
    with pytest.raises(torch.OutOfMemoryError):
        open_masked(make_model("gpt2"))
