"""Models that read more than text, each as a tiny random one with a text part of four layers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from tests.builders.tiny_models import VOCABULARY, enlarged

IDS = dict.fromkeys(("bos_token_id", "eos_token_id", "pad_token_id"))
TEXT: Mapping[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "intermediate_size": 48,
    "max_position_embeddings": 64,
    "tie_word_embeddings": False,
    "sliding_window": 5,
    "moe_intermediate_size": 16,
    "num_experts": 4,
    "num_local_experts": 4,
    "moe_num_experts": 4,
    "n_routed_experts": 4,
    "num_experts_per_tok": 2,
    "moe_k": 2,
    "n_group": 1,
    "topk_group": 1,
    "kv_lora_rank": 16,
    "q_lora_rank": 12,
    "qk_rope_head_dim": 4,
    "qk_nope_head_dim": 8,
    "v_head_dim": 6,
    "ffn_dim": 48,
    "word_embed_proj_dim": 32,
    **IDS,
}
OTHER: Mapping[str, Any] = {
    "hidden_size": 32,
    "embed_dim": 32,
    "d_model": 32,
    "out_hidden_size": 32,
    "projection_dim": 32,
    "num_hidden_layers": 2,
    "depth": 2,
    "encoder_layers": 2,
    "num_attention_heads": 4,
    "num_heads": 4,
    "encoder_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 48,
    "encoder_ffn_dim": 48,
    "image_size": 32,
    "patch_size": 8,
}
HEADS = {"num_key_value_heads": 4}


def _sections(*sections: int, key: str = "mrope_section", **more: Any) -> dict[str, Any]:
    """Rotary positions in sections: of time, height and width, which are the same for a text."""
    return {"rope_parameters": {"rope_type": "default", "rope_theta": 1e4, key: list(sections), **more}}


# Kind -> what its text part needs besides.
WRAPPERS: dict[str, dict[str, Any]] = {
    **{
        kind: {}
        for kind in (
            *("aria", "aya_vision", "cohere2_vision", "cosmos3_omni", "deepseek_vl", "exaone4_5"),
            *("gemma3", "glmasr", "got_ocr2", "granite_docling", "granite_speech", "granite_speech_plus"),
            *("hyperclovax_vision_v2", "idefics2", "idefics3", "internvl", "lighton_ocr", "llava", "llava_next"),
            *("llava_next_video", "llava_onevision", "minimax_m3_vl", "mistral3", "moss_transcribe_diarize", "omniasr"),
            *("paligemma", "pp_chart2table", "qianfan_ocr", "qwen2_audio", "qwen3_asr", "smolvlm", "video_llama_3"),
            *("video_llava", "vipllava", "voxtral", "fuyu"),
        )
    },
    "qwen2_vl": _sections(2, 1, 1),
    "cosmos3_edge": _sections(2, 1, 1),
    "qwen2_5_vl": _sections(2, 1, 1),
    "qwen2_5_omni_thinker": _sections(2, 1, 1),
    "qwen3_vl": _sections(2, 1, 1),
    "qwen3_vl_moe": _sections(2, 1, 1),
    "qwen3_omni_moe_thinker": _sections(2, 1, 1),
    "paddleocr_vl": _sections(2, 1, 1),
    "glm4v": _sections(1, 1, 2),
    "glm4v_moe": _sections(1, 1, 0, partial_rotary_factor=0.5),
    "glm46v": _sections(1, 1, 2),
    "glm_ocr": _sections(1, 1, 2),
    "ernie4_5_vl_moe": {**_sections(1, 1, 2), "moe_intermediate_size": [16, 16]},
    "hunyuan_vl": _sections(1, 1, 1, 1, key="xdrope_section"),
    "kimi_k25": {**HEADS, "head_dim": 4},
    "mistral4": HEADS,
    # The model itself runs with a picture only; its text part is one of its own.
    "llama4": {"num_experts_per_tok": 1, "intermediate_size_mlp": 48, "attention_chunk_size": 5},
    "blip-2": {},
    "instructblip": {},
}


def tiny(kind: str) -> Any:
    """The config of a wrapper with all of its parts small."""
    import transformers as tf

    usual = tf.AutoConfig.for_model(kind)
    parts: dict[str, Any] = {}
    for name in usual.sub_configs:
        own = getattr(usual, name, None)
        if own is not None:
            sizes = TEXT | WRAPPERS[kind] if name == "text_config" else OTHER
            parts[name] = {"model_type": own.model_type, **known(own, sizes)}
    if "text_config" not in parts:
        parts |= known(usual, TEXT | WRAPPERS[kind])
    return tf.AutoConfig.for_model(kind, **parts)


def known(config: Any, sizes: Mapping[str, Any]) -> dict[str, Any]:
    """Those of the settings that a config has."""
    names = set(config.to_dict()) | set(getattr(config, "attribute_map", {}))
    return {name: value for name, value in sizes.items() if name in names}


def wrapper(kind: str) -> Any:
    """A random wrapper, its weights enlarged so that no effect is tiny."""
    import transformers as tf

    with torch.random.fork_rng():
        torch.manual_seed(0)
        return enlarged(tf.AutoModelForMultimodalLM.from_config(tiny(kind), attn_implementation="eager"))
