"""Every family, as a tiny random model from its own config: it works, or is refused with its reason."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import transformers as tf

from hap_engine.errors import TaskError, UnsupportedModelError
from hap_engine.masked.opening import open_masked
from hap_engine.models.catalog import HUB_MODELS, Source, graph_of, resolve
from hap_engine.models.supported import CAUSES, check_config, is_parallel, likely_cause, max_tokens
from hap_engine.settings import DiscoveryConfig
from hap_engine.transformer.load import Model, from_hf
from hap_engine.workflows.run_prompts import make_prompts
from tests.builders.tiny_models import SIZES, VOCABULARY, tokenizer

COMMON: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "attn_implementation": "eager",
    "tie_word_embeddings": False,
    "bos_token_id": None,
    "eos_token_id": None,
    "pad_token_id": None,
}
SIZED = COMMON | {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "max_position_embeddings": 64,
}
GROUPED = SIZED | {"num_key_value_heads": 2}
SHORT = COMMON | {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 64}
LLAMA3_ROPE = {
    "rope_type": "llama3",
    "rope_theta": 5e5,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 32,
}

WORKING: dict[str, Callable[[], Any]] = {
    "GPT-2": lambda: tf.GPT2LMHeadModel(tf.GPT2Config(**SHORT)),
    "GPT-2, scaled by layer": lambda: tf.GPT2LMHeadModel(tf.GPT2Config(scale_attn_by_inverse_layer_idx=True, **SHORT)),
    "GPT-BigCode, one KV head": lambda: tf.GPTBigCodeForCausalLM(tf.GPTBigCodeConfig(**SHORT)),
    "Pythia": lambda: tf.GPTNeoXForCausalLM(tf.GPTNeoXConfig(**SIZED)),
    "GPT-NeoX, not parallel": lambda: tf.GPTNeoXForCausalLM(tf.GPTNeoXConfig(use_parallel_residual=False, **SIZED)),
    "Llama, MHA": lambda: tf.LlamaForCausalLM(tf.LlamaConfig(**SIZED | {"num_key_value_heads": 4})),
    "Llama, GQA": lambda: tf.LlamaForCausalLM(tf.LlamaConfig(**GROUPED)),
    "Llama, MQA": lambda: tf.LlamaForCausalLM(tf.LlamaConfig(**SIZED | {"num_key_value_heads": 1})),
    "Llama 3.2": lambda: tf.LlamaForCausalLM(tf.LlamaConfig(rope_parameters=LLAMA3_ROPE, head_dim=12, **GROUPED)),
    "Llama with biases": lambda: tf.LlamaForCausalLM(tf.LlamaConfig(attention_bias=True, mlp_bias=True, **GROUPED)),
    "Qwen2": lambda: tf.Qwen2ForCausalLM(tf.Qwen2Config(**GROUPED)),
    "Mistral": lambda: tf.MistralForCausalLM(tf.MistralConfig(sliding_window=None, **GROUPED)),
    "Phi-3": lambda: tf.Phi3ForCausalLM(tf.Phi3Config(**GROUPED)),
    "Gemma 1": lambda: tf.GemmaForCausalLM(tf.GemmaConfig(head_dim=8, **GROUPED)),
    "StableLM": lambda: tf.StableLmForCausalLM(tf.StableLmConfig(**GROUPED)),
    "OLMo 1": lambda: tf.OlmoForCausalLM(tf.OlmoConfig(**GROUPED)),
    "SmolLM3": lambda: tf.SmolLM3ForCausalLM(tf.SmolLM3Config(**GROUPED)),
    "Starcoder2": lambda: tf.Starcoder2ForCausalLM(tf.Starcoder2Config(sliding_window=None, **GROUPED)),
}
REFUSED: dict[str, tuple[Callable[[], Any], str]] = {
    "Gemma 2": (
        lambda: tf.Gemma2ForCausalLM(tf.Gemma2Config(head_dim=8, **GROUPED)),
        "normalises the summed output of its heads",
    ),
    "OLMo 2": (lambda: tf.Olmo2ForCausalLM(tf.Olmo2Config(**GROUPED)), "normalises the summed"),
    "Phi": (lambda: tf.PhiForCausalLM(tf.PhiConfig(**SIZED)), "one shared normalisation"),
    "GPT-J": (lambda: tf.GPTJForCausalLM(tf.GPTJConfig(rotary_dim=4, **SHORT)), "one shared"),
    "Qwen3": (lambda: tf.Qwen3ForCausalLM(tf.Qwen3Config(head_dim=8, **GROUPED)), "normalises queries and keys"),
    "OPT": (
        lambda: tf.OPTForCausalLM(
            tf.OPTConfig(
                ffn_dim=48, word_embed_proj_dim=32, **{k: v for k, v in SIZED.items() if k != "intermediate_size"}
            )
        ),
        "positions from 2",
    ),
    "Bloom": (lambda: tf.BloomForCausalLM(tf.BloomConfig(hidden_size=32, n_layer=2, n_head=4, **COMMON)), "ALiBi"),
    "Granite": (
        lambda: tf.GraniteForCausalLM(tf.GraniteConfig(residual_multiplier=0.5, **GROUPED)),
        "scales what each head and MLP writes",
    ),
    "GPT-Neo": (
        lambda: tf.GPTNeoForCausalLM(
            tf.GPTNeoConfig(
                hidden_size=32,
                num_layers=2,
                num_heads=4,
                intermediate_size=48,
                window_size=4,
                max_position_embeddings=64,
                attention_types=[[["global", "local"], 1]],
                **COMMON,
            )
        ),
        "only the last few tokens",
    ),
    "RWKV": (
        lambda: tf.RwkvForCausalLM(
            tf.RwkvConfig(vocab_size=40, hidden_size=16, num_hidden_layers=2, attention_hidden_size=16)
        ),
        "no attention heads",
    ),
}


def opened(make: Callable[[], Any], name: str = "tiny") -> Model:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = make()
        with torch.no_grad():
            for parameter, weight in model.named_parameters():
                size = 0.1 if "norm" in parameter or "ln_" in parameter else 0.3
                weight.add_(torch.randn_like(weight) * size)
    return from_hf(model.eval(), tokenizer(), Source(name, "folder", name, None))


@pytest.mark.parametrize("family", WORKING)
def test_working_families_pass_the_self_check_and_give_the_logits_of_long_prompts(family: str) -> None:
    model = opened(WORKING[family])
    masked = open_masked(model)  # m = 1 gives the clean logits, m = 0 the corrupt ones
    assert model.max_tokens == 64
    tokens, last = torch.randint(VOCABULARY, (2, 60)), torch.tensor([59, 30])
    got = masked.unembed(masked.trace(tokens, last).final)
    with torch.no_grad():
        want = model.hf_model(tokens).logits[torch.arange(2), last]
    torch.testing.assert_close(got, want, atol=1e-3, rtol=1e-4)


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
}


@pytest.mark.parametrize("name", HUB_MODELS)
def test_every_offered_model_works_in_its_own_shape(name: str) -> None:
    """Its layers, heads, KV groups and tied embeddings, with heads of width two: the self-check holds."""
    shape = dict(HUB_MODELS[name].config)
    kind, heads = shape.pop("model_type"), shape.get("n_head") or shape["num_attention_heads"]
    width = {"n_embd": 2 * heads} if kind == "gpt2" else {"hidden_size": 2 * heads, "intermediate_size": 8}
    ids = {"bos_token_id": None, "eos_token_id": None, "vocab_size": VOCABULARY}
    if "Llama-3.2" in name:
        ids |= {"rope_parameters": LLAMA3_ROPE}
    config = tf.AutoConfig.for_model(kind, **shape | width | ids)
    model = opened(lambda: tf.AutoModelForCausalLM.from_config(config, attn_implementation="eager"))
    assert model.hf_model.config.tie_word_embeddings == (kind != "gpt_neox")
    assert model.graph == graph_of(resolve(name))
    assert open_masked(model).graph.n_edges == EDGES[name]


@pytest.mark.parametrize("family", REFUSED)
def test_refused_families_hear_the_reason(family: str) -> None:
    make, reason = REFUSED[family]
    config = make().config.to_dict()
    assert reason in likely_cause(config)
    with pytest.raises(UnsupportedModelError, match=reason) as caught:
        check_config(config, "someone/model")
    assert "someone/model" in str(caught.value)
    assert "Llama-style" in str(caught.value), "the message says what works"
    with pytest.raises(UnsupportedModelError):  # the self-check alone would refuse it too
        open_masked(opened(make))


def test_a_sliding_window_limits_the_prompts_not_the_model() -> None:
    """Within its window a Mistral is a Llama; longer prompts are refused, never computed wrongly."""
    config = tf.MistralConfig(sliding_window=6, **GROUPED)
    model = opened(lambda: tf.MistralForCausalLM(config), "tiny-mistral")
    assert model.max_tokens == 6
    open_masked(model)
    settings = DiscoveryConfig(model="hap-mini", sizes=SIZES)
    with pytest.raises(TaskError, match="tiny-mistral reads at most 6"):
        make_prompts(settings, model.reader)


def test_what_a_config_tells_without_torch() -> None:
    assert max_tokens({}) is None
    assert max_tokens({"n_positions": 1024}) == 1024
    assert max_tokens({"max_position_embeddings": 32768, "sliding_window": 4096}) == 4096
    unused = {"use_sliding_window": False, "sliding_window": 4}
    assert max_tokens({"max_position_embeddings": 100, **unused}) == 100
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
    assert all(cause[0].islower() and not cause.endswith(".") for cause in CAUSES.values())
