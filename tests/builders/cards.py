"""Pretended CUDA cards: a tensor on one meets none on another, nor one on the processor (`pretended.py`)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch
from torch import Tensor

from hap_engine.masked.masked_pass import MaskedModel
from hap_engine.masked.opening import open_masked
from hap_engine.narrow.codes import Codes
from hap_engine.narrow.weights import Narrow
from hap_engine.transformer.cards import cards_of, over
from hap_engine.transformer.load import from_hf
from tests.builders.pretended import Kind, pretended
from tests.builders.tiny_models import hf_model, make_model

LAYERS = 5
ROOM = 10**9  # bytes on a card


@contextmanager
def cards(*free: int) -> Iterator[None]:
    """While it is open, the cards ``cuda:0``, … are there, with so many bytes free."""
    with pytest.MonkeyPatch.context() as patch, pretended(Kind("cuda")):
        patch.setattr(torch.cuda, "_lazy_init", lambda: None)
        patch.setattr(torch.cuda, "device_count", lambda: len(free))
        patch.setattr(torch.cuda, "mem_get_info", lambda card: (free[card.index], free[card.index]))
        # Narrow weights wrap tensors, too: torch takes them for ones without numbers, they say where these are.
        make = Tensor._make_wrapper_subclass
        patch.setattr(
            Tensor, "_make_wrapper_subclass", lambda *of, device, **more: make(*of, device=_known(device), **more)
        )
        patch.setattr(Narrow, "device", property(lambda self: self.parts[0].device), raising=False)
        patch.setattr(Codes, "device", property(lambda self: self.codes.device), raising=False)
        yield


def _known(device: object) -> str:
    return "meta" if str(device).startswith("cuda") else str(device)


def opened(family: str, layers_on: str | None = None) -> MaskedModel:
    """A tiny model, on the processor or on cards."""
    one = make_model(family, layers=LAYERS)
    if layers_on is None:
        return open_masked(one)
    place = over("tiny", cards_of(layers_on))
    return open_masked(from_hf(hf_model(family, layers=LAYERS), one.tokenizer, one.source, one.sha256, place=place))
