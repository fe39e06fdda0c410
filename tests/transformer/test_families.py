"""What a config tells of a model before it is opened: that it works, why not, its graph, the longest prompt."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import pytest
import torch
import transformers as tf
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from hap_engine.errors import ModelError, UnsupportedModelError
from hap_engine.masked.opening import open_masked
from hap_engine.models.catalog import HUB_MODELS, graph_of, resolve
from hap_engine.models.supported import REFUSED, check_config, graph_of_config, is_parallel, max_tokens
from hap_engine.transformer.load import Model
from tests.builders.family_zoo import FAMILIES, HEADS8, ROPE3, build
from tests.builders.tiny_models import VOCABULARY, made_of, random_pairs


def opened(make: Callable[[], Any], name: str = "tiny") -> Model:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = make()
        with torch.no_grad():
            for parameter, weight in model.named_parameters():
                size = 0.1 if "norm" in parameter or "ln_" in parameter else 0.3
                weight.add_(torch.randn_like(weight) * size)
    return made_of(model.eval(), name)


EDGES = {
    "gpt2": 32_491,
    "gpt2-medium": 231_877,
    "gpt2-large": 810_703,
    "gpt2-xl": 2_235_025,
    "HuggingFaceTB/SmolLM2-135M-Instruct": 70_651,
    "HuggingFaceTB/SmolLM2-360M-Instruct": 208_161,
    "EleutherAI/pythia-160m": 32_347,
    "EleutherAI/pythia-410m": 231_493,
    "Qwen/Qwen2.5-0.5B": 79_813,
    "meta-llama/Llama-3.2-1B": 195_865,
    "EleutherAI/pythia-70m": 3_580,
    "Qwen/Qwen3-0.6B": 213_907,
    "google/gemma-3-270m": 6_751,
    "allenai/OLMo-2-0425-1B-Instruct": 107_185,
}


@pytest.mark.parametrize("name", HUB_MODELS)
def test_every_offered_model_works_in_its_own_shape(name: str) -> None:
    """Its layers, heads, KV groups and tied embeddings, with heads of width two: the self-check holds."""
    shape = dict(HUB_MODELS[name].config)
    kind, heads = shape.pop("model_type"), shape.get("n_head") or shape["num_attention_heads"]
    width = {"n_embd": 2 * heads} if kind == "gpt2" else {"hidden_size": 2 * heads, "intermediate_size": 8}
    ids = {"bos_token_id": None, "eos_token_id": None, "vocab_size": VOCABULARY, "pad_token_id": None}
    if "head_dim" in shape:
        width["head_dim"] = 2
    if "Llama-3.2" in name:
        ids |= {"rope_parameters": ROPE3}
    config = tf.AutoConfig.for_model(kind, **shape | width | ids)
    model = opened(lambda: tf.AutoModelForCausalLM.from_config(config, attn_implementation="eager"))
    assert model.hf_model.config.tie_word_embeddings == (kind not in ("gpt_neox", "olmo2"))
    assert replace(model.graph, coupled=()) == graph_of(resolve(name))
    assert open_masked(model).graph.n_edges == EDGES[name]


@pytest.mark.parametrize("name", FAMILIES)
def test_a_config_tells_the_graph_and_that_it_works(name: str) -> None:
    hf = build(name)
    config = hf.config.to_dict()
    check_config(config, name)
    assert graph_of_config(config) == replace(made_of(hf).graph, coupled=())


REASONS: dict[str, tuple[Mapping[str, Any], str]] = {
    "OPT-350M": ({"model_type": "opt", "do_layer_norm_before": False}, "change the residual stream itself"),
    "GPT-1": ({"model_type": "openai-gpt"}, "change the residual stream itself"),
    "BERT": ({"model_type": "bert"}, "fills in blanks"),
    "T5": ({"model_type": "t5", "is_encoder_decoder": True}, "an encoder and a decoder"),
    "Mamba": ({"model_type": "mamba"}, "attention heads"),
    "Qwen3-Next": (
        {"model_type": "qwen3_next", "layer_types": ["linear_attention", "full_attention"]},
        "linear_attention",
    ),
    "Granite 4 H": ({"model_type": "granitemoehybrid", "layer_types": ["mamba", "attention"]}, r"\(mamba\)"),
    "Gemma 3n": ({"model_type": "gemma3n", "text_config": {"model_type": "gemma3n_text"}}, "several residual streams"),
    "Gemma 4": ({"model_type": "gemma4", "text_config": {"model_type": "gemma4_text"}}, "Try Gemma 3"),
    "DeepSeek V4": ({"model_type": "deepseek_v4"}, "several residual streams"),
    "GLM-5": ({"model_type": "glm_moe_dsa"}, "chooses the tokens"),
    "JetMoE": ({"model_type": "jetmoe"}, "heads are experts"),
    "HRM": ({"model_type": "hrm_text"}, "several times"),
}


@pytest.mark.parametrize("family", REASONS)
def test_refused_families_hear_the_reason_and_what_works(family: str) -> None:
    config, reason = REASONS[family]
    with pytest.raises(UnsupportedModelError, match=reason) as caught:
        check_config(config, "someone/model")
    assert "someone/model" in str(caught.value)
    assert "Try " in str(caught.value)


def test_words_of_refusals() -> None:
    for cause, nearest in REFUSED.values():
        assert cause[0].islower()
        assert not cause.endswith(".")
        assert nearest[0].isupper()
    assert not REFUSED.keys() & {family.kind for family in FAMILIES.values()}


# The 122 families and variants that were tried one by one before layers were asked: those that work now, and the rest.
WORKING_ROWS = """
arcee exaone gemma glm4_moe gpt-sw3 gpt2 gpt2:scaled gpt_bigcode gpt_neox gpt_neox:sequential granitemoe:ones
internlm3 iquestcoder jais2 llama llama:3.2 llama:bias llama:dynamic llama:linear llama:yarn ministral3 mistral
mistral:window mixtral nemotron olmo phi3 phi3:longrope phi3:partial qwen2 qwen2:window qwen2:yarn qwen2_moe
seed_oss smollm3:2layers stablelm starcoder2 deepseek_v2 deepseek_v3 glm4_moe_lite gpt_bigcode:mha sarvam_mla
youtu afmoe apertus bitnet bloom codegen cohere cohere2 ernie4_5 ernie4_5_moe exaone4 falcon falcon:11b
falcon:40b falcon:7b-mha falcon:rw-1b flex_olmo gemma2 gemma3 gemma3_text glm glm4 gpt_neo gpt_oss gptj granite
granite:ones granitemoe granitemoehybrid:attention hunyuan_v1_dense laguna llama4_text minimax_m2 modernbert-decoder
mpt mpt:clip nanochat olmo2 olmo3 olmo:clip olmo:clip3 olmoe olmoe:clip opt phi phi:qk qwen3 qwen3_moe
sarvam_moe smollm3 stablelm:12b stablelm:parallel stablelm:qk vaultgemma xglm
"""
SAME = {"smollm3:2layers": "smollm3", "falcon:7b-mha": "falcon:mha", "gemma3": "gemma3_text"}  # tested by another name
REFUSED_ROWS = """
glm_moe_dsa bamba bert deepseek_v4 falcon_h1 falcon_mamba gemma4_text granitemoehybrid hrm_text jamba jetmoe
lfm2 lfm2_moe mamba mamba2 nemotron_h olmo_hybrid openai-gpt opt:350m qwen3_5_moe_text qwen3_5_text qwen3_next
recurrent_gemma rwkv zamba2
"""


def test_the_table_of_122() -> None:
    working, others = WORKING_ROWS.split(), REFUSED_ROWS.split()
    assert (len(working), len({*working, *others})) == (97, 122)
    assert {SAME.get(row, row) for row in working} <= FAMILIES.keys()
    for row in others:
        config = tf.AutoConfig.for_model(row.partition(":")[0]).to_dict()
        if row == "opt:350m":
            config["do_layer_norm_before"] = False
        assert refused(lambda config=config, row=row: check_config(config, row), "Try "), row


SMALL = {
    **HEADS8,
    "num_experts": 4,
    "num_local_experts": 4,
    "n_routed_experts": 4,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 16,
    "sliding_window": 5,
}


@pytest.mark.parametrize("kind", sorted(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES))
def test_no_kind_of_model_ends_in_a_traceback(kind: str) -> None:
    """Every type that transformers knows is in the table, or is refused in words, at the latest when it is opened."""
    if kind in {family.kind for family in FAMILIES.values()}:
        return
    try:
        usual = tf.AutoConfig.for_model(kind)
    except Exception:  # a part of other models, which has no settings of its own
        usual = tf.PreTrainedConfig()
    if refused(lambda: check_config({**usual.to_dict(), "model_type": kind}, kind), "Try "):
        return
    known = set(usual.to_dict()) | set(getattr(usual, "attribute_map", {}))
    ids = ("bos_token_id", "eos_token_id", "pad_token_id")
    small = {key: value for key, value in SMALL.items() if key in known and key not in ids}
    try:
        config = tf.AutoConfig.for_model(kind, **small)
        with torch.device("meta"):
            size = tf.AutoModelForCausalLM.from_config(config).num_parameters()
        model = tf.AutoModelForCausalLM.from_config(config, attn_implementation="eager") if size < 1e7 else None
    except Exception:  # a config that cannot be made so small is none that a user brings
        return
    if model is None:  # a model of pictures or sounds whose other parts are large
        return
    refused(lambda: open_masked(made_of(model.eval(), kind)), kind)


def refused(ask: Callable[[], object], words: str) -> bool:
    """Whether something is refused; if so, in some words, and by no other error."""
    try:
        ask()
    except ModelError as error:
        if words not in str(error):
            raise
        return True
    return False


def test_a_sliding_window_does_not_limit_the_prompts() -> None:
    masked = open_masked(made_of(build("mistral:window"), "tiny-mistral"))
    assert masked.model.max_tokens == 64
    (pair,) = random_pairs([40])
    tokens = torch.tensor([pair.clean_ids])
    got = masked.unembed(masked.trace(tokens, torch.tensor([39])).final)
    with torch.no_grad():
        torch.testing.assert_close(got, masked.model.hf_model(tokens).logits[:, -1], atol=1e-4, rtol=1e-4)


def test_a_model_that_changes_at_some_length_is_not_trusted_beyond_it() -> None:
    """Ministral 3 makes queries longer from some position on: a closed form that was found before does not do so."""
    rope = {"rope_type": "default", "rope_theta": 1e4, "original_max_position_embeddings": 30}
    rope["llama_4_scaling_beta"] = 9.0
    config = tf.AutoConfig.for_model("ministral3", **HEADS8, rope_parameters=rope)
    model = opened(lambda: tf.AutoModelForCausalLM.from_config(config, attn_implementation="eager"), "tiny-ministral")
    masked, tokens = open_masked(model), torch.randint(VOCABULARY, (1, 50))
    masked.trace(tokens[:, :29], torch.tensor([28]))
    with pytest.raises(UnsupportedModelError, match="tiny-ministral computes a prompt of 50 tokens otherwise"):
        masked.trace(tokens, torch.tensor([49]))


def test_what_a_config_tells_without_torch() -> None:
    assert max_tokens({}) is None
    assert max_tokens({"n_positions": 1024}) == 1024
    assert max_tokens({"max_position_embeddings": 32768, "sliding_window": 4096}) == 32768
    long = {"rope_type": "longrope", "original_max_position_embeddings": 4096}
    assert max_tokens({"max_position_embeddings": 131072, "rope_parameters": long}) == 4096
    assert max_tokens({"text_config": {"max_position_embeddings": 77}}) == 77
    assert max_tokens({"sliding_window": None, "max_position_embeddings": "many"}) is None
    assert is_parallel({"model_type": "gpt_neox"})
    assert not is_parallel({"model_type": "gpt_neox", "use_parallel_residual": False})
    assert not is_parallel({"model_type": "llama"})


def test_models_of_known_and_unknown_kinds() -> None:
    check_config({"model_type": "llama"}, "x")
    native = {"model_type": "phi3", "auto_map": {"AutoModelForCausalLM": "modeling_phi3.Phi3"}}
    check_config(native, "x")  # transformers has its own class: the repository's code is not needed
    with pytest.raises(UnsupportedModelError, match=r"auto_map.*never loaded"):
        check_config(native | {"model_type": "evil"}, "x", known=False)
    with pytest.raises(UnsupportedModelError, match="no 'unheard-of' model"):
        check_config({"model_type": "unheard-of"}, "x", known=False)
