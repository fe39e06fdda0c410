"""Every family that works, as a tiny random model from its own config: as many layers as its pattern has.

A row is a family (``model_type`` of transformers, and what is special about it), the people's models of it, and the
settings that differ from the common ones. Rows are grouped by what a family's layers do; README's list and
docs/families.md are made from them (``python -m docs.generate.models``).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import torch

from tests.builders.tiny_models import VOCABULARY

COMMON: Mapping[str, Any] = MappingProxyType(
    {
        "vocab_size": VOCABULARY,
        "tie_word_embeddings": False,
        "bos_token_id": None,
        "eos_token_id": None,
        "pad_token_id": None,
    }
)
SIZED = {
    **COMMON,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "max_position_embeddings": 64,
}
GROUPED = {**SIZED, "num_key_value_heads": 2}
HEADS8 = {**GROUPED, "head_dim": 8}
SHORT = {**COMMON, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 64}
EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16}
LOCAL = {"num_local_experts": 4, "num_experts_per_tok": 2}
ROUTED = {
    "n_routed_experts": 4,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 16,
    "n_shared_experts": 1,
    "first_k_dense_replace": 1,
    "n_group": 1,
    "topk_group": 1,
}
LATENT = {
    **SIZED,
    "num_key_value_heads": 4,
    "kv_lora_rank": 16,
    "q_lora_rank": 12,
    "qk_rope_head_dim": 4,
    "qk_nope_head_dim": 8,
    "v_head_dim": 6,
}
FALCON = {
    **COMMON,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "parallel_attn": True,
    "bias": False,
    "alibi": False,
}
MULTIPLIED = {
    "residual_multiplier": 0.5,
    "embedding_multiplier": 3.0,
    "logits_scaling": 2.0,
    "attention_multiplier": 0.3,
}
MPT = {**COMMON, "d_model": 32, "n_heads": 4, "n_layers": 2, "max_seq_len": 64}
FOUR = {"num_hidden_layers": 4}
WINDOW = {"sliding_window": 5}
ROPE3 = {
    "rope_type": "llama3",
    "rope_theta": 5e5,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 32,
}
YARN = {"rope_type": "yarn", "factor": 2.0, "rope_theta": 1e4, "original_max_position_embeddings": 32}
LONGROPE = {
    "rope_type": "longrope",
    "rope_theta": 1e4,
    "short_factor": [1.0, 1.1, 1.2, 1.3],
    "long_factor": [2.0, 2.0, 3.0, 4.0],
    "original_max_position_embeddings": 32,
}


@dataclass(frozen=True)
class Family:
    """A row of the table.

    Attributes:
        kind: transformers' ``model_type``.
        known: the people's models, as README names them; empty for variants.
        config: its settings.
    """

    kind: str
    known: str
    config: Mapping[str, Any]


def _rows(*rows: tuple[str, str, Mapping[str, Any]]) -> dict[str, Family]:
    return {name: Family(name.partition(":")[0], known, config) for name, known, config in rows}


# What a family's layers do -> its families.
GROUPS: dict[str, dict[str, Family]] = {
    "learned positions": _rows(
        ("gpt2", "GPT-2, DistilGPT-2, DialoGPT", SHORT),
        ("gpt2:scaled", "GPT-2, scaled by layer (Mistral-CRFM)", {**SHORT, "scale_attn_by_inverse_layer_idx": True}),
        ("gpt-sw3", "GPT-SW3", SHORT),
        ("gpt_bigcode", "StarCoder 1, SantaCoder", SHORT),
        ("gpt_bigcode:mha", "", {**SHORT, "multi_query": False}),
        (
            "opt",
            "OPT (but the 350M)",
            {
                **{key: value for key, value in SIZED.items() if key != "intermediate_size"},
                "ffn_dim": 48,
                "word_embed_proj_dim": 32,
            },
        ),
        (
            "gpt_neo",
            "GPT-Neo 125M to 2.7B, TinyStories",
            {
                **COMMON,
                "hidden_size": 32,
                "num_layers": 2,
                "num_heads": 4,
                "intermediate_size": 48,
                "window_size": 4,
                "max_position_embeddings": 64,
                "attention_types": [[["global", "local"], 1]],
            },
        ),
        (
            "xglm",
            "XGLM",
            {**COMMON, "d_model": 32, "num_layers": 2, "attention_heads": 4, "ffn_dim": 48}
            | {"max_position_embeddings": 64, "scale_embedding": True},
        ),
        ("biogpt", "BioGPT", SIZED),
        ("ctrl", "CTRL", {**SIZED, "dff": 48}),
    ),
    "rotary positions": _rows(
        ("llama", "Llama 1 to 3, SmolLM2, TinyLlama, Yi, Vicuna", GROUPED),
        ("llama:3.2", "Llama 3.1, Llama 3.2", {**GROUPED, "rope_parameters": ROPE3, "head_dim": 12}),
        ("llama:mqa", "", {**SIZED, "num_key_value_heads": 1}),
        ("llama:bias", "", {**GROUPED, "attention_bias": True, "mlp_bias": True}),
        (
            "llama:dynamic",
            "",
            {**GROUPED, "rope_parameters": {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 1e4}},
        ),
        ("llama:linear", "", {**GROUPED, "rope_parameters": {"rope_type": "linear", "factor": 2.0, "rope_theta": 1e4}}),
        ("llama:yarn", "", {**GROUPED, "rope_parameters": YARN}),
        ("exaone", "EXAONE 3", GROUPED),
        ("internlm3", "InternLM 3", HEADS8),
        ("iquestcoder", "IQuest-Coder", {**GROUPED, "head_dim": 8}),
        ("arcee", "AFM-4.5B", GROUPED),
        ("helium", "Helium", HEADS8),
        ("jais2", "Jais 2", GROUPED),
        ("seed_oss", "Seed-OSS", HEADS8),
        ("mistral", "Mistral 7B, Mistral Nemo", {**GROUPED, "sliding_window": None}),
        ("ministral3", "Ministral 3", HEADS8),
        ("qwen2", "Qwen 2, Qwen 2.5, R1-Distill-Qwen", GROUPED),
        ("qwen2:yarn", "", {**GROUPED, "rope_parameters": YARN}),
        ("gemma", "Gemma 1, CodeGemma", HEADS8),
        ("phi3", "Phi-3, Phi-4", {**GROUPED, "sliding_window": None}),
        ("phi3:partial", "Phi-4-mini", {**GROUPED, "partial_rotary_factor": 0.5}),
        (
            "phi3:longrope",
            "Phi-3-128k",
            {**GROUPED, "original_max_position_embeddings": 32, "rope_parameters": LONGROPE},
        ),
        ("gpt_neox", "Pythia, GPT-NeoX-20B, Dolly", SIZED),
        ("gpt_neox:sequential", "RedPajama-INCITE", {**SIZED, "use_parallel_residual": False}),
        ("gpt_neox_japanese", "GPT-NeoX-Japanese", {**SIZED, "intermediate_multiple_size": 2}),
        ("nemotron", "Nemotron-4, Minitron", GROUPED),
        ("olmo", "OLMo 1", GROUPED),
        ("stablelm", "StableLM 3B, Zephyr", GROUPED),
        ("starcoder2", "StarCoder 2", {**GROUPED, "sliding_window": None}),
    ),
    "one norm before heads and MLP": _rows(
        ("phi", "Phi-1, Phi-1.5, Phi-2", SIZED),
        ("phi:qk", "", {**SIZED, "qk_layernorm": True}),
        ("gptj", "GPT-J-6B", {**SHORT, "rotary_dim": 4}),
        ("codegen", "CodeGen", {**SHORT, "rotary_dim": 4}),
        ("cohere", "Command R, Aya 23", GROUPED),
        ("cohere:qk", "Command R+", {**GROUPED, "use_qk_norm": True}),
        ("cohere2", "Command R7B, Command A", {**HEADS8, **FOUR, **WINDOW}),
        ("falcon", "Falcon 7B", {**FALCON, "multi_query": True, "new_decoder_architecture": False}),
        (
            "falcon:11b",
            "Falcon2 11B",
            {**FALCON, "num_kv_heads": 2, "new_decoder_architecture": True, "num_ln_in_parallel_attn": 1},
        ),
        ("falcon:40b", "Falcon 40B", {**FALCON, "num_kv_heads": 2, "new_decoder_architecture": True}),
        ("falcon:mha", "", {**FALCON, "multi_query": False}),
        ("stablelm:12b", "StableLM 2 12B", {**GROUPED, "use_parallel_residual": True, "qk_layernorm": True}),
        ("stablelm:parallel", "", {**GROUPED, "use_parallel_residual": True}),
    ),
    "norms of queries and keys": _rows(
        ("qwen3", "Qwen 3 0.6B to 32B", HEADS8),
        ("qwen3_moe", "Qwen3-30B-A3B, Qwen3-235B", {**HEADS8, **EXPERTS}),
        ("apertus", "Apertus", GROUPED),
        ("apertus1p5_text", "Apertus 1.5 (text)", GROUPED),
        ("dots1", "dots.llm1", {**HEADS8, **ROUTED}),
        ("glm4_moe:qk", "GLM-4.5", {**HEADS8, **ROUTED, "use_qk_norm": True}),
        ("hunyuan_v1_dense", "Hunyuan dense", HEADS8),
        ("hunyuan_v1_moe", "Hunyuan-A13B", {**HEADS8, "num_experts": 4, "moe_topk": 2}),
        ("nanochat", "nanochat", HEADS8),
        ("persimmon", "Persimmon", {**SIZED, "qk_layernorm": True}),
        (
            "sarvam_moe",
            "Sarvam MoE",
            {**HEADS8, **EXPERTS, "num_shared_experts": 1, "first_k_dense_replace": 1, "n_group": 1, "topk_group": 1},
        ),
        ("stablelm:qk", "", {**GROUPED, "qk_layernorm": True}),
        ("laguna", "Laguna", {**HEADS8, **FOUR, **EXPERTS, **WINDOW}),
    ),
    "paired or missing rotary positions": _rows(
        ("ernie4_5", "ERNIE 4.5 0.3B", HEADS8),
        (
            "ernie4_5_moe",
            "ERNIE 4.5 MoE",
            {**GROUPED, "moe_intermediate_size": 16, "moe_num_experts": 4, "moe_k": 2, "moe_num_shared_experts": 1}
            | {"moe_layer_start_index": 1, "moe_layer_end_index": -1},
        ),
        ("glm", "GLM-4-9B", HEADS8),
        ("smollm3", "SmolLM3", {**GROUPED, **FOUR}),
        (
            "llama4_text",
            "Llama 4 (text)",
            {**HEADS8, **FOUR, "num_local_experts": 4, "num_experts_per_tok": 1, "intermediate_size_mlp": 48}
            | {"attention_chunk_size": 5, "use_qk_norm": True, "pad_token_id": 0},
        ),
    ),
    "windows, softcaps, sinks, position biases": _rows(
        ("mistral:window", "Mistral 7B v0.1", {**GROUPED, **WINDOW}),
        ("ministral", "Ministral 8B", {**HEADS8, **WINDOW}),
        ("qwen2:window", "", {**GROUPED, **FOUR, **WINDOW, "use_sliding_window": True, "max_window_layers": 2}),
        ("cwm", "CWM", {**HEADS8, **FOUR, **WINDOW, "bos_token_id": 0}),
        ("vaultgemma", "VaultGemma", {**HEADS8, **WINDOW, "query_pre_attn_scalar": 8}),
        ("gpt_oss", "gpt-oss 20b and 120b", {**HEADS8, **LOCAL, **WINDOW}),
        (
            "modernbert-decoder",
            "Ettin decoders",
            {
                **SIZED,
                "local_attention": 4,
                "num_hidden_layers": 4,
                "layer_types": ["full_attention", "sliding_attention", "sliding_attention", "full_attention"],
                **dict.fromkeys(("pad_token_id", "bos_token_id", "eos_token_id", "cls_token_id", "sep_token_id"), 0),
            },
        ),
        ("bloom", "BLOOM, BLOOMZ", {**COMMON, "hidden_size": 32, "n_layer": 2, "n_head": 4}),
        ("mpt", "MPT 7B, MPT 30B", MPT),
        ("mpt:clip", "", {**MPT, "attn_config": {"clip_qkv": 0.5}}),
        (
            "falcon:rw-1b",
            "Falcon-RW-1B",
            {**FALCON, "multi_query": False, "parallel_attn": False, "bias": True, "alibi": True},
        ),
        ("olmo:clip", "", {**GROUPED, "clip_qkv": 0.5}),
        ("olmo:clip3", "", {**GROUPED, "clip_qkv": 3.0}),
    ),
    "multipliers": _rows(
        ("granite", "Granite 3", {**GROUPED, **MULTIPLIED}),
        ("granite:ones", "", GROUPED),
        ("granitemoe", "Granite 3 MoE", {**GROUPED, **MULTIPLIED, **LOCAL}),
        ("granitemoe:ones", "", {**GROUPED, **LOCAL}),
        ("granitemoe_swa", "", {**HEADS8, **FOUR, **WINDOW, **LOCAL}),
        ("granitemoeshared", "", {**GROUPED, **LOCAL, "shared_intermediate_size": 24}),
        (
            "granitemoehybrid:attention",
            "Granite 4 Micro",
            {**GROUPED, **MULTIPLIED, "layer_types": ["attention", "attention"], "num_local_experts": 0}
            | {"shared_intermediate_size": 48, "mamba_n_heads": 8, "mamba_d_head": 8, "mamba_d_state": 4},
        ),
        ("granite_swa", "Granite with windows", {**HEADS8, **FOUR, **WINDOW}),
    ),
    "experts": _rows(
        ("mixtral", "Mixtral 8x7B", {**GROUPED, **LOCAL}),
        ("qwen2_moe", "Qwen1.5-MoE, Qwen2-57B-A14B", {**GROUPED, **EXPERTS, "shared_expert_intermediate_size": 24}),
        ("glm4_moe", "GLM-4.5-Air", {**HEADS8, **ROUTED, "use_qk_norm": False}),
        ("hy_v3", "Hunyuan 3", {**HEADS8, **EXPERTS, "first_k_dense_replace": 1}),
        ("phimoe", "Phi-3.5-MoE", {**GROUPED, **LOCAL}),
        ("solar_open", "Solar Open", {**HEADS8, **ROUTED}),
        ("mellum", "Mellum", {**HEADS8, **EXPERTS, **FOUR, **WINDOW}),
        ("cohere2_moe", "Command MoE", {**HEADS8, **FOUR, **WINDOW, "num_experts": 4, "num_experts_per_tok": 2}),
        ("aria_text", "Aria (text)", {**HEADS8, "moe_num_experts": 4, "moe_topk": 2, "moe_num_shared_experts": 1}),
        (
            "dbrx",
            "DBRX",
            {**MPT, "attn_config": {"clip_qkv": 3.0, "kv_n_heads": 2, "rope_theta": 1e4}}
            | {"ffn_config": {"ffn_hidden_size": 16, "moe_num_experts": 4, "moe_top_k": 2, "hidden_size": 32}},
        ),
    ),
    "a norm after the heads": _rows(
        ("gemma2", "Gemma 2", {**HEADS8, **WINDOW, "query_pre_attn_scalar": 8}),
        (
            "gemma3_text",
            "Gemma 3 270M and 1B",
            {**HEADS8, **WINDOW, "query_pre_attn_scalar": 8, "num_hidden_layers": 3}
            | {"layer_types": ["sliding_attention", "sliding_attention", "full_attention"]},
        ),
        ("glm4", "GLM-4-0414", HEADS8),
        ("exaone4", "EXAONE 4", {**HEADS8, **FOUR, **WINDOW, "sliding_window_pattern": 4}),
        ("hyperclovax", "HyperCLOVA X", GROUPED),
        ("afmoe", "Trinity", {**HEADS8, **EXPERTS, **FOUR, **WINDOW, "num_dense_layers": 1, "num_shared_experts": 1}),
    ),
    "heads that act on each other": _rows(
        ("olmo2", "OLMo 2", GROUPED),
        ("olmo3", "OLMo 3", {**GROUPED, **FOUR, **WINDOW}),
        ("flex_olmo", "FlexOlmo", {**GROUPED, "num_experts": 4, "num_experts_per_tok": 2}),
        ("olmoe", "OLMoE-1B-7B", {**GROUPED, "num_experts": 4, "num_experts_per_tok": 2}),
        ("olmoe:clip", "", {**GROUPED, "num_experts": 4, "num_experts_per_tok": 2, "clip_qkv": 0.5}),
        ("minimax_m2", "MiniMax-M2", {**HEADS8, **LOCAL}),
        ("bitnet", "BitNet b1.58", GROUPED),
        ("diffllama", "DiffLlama", GROUPED),
    ),
    "latent queries, keys and values": _rows(
        ("deepseek_v2", "DeepSeek V2", {**LATENT, **ROUTED}),
        ("deepseek_v2:lite", "DeepSeek V2-Lite", {**LATENT, **ROUTED, "q_lora_rank": None}),
        ("deepseek_v3", "DeepSeek V3, R1", {**LATENT, **ROUTED}),
        ("glm4_moe_lite", "GLM-4.7-Flash", {**LATENT, **ROUTED}),
        ("sarvam_mla", "Sarvam", {**LATENT, **ROUTED}),
        ("youtu", "Youtu-LLM", LATENT),
        ("minicpm3", "MiniCPM 3", LATENT),
    ),
    "sliding windows and experts together": _rows(
        (
            "exaone_moe",
            "K-EXAONE",
            {**HEADS8, **FOUR, **EXPERTS, **WINDOW, "sliding_window_pattern": 4, "first_k_dense_replace": 1}
            | {"num_shared_experts": 1, "n_group": 1, "topk_group": 1},
        )
    ),
}
FAMILIES: dict[str, Family] = {name: family for group in GROUPS.values() for name, family in group.items()}


def build(name: str, seed: int = 0, **more: Any) -> Any:
    """A random Hugging Face model of a family (`more`: of its settings); weights are enlarged so that no effect is
    tiny."""
    import transformers as tf

    family = FAMILIES[name]
    config = tf.AutoConfig.for_model(family.kind, **family.config | more)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = tf.AutoModelForCausalLM.from_config(config, attn_implementation="eager", experts_implementation="eager")
        with torch.no_grad():
            for parameter, weight in model.named_parameters():
                size = 0.1 if weight.ndim == 1 or "norm" in parameter or "ln_" in parameter else 0.3
                weight.add_(torch.randn_like(weight) * size)
    return model.eval()
