"""What a model's ``config.json`` tells before its weights are read (no torch).

Opening a model (`hap_engine.anatomy`) has the last word on whether it works. These functions spare a user the download
of a model that cannot, tell how many tokens a prompt may have, and what the graph will look like.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from hap_engine.errors import UnsupportedModelError
from hap_engine.files import MAX_CONFIG, read_json
from hap_engine.graph.graph import Graph
from hap_engine.words import say

MAX_COUNTED = 10**9  # pairs of a writer and a reader, real or not; Llama-405B has 3 x 10^8
WORKING = say("models.working")

_CHANGED = "its layers change the residual stream itself, not only add to it"
_TOLD = tomllib.loads(Path(__file__).with_name("refused.toml").read_text(encoding="utf-8"))
# What stands in the way, by transformers' `model_type`, and the nearest model that works.
REFUSED: dict[str, tuple[str, str]] = {
    kind: (group["why"], group["nearest"]) for group in _TOLD["refused"] for kind in group["kinds"].split()
}
# What reads weights that are stored as codes, by their `quant_method`.
CODED: Mapping[str, str] = {
    "mxfp4": "torch",
    "fp8": "accelerate",
    "bitsandbytes": "bitsandbytes",
    "compressed-tensors": "compressed-tensors",
    "gptq": "gptqmodel",
    "awq": "gptqmodel",
}
# Of the settings that are read here, those that are no plain values.
_KINDS: Mapping[str, type] = {
    **dict.fromkeys(("rope_parameters", "rope_scaling", "quantization_config", "attn_config", "ffn_config"), dict),
    **{"text_config": dict, "thinker_config": dict, "layer_types": list, "architectures": list, "model_type": str},
}
HEADED = {"full_attention", "sliding_attention", "chunked_attention", "attention"}  # kinds of layers that have heads


def check_config(config: Mapping[str, Any], name: str, known: bool = True) -> None:
    """Refuse a model that is known not to work, before its weights are read.

    Args:
        known: whether transformers itself has a class for this model's type that continues a text.

    Raises:
        UnsupportedModelError: with the reason, and the nearest model that works.
    """
    if fault := fault_of(config):
        raise UnsupportedModelError(say("models.fault", name=name, fault=fault))
    kind = str(config.get("model_type", "unknown"))
    if config.get("auto_map") and not known:
        raise UnsupportedModelError(say("models.remote_code", name=name, kind=kind, working=WORKING))
    found = _refusal(config)
    if found is not None:
        cause, nearest = found
        raise UnsupportedModelError(f"{name} is a {kind} model and cannot be taken apart: {cause}. Try {nearest}.")
    _check_codes(config, name)
    if not known:
        raise UnsupportedModelError(say("models.no_class", name=name, kind=kind, working=WORKING))


def read_config(folder: Path) -> dict[str, Any]:
    """What the ``config.json`` of a model says. Raises OSError, and ValueError with what is wrong with it."""
    config = read_json(folder / "config.json", MAX_CONFIG)
    if fault := fault_of(config):
        raise ValueError(fault)
    return dict(config)


def fault_of(config: Any) -> str:
    """What is wrong with what a ``config.json`` holds; empty where nothing is.

    A setting may be of another kind than models have, and sizes such as no model has.
    """
    if not isinstance(config, Mapping):
        return "it is not a mapping"
    for key, kind in _KINDS.items():
        if not isinstance(config.get(key), kind | None):
            return f"its {key} is {config[key]!r:.40}"
    for part in ("thinker_config", "text_config"):
        if config.get(part) and (inside := fault_of(config[part])):
            return inside
    sizes = _sizes(text_config(config))
    if sizes is None:
        return ""
    layers, heads, kv = sizes
    possible = all(type(size) is int and size > 0 for size in sizes)
    possible = possible and layers**2 * (heads + 1) * (heads + 2 * kv + 1) <= MAX_COUNTED
    return "" if possible else f"it states {layers!r} layers of {heads!r} heads ({kv!r} of them with keys)"


def _check_codes(config: Mapping[str, Any], name: str) -> None:
    """Refuse weights that are stored as codes which nothing here can read."""
    stored = config.get("quantization_config")
    if not stored:
        return
    kind = str(dict(stored).get("quant_method", "of an unnamed kind"))
    library = CODED.get(kind)
    if library is None:
        raise UnsupportedModelError(say("models.codes", name=name, kind=kind))
    try:
        metadata.distribution(library)
    except metadata.PackageNotFoundError:
        raise UnsupportedModelError(say("models.no_library", name=name, kind=kind, library=library)) from None


def check_scorer(config: Mapping[str, Any], name: str, scorer: str) -> None:
    """Refuse a scorer whose rules do not reach into such a model, as far as its config tells.

    Raises:
        UnsupportedModelError: with the reason.
    """
    text = text_config(config)
    for group in _TOLD["scorers"]:
        own = text.get("model_type") in group["kinds"].split() or ("eap-gim" in group["names"] and text.get("clip_qkv"))
        if scorer in group["names"].split() and own:
            raise UnsupportedModelError(say("models.no_scorer", scorer=scorer, name=name, group=group))


def text_config(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """The settings of the part that reads text, where a model has others too."""
    inner = config.get("thinker_config") or config.get("text_config")
    if not isinstance(inner, Mapping):
        return config
    return text_config({**config, "thinker_config": None, "text_config": None, **inner})


def _refusal(config: Mapping[str, Any]) -> tuple[str, str] | None:
    """What stands in the way of a model, and one that works."""
    text = text_config(config)
    if config.get("is_encoder_decoder"):
        return "it has an encoder and a decoder", "GPT-2"
    if text.get("do_layer_norm_before") is False:
        return _CHANGED, "another size of OPT"
    kinds = (str(part.get("model_type")) for part in (config, text))
    refused = next((REFUSED[kind] for kind in kinds if kind in REFUSED), None)
    others = sorted(set(map(str, text.get("layer_types") or ())) - HEADED)
    if others:
        return f"not all of its layers have attention heads ({others[0]})", refused[1] if refused else "SmolLM2"
    return refused


def max_tokens(config: Mapping[str, Any]) -> int | None:
    """The longest prompt that the model reads, None if nothing limits it: its learned or trained positions, and no more
    than those after which it turns all positions otherwise (LongRoPE)."""
    config = text_config(config)
    names = ("max_position_embeddings", "n_positions", "n_ctx", "max_seq_len")
    rope = config.get("rope_parameters") or config.get("rope_scaling") or {}
    kind = rope.get("rope_type") or rope.get("type")
    usual = rope.get("original_max_position_embeddings") or config.get("original_max_position_embeddings")
    limits = [next((config[name] for name in names if isinstance(config.get(name), int)), None)]
    if kind in ("longrope", "su"):
        limits.append(usual)
    known = [limit for limit in limits if isinstance(limit, int) and limit > 0]
    return min(known, default=None)


_ONE_NORM = {"codegen", "cohere", "cohere2", "cohere2_moe", "gptj", "phi"}
_POST_NORM = {
    *("afmoe", "exaone4", "flex_olmo", "gemma2", "gemma3", "gemma3_text", "glm4", "glm4v_text", "glm_ocr_text"),
    *("kolibri1", "olmo2", "olmo3"),
}

_PREPARED = {
    *("afmoe", "bitnet", "dbrx", "diffllama", "flex_olmo", "laguna", "llama4_text", "minimax_m2", "olmo2", "olmo3"),
    *("olmoe",),
}
_REPLAYED = {"bloom", "falcon", "gpt_neo", "gpt_neox_japanese", "mpt", "xglm"}


def way_of_config(config: Mapping[str, Any]) -> str:
    """In which way the attention of most of its layers will be computed (`anatomy.parts.Parts.ways`)."""
    config = text_config(config)
    if config.get("model_type") in _REPLAYED:
        return "replayed"
    limited = config.get("kv_lora_rank") or config.get("clip_qkv")
    return "prepared" if limited or config.get("model_type") in _PREPARED else "closed"


def graph_of_config(config: Mapping[str, Any]) -> Graph | None:
    """The graph that a model will have, without what opening it measures (`Graph.coupled`); None if the sizes are not
    there."""
    config = text_config(config)
    sizes = None if fault_of(config) else _sizes(config)
    return Graph(*sizes, is_parallel(config), _has_post_norm(config)) if sizes else None


def _sizes(config: Mapping[str, Any]) -> tuple[int, int, int] | None:
    """Layers, heads and heads with keys of their own, as a config states them; None if it does not."""

    def size(*names: str) -> Any:
        return next((config[name] for name in names if isinstance(config.get(name), int)), None)

    layers = size("num_hidden_layers", "n_layer", "n_layers", "num_layers")
    heads = size("num_attention_heads", "n_head", "n_heads", "num_heads", "attention_heads")
    kind = config.get("model_type")
    if layers is None or heads is None:
        return None
    kv = size("num_key_value_heads") or heads
    if kind == "falcon":
        kv = size("num_kv_heads") or heads if config.get("new_decoder_architecture") else heads
    if config.get("multi_query", kind == "gpt_bigcode") and not config.get("new_decoder_architecture"):
        kv = 1
    if config.get("kv_lora_rank"):
        kv = 1
    if kind == "dbrx":
        kv = (config.get("attn_config") or {}).get("kv_n_heads", heads)
    return layers, heads, kv


def _has_post_norm(config: Mapping[str, Any]) -> bool:
    return config.get("model_type") in _POST_NORM or bool(config.get("use_post_norm"))


def is_parallel(config: Mapping[str, Any]) -> bool:
    """Whether the MLP reads what the heads of its layer read (and not what they wrote)."""
    kind = config.get("model_type")
    if kind == "falcon":
        return bool(config.get("parallel_attn", True) or config.get("new_decoder_architecture"))
    default = kind == "gpt_neox"  # the key may be left out where it is true
    return kind in _ONE_NORM or bool(config.get("use_parallel_residual", default))
