"""Writes tiny Hugging Face models as ``.gguf`` files, with the keys and the layout that llama.cpp's converter gives."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gguf import MODEL_ARCH_NAMES, GGMLQuantizationType, GGUFWriter, get_tensor_name_map, quantize

from tests.builders.tiny_models import HEADS, LAYERS, VOCABULARY, WIDTH, enlarged

GGUF_FAMILIES = ("gemma2", "gemma3_text", "gpt2", "llama", "phi3", "qwen2", "qwen3", "stablelm", "starcoder2")
ARCHITECTURES = {"gemma3_text": "gemma3"}  # others are called the same
OF_ROOT_MEAN_SQUARE = ("gemma2", "gemma3_text", "llama", "phi3", "qwen2", "qwen3")
LETTERS = "abcdefghijklmnopqrstuvwxyz"
MERGES = ["Ġ c", "a t", "Ġc at", "Ġ d", "o g", "Ġd og"]
EPSILON = 1e-4  # unlike every default

Tensors = Mapping[str, np.ndarray]


def hf_for_gguf(family: str, tied: bool = False, **changes: Any) -> Any:
    """A tiny model of an architecture that ``.gguf`` files hold, with no size at its default."""
    import transformers as tf

    common = {"vocab_size": VOCABULARY, "tie_word_embeddings": tied, "attn_implementation": "eager"}
    common |= dict.fromkeys(("bos_token_id", "eos_token_id", "pad_token_id"))
    sizes = {
        "hidden_size": WIDTH,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS,
        "num_key_value_heads": 2,
        "intermediate_size": 48,
        "max_position_embeddings": 64,
    }
    rope = {"rope_parameters": {"rope_type": "default", "rope_theta": 500.0}}
    half = {"rope_parameters": {"rope_type": "default", "rope_theta": 500.0, "partial_rotary_factor": 0.5}}
    gemma = {"head_dim": 12, "query_pre_attn_scalar": 12, "sliding_window": 7, "final_logit_softcapping": 3.0}
    gemma |= {"rms_norm_eps": EPSILON}
    capped = {"attn_logit_softcapping": 2.0, "tie_word_embeddings": True}  # a file of Gemma 2 has no other head
    near = {"rope_type": "default", "rope_theta": 20.0}
    two = {"rope_parameters": {"full_attention": rope["rope_parameters"], "sliding_attention": near}}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        made = {
            "gpt2": lambda: tf.GPT2LMHeadModel(
                tf.GPT2Config(
                    **{"n_embd": WIDTH, "n_layer": LAYERS, "n_head": HEADS, "n_positions": 64, "n_inner": 48}
                    | common
                    | {"layer_norm_epsilon": EPSILON}
                    | changes
                )
            ),
            "llama": lambda: tf.LlamaForCausalLM(
                tf.LlamaConfig(**common | sizes | rope | {"rms_norm_eps": EPSILON} | changes)
            ),
            "phi3": lambda: tf.Phi3ForCausalLM(
                tf.Phi3Config(**common | sizes | half | {"rms_norm_eps": EPSILON} | changes)
            ),
            "qwen2": lambda: tf.Qwen2ForCausalLM(
                tf.Qwen2Config(**common | sizes | rope | {"rms_norm_eps": EPSILON} | changes)
            ),
            "qwen3": lambda: tf.Qwen3ForCausalLM(
                tf.Qwen3Config(**common | sizes | rope | {"rms_norm_eps": EPSILON, "head_dim": 12} | changes)
            ),
            "gemma2": lambda: tf.Gemma2ForCausalLM(tf.Gemma2Config(**common | sizes | rope | gemma | capped | changes)),
            "gemma3_text": lambda: tf.Gemma3ForCausalLM(
                tf.Gemma3TextConfig(**common | sizes | gemma | {"num_hidden_layers": 6} | two | changes)
            ),
            "stablelm": lambda: tf.StableLmForCausalLM(
                tf.StableLmConfig(**common | sizes | half | {"layer_norm_eps": EPSILON} | changes)
            ),
            "starcoder2": lambda: tf.Starcoder2ForCausalLM(
                tf.Starcoder2Config(**common | sizes | rope | {"norm_epsilon": EPSILON} | changes)
            ),
        }[family]()
        made = enlarged(made)
    for name, weight in made.named_parameters():
        if family.startswith("gemma") and "norm" in name:
            weight.data = (weight.data + 1) - 1  # what a file that adds 1 holds without rounding
    return made


def keys_of(hf_model: Any) -> dict[str, Any]:
    """What the header says of a model, behind the architecture's name; rotary scaling is left to the caller."""
    config = hf_model.config
    norm = "layer_norm_rms_epsilon" if config.model_type in OF_ROOT_MEAN_SQUARE else "layer_norm_epsilon"
    inner = config.n_inner if config.model_type == "gpt2" else config.intermediate_size
    keys = {
        "block_count": config.num_hidden_layers,
        "context_length": 64,
        "embedding_length": config.hidden_size,
        "feed_forward_length": inner,
        "attention.head_count": HEADS,
        f"attention.{norm}": EPSILON,
    }
    if config.model_type == "gpt2":
        return keys
    rope, width = config.rope_parameters, getattr(config, "head_dim", None) or config.hidden_size // HEADS
    if config.model_type.startswith("gemma"):
        keys |= {"attention.sliding_window": 7, "final_logit_softcapping": config.final_logit_softcapping}
    if config.model_type == "gemma2":
        keys["attn_logit_softcapping"] = config.attn_logit_softcapping
    if config.model_type == "gemma3_text":
        keys["rope.freq_base_swa"] = rope["sliding_attention"]["rope_theta"]
        rope = rope["full_attention"]
    if width != config.hidden_size // HEADS:
        keys |= {"attention.key_length": width, "attention.value_length": width}
    return keys | {
        "attention.head_count_kv": 2,
        "rope.freq_base": float(rope["rope_theta"]),
        "rope.dimension_count": int(width * rope.get("partial_rotary_factor", 1)),
    }


