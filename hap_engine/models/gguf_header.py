"""What the header of a ``.gguf`` file tells of its model, in the words of a ``config.json`` (no torch)."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

MODEL_TYPES = {"gptneox": "gpt_neox", "gptj": "gptj", "phi2": "phi"}  # others are called the same
# Key of the header (behind the architecture's name) by key of config.json.
KEYS = {
    "num_hidden_layers": "block_count",
    "num_attention_heads": "attention.head_count",
    "num_key_value_heads": "attention.head_count_kv",
    "head_dim": "attention.key_length",
    "hidden_size": "embedding_length",
    "intermediate_size": "feed_forward_length",
    "max_position_embeddings": "context_length",
    "vocab_size": "vocab_size",
    "use_parallel_residual": "use_parallel_residual",
}


def header(path: Path) -> Mapping[str, Any] | None:
    """Sizes and kind of the model in a ``.gguf`` file; None if the header cannot be read.

    Only the parts that decide the graph, the cost and whether the model can work are there.
    """
    try:
        return _header(path, path.stat().st_mtime_ns)
    except OSError:
        return None


@lru_cache(maxsize=8)  # about a second for the words of a vocabulary
def _header(path: Path, modified: int) -> Mapping[str, Any] | None:
    from gguf import GGUFReader

    try:
        reader = GGUFReader(path)
        architecture = str(_value(reader, "general.architecture"))
        found = {key: _value(reader, f"{architecture}.{name}") for key, name in KEYS.items()}
        shapes = {tensor.name: tensor.shape.tolist() for tensor in reader.tensors}
    except Exception:  # a broken file fails in many ways inside the parser; opening it says how
        return None
    found["vocab_size"] = found["vocab_size"] or max(shapes.get("token_embd.weight", [0]))
    return {key: value for key, value in found.items() if value is not None} | {
        "model_type": MODEL_TYPES.get(architecture, architecture),
        "tie_word_embeddings": "output.weight" not in shapes,
    }


def _value(reader: Any, name: str) -> Any:
    field = reader.get_field(name)
    return None if field is None else field.contents()
