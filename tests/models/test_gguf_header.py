"""What a .gguf file's header tells before anything is converted."""

from __future__ import annotations

import struct
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gguf import GGUFWriter

from hap_engine.errors import ModelError, UnsupportedModelError
from hap_engine.graph.graph import Graph
from hap_engine.models.catalog import config_of, graph_of, resolve, weights_sha256
from hap_engine.models.gguf_cache import gguf_cache
from hap_engine.models.gguf_header import header
from hap_engine.models.shape import Shape
from hap_engine.models.supported import is_parallel
from hap_engine.transformer.load import load_model
from tests.conftest import SHARED_HOME


def written(path: Path, architecture: str, tied: bool = True, **changes: Any) -> Path:
    """A file of two layers with a table of 70 words, and no other weights."""
    sizes = {
        "block_count": 2,
        "attention.head_count": 4,
        "attention.head_count_kv": 2,
        "embedding_length": 32,
        "feed_forward_length": 96,
        "context_length": 64,
        **changes,
    }
    writer = GGUFWriter(path, architecture)
    for name, value in sizes.items():
        add = writer.add_bool if isinstance(value, bool) else writer.add_uint32
        add(f"{architecture}.{name}", value)
    writer.add_tensor("token_embd.weight", np.zeros((70, 32), np.float32))
    if not tied:
        writer.add_tensor("output.weight", np.zeros((70, 32), np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def test_sizes_of_a_file_that_was_never_opened(tmp_path: Path) -> None:
    source = resolve(str(written(tmp_path / "m.gguf", "llama", tied=False)))
    assert graph_of(source) == Graph(2, 4, 2)
    shape = Shape.of(config_of(source) or {})
    assert shape == Shape(2, 4, 2, 32, 8, 96, 3, 70, tied=False)
    neox = written(tmp_path / "neox.gguf", "gptneox", use_parallel_residual=True)
    found = header(neox) or {}
    assert found["model_type"] == "gpt_neox"
    assert is_parallel(found)
    assert found["tie_word_embeddings"] is True


def test_a_model_that_cannot_work_is_refused_before_it_is_converted(tmp_path: Path) -> None:
    path = written(tmp_path / "m.gguf", "plamo")
    with pytest.raises(UnsupportedModelError, match=r"m\.gguf is a plamo model; of \.gguf files gemma2, gemma3, gpt2"):
        load_model(str(path))
    assert not gguf_cache(weights_sha256(resolve(str(path))) or "").exists()


@pytest.mark.parametrize(
    ("architecture", "layers", "scalar"), [("gemma2", 26, 8), ("gemma2", 46, 16), ("gemma3", 34, 8), ("gemma3", 62, 16)]
)
def test_the_largest_gemma_scales_its_queries_by_its_width(
    tmp_path: Path, architecture: str, layers: int, scalar: int
) -> None:
    """Not in the file: as llama.cpp has it, and the published configs (144 of Gemma 2 27B, 168 of Gemma 3 27B)."""
    sizes = {"attention.head_count": 2, "attention.key_length": 8, "block_count": layers}
    found = header(written(tmp_path / "m.gguf", architecture, **sizes)) or {}
    assert (found["query_pre_attn_scalar"], found["head_dim"]) == (scalar, 8)


@pytest.mark.parametrize("content", [b"", b"GGUF", b"GGUF" + b"\xff" * 64])
def test_a_broken_header_tells_nothing(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "m.gguf"
    path.write_bytes(content)
    assert header(path) is None
    assert graph_of(resolve(str(path))) is None
    assert header(tmp_path / "gone.gguf") is None


def test_the_header_tells_what_the_converted_copy_does(
    smollm2: str, smollm2_home: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    load_model(smollm2)
    source = resolve(smollm2)
    converted = graph_of(source), Shape.of(config_of(source) or {})
    monkeypatch.setenv("HAP_HOME", str(SHARED_HOME / "nothing"))
    assert (graph_of(source), Shape.of(config_of(source) or {})) == converted


def hostile_gguf(
    path: Path, fields: int = 1, tensors: int = 0, kind: int = 9, inner: int = 4, length: int = 2**50
) -> Path:
    """A file whose header announces what it does not hold: a field of a type (9: an array) of `length` entries."""
    name = b"general.architecture"
    field = struct.pack("<Q", len(name)) + name + struct.pack("<I", kind) + struct.pack("<IQ", inner, length)
    path.write_bytes(b"GGUF" + struct.pack("<IQQ", 3, tensors, fields) + field + bytes(2**22))
    return path


@pytest.mark.parametrize(
    "lies",
    [{}, {"fields": 2**50}, {"tensors": 2**50, "length": 0}, {"inner": 9}, {"inner": 0}, {"kind": 8, "inner": 2**31}],
)
def test_a_header_that_announces_too_much_is_refused_at_once(tmp_path: Path, lies: dict[str, int]) -> None:
    path, started = hostile_gguf(tmp_path / "m.gguf", **lies), time.perf_counter()
    assert header(path) is None
    with pytest.raises(ModelError, match="cannot be read"):
        load_model(str(path))
    assert time.perf_counter() - started < 20  # of which transformers' import takes the most
