"""Tiny random models of every supported family, with a word-level tokenizer."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace

from hap_engine.machine import speed
from hap_engine.models.catalog import Source
from hap_engine.progress import drain
from hap_engine.tasks.pair import EncodedPair, PromptPair
from hap_engine.tasks.task import SplitSizes
from hap_engine.tasks.templates import ioi
from hap_engine.tasks.templates import ioi as task
from hap_engine.transformer.load import Model, from_hf

WIDTH, LAYERS, HEADS, VOCABULARY = 32, 2, 4, 72


MACHINE = speed.Machine(1e11, 2e11, 4e10, 3e-6, threads=1)  # of no machine in particular


SIZES = SplitSizes(train=8, validation=6, test=8)


FAMILIES = ("gpt2", "llama", "neox", "qwen2")


finish = drain  # the tests' word for it


def tokenizer() -> Tokenizer:
    """A word-level tokenizer that knows just enough words for the IOI task."""
    made = word_tokenizer(ioi.NAMES[:10], ioi.PLACES[:4], ioi.OBJECTS[:4])
    assert made.get_vocab_size() <= VOCABULARY
    return made


def hf_model(family: str, seed: int = 0, layers: int = LAYERS) -> Any:
    """A random Hugging Face model; weights are enlarged so that no effect is tiny."""
    import transformers as tf

    common = {
        "vocab_size": VOCABULARY,
        "attn_implementation": "eager",
        "tie_word_embeddings": False,
        "bos_token_id": None,
        "eos_token_id": None,
        "pad_token_id": None,
    }
    sizes = {
        "hidden_size": WIDTH,
        "num_hidden_layers": layers,
        "num_attention_heads": HEADS,
        "intermediate_size": 48,
        "max_position_embeddings": 64,
    }
    makers: dict[str, Callable[[], Any]] = {
        "gpt2": lambda: tf.GPT2LMHeadModel(
            tf.GPT2Config(n_embd=WIDTH, n_layer=layers, n_head=HEADS, n_positions=64, resid_pdrop=0.1, **common)
        ),
        "llama": lambda: tf.LlamaForCausalLM(tf.LlamaConfig(num_key_value_heads=2, **sizes, **common)),
        "neox": lambda: tf.GPTNeoXForCausalLM(tf.GPTNeoXConfig(use_parallel_residual=True, **sizes, **common)),
        "qwen2": lambda: tf.Qwen2ForCausalLM(tf.Qwen2Config(num_key_value_heads=2, **sizes, **common)),
        "gemma2": lambda: tf.Gemma2ForCausalLM(tf.Gemma2Config(num_key_value_heads=2, head_dim=8, **sizes, **common)),
    }
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return enlarged(makers[family]())


def enlarged(model: Any) -> Any:
    """The model with larger random weights, none at its start."""
    with torch.no_grad():
        for name, weight in model.named_parameters():
            weight.add_(torch.randn_like(weight) * (0.1 if "norm" in name or "ln_" in name else 0.3))
    return model.eval()


def make_model(family: str, seed: int = 0, layers: int = LAYERS) -> Model:
    return made_of(hf_model(family, seed, layers), f"tiny-{family}", f"{family}-{seed}")


def made_of(hf: Any, name: str = "tiny", sha256: str = "") -> Model:
    """A Hugging Face model, opened."""
    return from_hf(hf, tokenizer(), Source(name, "folder", name, None), sha256)


def random_pairs(lengths: list[int], seed: int = 0) -> list[EncodedPair]:
    """Token ids drawn at random: one pair of clean and corrupt prompts per length."""
    generator = torch.Generator().manual_seed(seed)
    made = []
    for length in lengths:
        ids = torch.randint(VOCABULARY, (2, length), generator=generator).tolist()
        answer, distractor = torch.randperm(VOCABULARY, generator=generator)[:2].tolist()
        made.append(EncodedPair(PromptPair("", "", "", ""), tuple(ids[0]), tuple(ids[1]), answer, distractor, {}))
    return made


def saved(family: str, path: Path) -> Path:
    """`path`, with a tiny model in it."""
    hf_model(family).save_pretrained(path)
    tokenizer().save(str(path / "tokenizer.json"))
    return path


def word_tokenizer(
    names: Iterable[str] = task.NAMES, places: Iterable[str] = task.PLACES, objects: Iterable[str] = task.OBJECTS
) -> Tokenizer:
    """One token a word; what is not listed is the unknown word."""
    splitter = Whitespace()
    slots = re.compile(r"\[\w+\]")
    frame = {w for t in task.TEMPLATES for w, _ in splitter.pre_tokenize_str(slots.sub(" ", t))}
    words = ["[UNK]", *sorted({*frame, *names, *places, *objects})]
    made = Tokenizer(WordLevel({word: index for index, word in enumerate(words)}, unk_token="[UNK]"))
    made.pre_tokenizer = splitter
    made.add_special_tokens(["[UNK]"])
    return made