def tensors_of(hf_model: Any) -> dict[str, np.ndarray]:
    """All weights under their names and in their layout in a ``.gguf`` file."""
    kind = hf_model.config.model_type
    wanted = ARCHITECTURES.get(kind, kind)
    layers = hf_model.config.num_hidden_layers
    names = get_tensor_name_map(next(a for a, name in MODEL_ARCH_NAMES.items() if name == wanted), layers)
    found = {}
    for name, value in hf_model.state_dict().items():
        stem, _, part = name.rpartition(".")
        if stem == "lm_head" and hf_model.config.tie_word_embeddings:
            continue
        x = value.numpy()
        if kind == "gpt2" and stem.endswith(("c_attn", "c_proj", "c_fc")) and part == "weight":
            x = x.T
        if kind == "llama" and stem.endswith(("q_proj", "k_proj")):
            heads = HEADS if stem.endswith("q_proj") else 2
            x = x.reshape(heads, 2, x.shape[0] // heads // 2, *x.shape[1:]).swapaxes(1, 2).reshape(x.shape)
        if kind.startswith("gemma") and stem.endswith("norm"):
            x = x + 1
        found[f"{names.get_name(stem)}.{part}"] = np.ascontiguousarray(x)
    return found


def write_gguf(
    path: Path,
    hf_model: Any,
    keys: Mapping[str, Any] | None = None,
    tensors: Tensors | None = None,
    pieces: int = 1,
    architecture: str = "",
    coded: GGMLQuantizationType | None = None,
    **named: Any,
) -> Path:
    """A file of `hf_model`.

    Args:
        keys: of the header, behind the architecture's name; None leaves a key out.
        tensors: instead of, or beside, the model's own; an empty one leaves a tensor out.
        pieces: into how many files it is split.
        architecture: that the header says, if not the model's.
        coded: what matrices are stored as; None: as numbers.
        named: keys of the header by their full name, with ``__`` for a point.

    Returns:
        the (first) file.
    """
    kind = architecture or ARCHITECTURES.get(hf_model.config.model_type, hf_model.config.model_type)
    stored = {name: x for name, x in (tensors_of(hf_model) | dict(tensors or {})).items() if x.size}
    writer = GGUFWriter(path, kind, split_max_tensors=-(-len(stored) // pieces) if pieces > 1 else 0)
    letters = ["<|end|>", *LETTERS, "Ġ", *(merge.replace(" ", "") for merge in MERGES)]
    vocabulary = [*letters, *(f"<{number}>" for number in range(VOCABULARY - len(letters)))]
    told = {f"{kind}.{name}": value for name, value in (keys_of(hf_model) | dict(keys or {})).items()} | {
        "general.name": "tiny",
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "gpt-2",
        "tokenizer.ggml.tokens": vocabulary,
        "tokenizer.ggml.merges": MERGES,
        "tokenizer.ggml.token_type": [3, *[1] * (VOCABULARY - 1)],
        "tokenizer.ggml.bos_token_id": 0,
        "tokenizer.ggml.eos_token_id": 0,
    }
    for name, value in (told | {name.replace("__", "."): value for name, value in named.items()}).items():
        if value is not None:
            _add(writer, name, value)
    for name, x in stored.items():
        blocks = coded is not None and x.ndim > 1
        writer.add_tensor(name, quantize(x, coded) if blocks else x, raw_dtype=coded if blocks else None)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path if pieces == 1 else path.with_name(f"{path.stem}-00001-of-{pieces:05}.gguf")


def _add(writer: GGUFWriter, name: str, value: Any) -> None:
    adders = {bool: writer.add_bool, int: writer.add_uint32, float: writer.add_float32, str: writer.add_string}
    adders.get(type(value), writer.add_array)(name, value)
