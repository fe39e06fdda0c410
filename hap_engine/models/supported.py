"""What a model's ``config.json`` tells before its weights are read (no torch).

The self-check (`hap_engine.masked.self_check`) has the last word on whether a model works. These functions
spare a user the download of a model that cannot work, give a refusal its likely cause, and tell how
many tokens a prompt may have.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hap_engine.errors import UnsupportedModelError

WORKING = (
    "GPT-2, Pythia (GPT-NeoX), Llama-style models (Llama, SmolLM2, Mistral, Phi-3, Gemma 1, "
    "StableLM, OLMo 1) and Qwen2 work."
)

# Computations that the masked pass does not have, by transformers' `model_type`.
_POST_NORM = (
    "it normalises the summed output of its heads (and of each MLP) before adding it to the residual "
    "stream, so that sum cannot be split into one exact part per head"
)
_SHARED = "it computes heads and MLP from one shared normalisation, which the masked pass lacks"
_NO_HEADS = "it has no attention heads in every layer"
CAUSES = {
    **dict.fromkeys(("gemma2", "gemma3", "gemma3_text", "gemma3n", "olmo2", "olmo3", "glm4"), _POST_NORM),
    **dict.fromkeys(("phi", "gptj", "codegen", "falcon", "cohere"), _SHARED),
    **dict.fromkeys(
        ("qwen3", "qwen3_moe"), "it normalises queries and keys inside each head, which the masked pass lacks"
    ),
    **dict.fromkeys(("mamba", "mamba2", "falcon_mamba", "rwkv", "jamba", "bamba"), _NO_HEADS),
    **dict.fromkeys(
        ("bert", "roberta", "distilbert", "electra", "deberta-v2"), "it fills in blanks, it does not continue a text"
    ),
    **dict.fromkeys(("t5", "mt5", "bart", "marian", "pegasus"), "it has an encoder and a decoder"),
    "opt": "it numbers positions from 2, which the masked pass lacks",
    "bloom": "it adds position biases to attention (ALiBi), which the masked pass lacks",
    "mpt": "it adds position biases to attention (ALiBi), which the masked pass lacks",
    "gpt_neo": "every other layer sees only the last few tokens, scaled unlike in the masked pass",
    "granite": "it scales what each head and MLP writes, which the masked pass lacks",
    "gpt_oss": "its attention has sinks, which the masked pass lacks",
}
# What each of these two-norm or window keys means when the model's type is not in the table.
_UNKNOWN = (
    "heads or MLPs are normalised or scaled after they write (as in Gemma 2), so the residual stream "
    "is not the sum of its heads"
)


def check_config(config: Mapping[str, Any], name: str, known: bool = True) -> None:
    """Refuse a model that is known not to work, before its weights are read.

    Args:
        known: whether transformers itself has a class for this model's type.

    Raises:
        UnsupportedModelError: with the reason.
    """
    kind = str(config.get("model_type", "unknown"))
    if config.get("auto_map") and not known:
        raise UnsupportedModelError(
            f"{name} can only run with Python code from its own repository (auto_map in its "
            f"config.json; transformers has no {kind!r} model). Such code is never loaded. {WORKING}"
        )
    if kind in CAUSES:
        raise UnsupportedModelError(f"{name} is a {kind} model and is not supported: {CAUSES[kind]}. {WORKING}")
    stored = config.get("quantization_config")
    if stored:
        raise UnsupportedModelError(
            f"{name} is stored quantised ({dict(stored).get('quant_method', 'of an unnamed kind')}): its weights are "
            "codes, not numbers. Choose its 16- or 32-bit version, or save what its library's dequantize() gives."
        )
    if not known:
        raise UnsupportedModelError(
            f"{name} cannot be opened: this version of transformers has no {kind!r} model. {WORKING}"
        )


def likely_cause(config: Mapping[str, Any]) -> str:
    """Why the self-check of such a model fails, as the end of a sentence."""
    return CAUSES.get(str(config.get("model_type")), _UNKNOWN)


def max_tokens(config: Mapping[str, Any]) -> int | None:
    """The longest prompt that the masked pass reproduces exactly, None if nothing limits it.

    That is the number of learned or trained positions, and no more than the sliding window where
    attention has one: within the window attention is plain causal attention.
    """
    names = ("max_position_embeddings", "n_positions", "n_ctx", "max_seq_len")
    limits = [next((config[name] for name in names if isinstance(config.get(name), int)), None)]
    if config.get("use_sliding_window", True):
        limits.append(config.get("sliding_window"))
    known = [limit for limit in limits if isinstance(limit, int) and limit > 0]
    return min(known, default=None)


def is_parallel(config: Mapping[str, Any]) -> bool:
    """Whether the MLP reads what the heads of its layer read (and not what they wrote)."""
    default = config.get("model_type") == "gpt_neox"  # the key may be left out where it is true
    return bool(config.get("use_parallel_residual", default))
