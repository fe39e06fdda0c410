"""The sizes of a model that decide what it costs, read from its ``config.json`` (no torch)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hap_engine.models.supported import graph_of_config, text_config, way_of_config

_UNGATED = (
    *(
        "apertus",
        "arcee",
        "biogpt",
        "bloom",
        "codegen",
        "ctrl",
        "falcon",
        "gpt2",
        "gpt-",
        "gpt_bigcode",
        "gpt_neo",
        "gptj",
    ),
    *("jais2", "mpt", "nanochat", "nemotron", "opt", "persimmon", "starcoder2", "xglm"),
)


def experts_of(config: Mapping[str, Any]) -> int:
    """How many experts a layer's MLP has, by a ``config.json``; 1 where it is one."""
    config = text_config(config)
    names = ("num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts")
    return max(1, _number({**config, **(config.get("ffn_config") or {})}, *names))


def _number(config: Mapping[str, Any], *names: str) -> int:
    """The first of some settings that is a number (of a list with one for each layer, its first); 0 if none is."""
    found = (config.get(name) for name in names)
    first = (value[0] if isinstance(value, list) and value else value for value in found)
    return next((value for value in first if isinstance(value, int) and value), 0)


@dataclass(frozen=True)
class Shape:
    """The sizes of a model that decide its cost."""

    layers: int
    heads: int
    kv_heads: int
    width: int
    head_width: int
    inner: int  # of an MLP: what a token passes
    matrices: int  # of an MLP: 2, or 3 where it is gated
    vocabulary: int
    tied: bool
    stored: str = "float32"  # dtype of the weights in memory; narrower ones stay as they are (`hap_engine.narrow`)
    bits: float | None = None  # that a weight takes there, where codes are kept
    held: int | None = None  # of an MLP: with all its experts, the layers' mean; None: `inner`
    post_norm: bool = False  # one more writer a layer
    way: str = "closed"  # in which attention is computed

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> Shape | None:
        """From a ``config.json``; None if it does not hold the sizes."""
        stored = str(config.get("dtype") or config.get("torch_dtype"))
        bits = None if stored in ("bfloat16", "float16") else config.get("kept_bits")
        config = text_config(config)

        def size(*names: str) -> int:
            return next(int(config[name]) for name in names if config.get(name))

        try:
            graph, width = graph_of_config(config), size("hidden_size", "n_embd", "d_model")
            if graph is None:
                return None
            kind = str(config.get("model_type"))
            inner, held = _mlp_sizes(config, graph.n_layers, width)
            return cls(
                layers=graph.n_layers,
                heads=graph.n_heads,
                kv_heads=graph.n_kv_heads,
                width=width,
                head_width=int(config.get("head_dim") or width // graph.n_heads),
                inner=inner,
                matrices=2 if kind.startswith(_UNGATED) or kind == "phi" else 3,
                vocabulary=size("vocab_size"),
                held=held,
                post_norm=graph.post_norm,
                way=way_of_config(config),
                tied=bool(config.get("tie_word_embeddings", kind == "gpt2")),
                stored=stored if stored in ("bfloat16", "float16") else "codes" if bits else "float32",
                bits=bits,
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
        """Weights of all MLPs that a token passes."""
        return self.layers * self.matrices * self.width * self.inner

    @property
    def experts(self) -> int:
        """Weights of all MLPs, with the experts that a token does not pass."""
        return self.layers * self.matrices * self.width * (self.inner if self.held is None else self.held)

    @property
    def parameters(self) -> int:
        tables = 1 if self.tied else 2
        return self.attention + self.experts + tables * self.vocabulary * self.width

    @property
    def writers(self) -> int:
        return 1 + self.layers * (self.heads + 1 + self.post_norm)

    @property
    def edges(self) -> float:
        """Nearly: every reader of layer l sees the writers before it."""
        readers = self.layers * (self.slots + 1)
        return readers * self.writers / 2


def _mlp_sizes(config: Mapping[str, Any], layers: int, width: int) -> tuple[int, int | None]:
    """How wide an MLP is for a token and with all its experts: means over the layers, of which the first may have
    none."""
    config = {**config, **(config.get("ffn_config") or {})}
    whole = _number(config, "intermediate_size_mlp", "ffn_dim", "intermediate_size", "n_inner") or 4 * width
    count = experts_of(config)
    if count == 1:
        return whole, None
    one = _number(config, "moe_intermediate_size", "ffn_hidden_size", "intermediate_size")
    chosen = _number(config, "num_experts_per_tok", "moe_topk", "moe_top_k", "moe_k")
    shared = (
        _number(config, "n_shared_experts", "num_shared_experts", "num_shared_expert", "moe_num_shared_experts") * one
    )
    beside = _number(config, "shared_expert_intermediate_size", "shared_intermediate_size") or shared
    first = min(layers, _number(config, "first_k_dense_replace", "num_dense_layers", "moe_layer_start_index"))
    inner, held = ((first * whole + (layers - first) * (some * one + beside)) // layers for some in (chosen, count))
    return inner, held
