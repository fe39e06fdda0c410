"""A second reading of a ``.gguf`` file, with which its converted copy is compared once.

The other way round than the conversion: what the copy holds is brought into the file's layout, as llama.cpp's
converter writes it, and must be what the ``gguf`` package dequantises, bit by bit.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from hap_engine.errors import ModelError
from hap_engine.models.catalog import Source
from hap_engine.models.gguf_header import FACTORS, GEMMA, Header, gguf_reader
from hap_engine.transformer.gguf_codes import matrices_of
from hap_engine.words import say

TRANSPOSED = ("attn_qkv.weight", "attn_output.weight", "ffn_up.weight", "ffn_down.weight")  # of GPT-2


def check_conversion(source: Source, header: Header, copy: Path) -> None:
    """Compare every tensor of the file with that of a ``.safetensors`` copy.

    Raises:
        ModelError: naming the first tensor that is not what the file says.
    """
    from gguf import MODEL_ARCH_NAMES, dequantize, get_tensor_name_map
    from safetensors import safe_open

    kind = next(key for key, name in MODEL_ARCH_NAMES.items() if name == header.architecture)
    names = get_tensor_name_map(kind, header.get("block_count"))
    with safe_open(copy, framework="pt") as held:
        found = {}
        for key, value in matrices_of(held):
            stem, _, part = key.rpartition(".")
            found[f"{names.get_name(stem)}.{part}"] = key, value
        for tensor in (tensor for path in source.weights for tensor in gguf_reader(path).tensors):
            if FACTORS.fullmatch(tensor.name):
                continue  # a part of the config
            key, value = found.pop(tensor.name)
            stored = _as_in_file(header, tensor.name, value.float().numpy())
            told = dequantize(tensor.data, tensor.tensor_type)
            if not np.allclose(stored, told, rtol=0, atol=_rounding(header, tensor.name), equal_nan=True):
                raise ModelError(say("transformer.two_readings", source=source, tensor=tensor, key=key))


def _as_in_file(header: Header, name: str, x: np.ndarray) -> np.ndarray:
    """A tensor of the copy in the layout that llama.cpp's converter gives it."""
    if header.architecture == "gpt2" and name.endswith(TRANSPOSED):
        return x.T
    if _added(header, name):
        return x + 1
    if header.architecture != "llama" or not ("attn_q." in name or "attn_k." in name):
        return x
    grouped = "attn_k." in name and header.get("attention.head_count_kv")
    heads = grouped or header.get("attention.head_count")
    return x.reshape(heads, 2, len(x) // heads // 2, *x.shape[1:]).swapaxes(1, 2).reshape(x.shape)


def _added(header: Header, name: str) -> bool:
    """Whether the file holds a tensor with 1 added: the gains of Gemma's norms."""
    return header.architecture in GEMMA and name.endswith("norm.weight")


def _rounding(header: Header, name: str) -> float:
    """By how much two readings may differ: 1 taken off and added again rounds twice."""
    return 2.0**-22 if _added(header, name) else 0.0
