"""Matrices of random codes, and the numbers that they stand for."""

from __future__ import annotations

import numpy as np
import torch
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType

from hap_engine.narrow.codes import Codes


def random_codes(rows: int, blocks: int, *, bits: int, offset: bool, size: int = 32, seed: int = 0) -> Codes:
    """A matrix of blocks of `size` numbers."""
    some = torch.Generator().manual_seed(seed)
    if bits == 4:
        codes = torch.randint(0, 256, (rows, blocks, size // 2), generator=some).to(torch.uint8)
    else:
        codes = torch.randint(-128, 128, (rows, blocks, size), generator=some).to(torch.int8)
    scale = (torch.rand(rows, blocks, generator=some) / 2**bits).half()
    return Codes(codes, scale, torch.randn(rows, blocks, generator=some).half() if offset else None)


def random_blocks(kind: GGMLQuantizationType, rows: int, columns: int, seed: int = 0) -> np.ndarray:
    """The bytes of a tensor in a ``.gguf`` file whose codes, scales and offsets are random, and finite."""
    length, size = GGML_QUANT_SIZES[kind]
    some = np.random.default_rng(seed)
    data = some.integers(0, 256, (rows, columns // length, size), dtype=np.uint8)
    for start in (*range(0, min(4, size), 2), *range(80, min(84, size), 2), *range(size - 2, size, 2)):
        scales = some.uniform(0.001, 0.02, data.shape[:2]).astype(np.float16)  # wherever a format has them
        data[..., start : start + 2] = scales[..., None].view(np.uint8)
    return data.reshape(rows, -1)
