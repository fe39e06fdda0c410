"""Codes taken from the block formats of ``.gguf`` files: the numbers are the ``gguf`` package's, all of them."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from gguf import GGMLQuantizationType, dequantize

from hap_engine.models.gguf_header import KEPT
from hap_engine.transformer import gguf_codes
from hap_engine.transformer.gguf_codes import FORMATS, codes_of
from tests.builders.codes import random_blocks

COLUMNS = 512


def tensor(kind: GGMLQuantizationType, data: np.ndarray) -> SimpleNamespace:
    """As the package reads it from a file."""
    return SimpleNamespace(tensor_type=kind, data=data, shape=np.array([COLUMNS, len(data)]))


@pytest.mark.parametrize("name", FORMATS)
def test_codes_give_the_numbers_of_the_file(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gguf_codes, "PIECE", 3 * COLUMNS)
    kind = GGMLQuantizationType[name]
    data = random_blocks(kind, 10, COLUMNS)
    data[4] = 0
    found = codes_of(tensor(kind, data))
    assert found is not None
    assert torch.equal(found.float(), torch.from_numpy(dequantize(data, kind)))
    assert 8 * sum(x.nbytes for x in found.held) == KEPT[name] * found.numel()


def test_what_is_no_code_or_not_finite_stays_as_it_is() -> None:
    kind = GGMLQuantizationType.Q4_0
    data = random_blocks(kind, 4, COLUMNS)
    data[1, :2] = np.array([np.inf], dtype=np.float16).view(np.uint8)
    assert codes_of(tensor(kind, data)) is None
    assert codes_of(tensor(GGMLQuantizationType.F32, np.ones((4, COLUMNS), dtype=np.float32))) is None
