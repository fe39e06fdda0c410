"""The sizes of a model that decide what it costs, read from its ``config.json`` (no torch)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hap_engine.models.supported import text_config


def experts_of(config: Mapping[str, Any]) -> int:
    """How many experts a layer's MLP has, by a ``config.json``; 1 where it is one."""
    config = text_config(config)
    config = {**config, **(config.get("ffn_config") or {})}
    names = ("num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts")
    return max([1, *(config[name] for name in names if isinstance(config.get(name), int))])


@dataclass(frozen=True)
class Shape:
    """The sizes of a model that decide its cost."""

    layers: int
    heads: int
    kv_heads: int
    width: int
    head_width: int
    inner: int
    matrices: int  # of an MLP: 2, or 3 where it is gated
    vocabulary: int
    tied: bool
    stored: str = "float32"  # dtype of the weights in memory; narrower ones stay as they are (`hap_engine.narrow`)

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> Shape | None:
        """From a ``config.json``; None if it does not hold the sizes."""
        stored = str(config.get("dtype") or config.get("torch_dtype"))
        config = text_config(config)

        def size(*names: str) -> int:
            return next(int(config[name]) for name in names if config.get(name))

        try:
            heads, width = size("num_attention_heads", "n_head"), size("hidden_size", "n_embd")
            kind = str(config.get("model_type"))
            return cls(
                layers=size("num_hidden_layers", "n_layer"),
                heads=heads,
                kv_heads=int(config.get("num_key_value_heads") or heads),
                width=width,
                head_width=int(config.get("head_dim") or width // heads),
                inner=int(config.get("intermediate_size") or config.get("n_inner") or 4 * width),
                matrices=2 if kind.startswith(("gpt", "starcoder2")) else 3,
                vocabulary=size("vocab_size"),
                tied=bool(config.get("tie_word_embeddings", kind == "gpt2")),
                stored=stored if stored in ("bfloat16", "float16") else "float32",
            )
        except (StopIteration, TypeError, ValueError, ZeroDivisionError):
            return None

    @property
    def slots(self) -> int:
        """Inputs of a layer's heads: q of every head, k and v of every KV head."""
        return self.heads + 2 * self.kv_heads

    @property
    def attention(self) -> int:
        """Weights of all heads."""
        return self.layers * self.width * self.head_width * (self.slots + self.heads)

    @property
    def mlp(self) -> int:
        return self.layers * self.matrices * self.width * self.inner

    @property
    def parameters(self) -> int:
        tables = 1 if self.tied else 2
        return self.attention + self.mlp + tables * self.vocabulary * self.width

    @property
    def writers(self) -> int:
        return 1 + self.layers * (self.heads + 1)

    @property
    def edges(self) -> float:
        """Nearly: every reader of layer l sees the writers before it."""
        readers = self.layers * (self.slots + 1)
        return readers * self.writers / 2
