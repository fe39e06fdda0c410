"""Scratch memory is used again, whatever its dtype."""

from __future__ import annotations

import torch

from hap_engine.masked.workspace import Workspace

CPU = torch.device("cpu")


def test_what_was_given_back_is_taken_again_in_any_dtype() -> None:
    workspace = Workspace()
    first = workspace.take("delta", (4, 8), torch.float32, CPU)
    place = first.data_ptr()
    workspace.give("delta", first)
    second = workspace.take("delta", (8, 8), torch.bfloat16, CPU)
    assert (second.data_ptr(), second.shape, second.dtype) == (place, (8, 8), torch.bfloat16)
    other = workspace.take("delta", (4, 8), torch.float32, CPU)
    assert other.data_ptr() != place, "the first is still out"


def test_a_tensor_that_had_to_grow_gets_some_room() -> None:
    workspace = Workspace()
    workspace.give("delta", workspace.take("delta", (8,), torch.float32, CPU))
    grown = workspace.take("delta", (16,), torch.float32, CPU)
    assert grown.untyped_storage().nbytes() == 72
    place = grown.data_ptr()
    workspace.give("delta", grown)
    assert workspace.take("delta", (18,), torch.float32, CPU).data_ptr() == place
