"""What is measured: models, prompts, and one step of each kind.

`plain` is an ordinary training step (forward, full backward, gradients freed) of the same Hugging Face
model on the same clean prompts. Every other step includes all that it needs except what a run does
once: for EAP both forward passes count, for a pruning step the cached corrupt runs do not.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from hap_engine.attribution import METRICS
from hap_engine.batches import to_batch
from hap_engine.catalog import Source
from hap_engine.circuit import Circuit, full_circuit, top_edges
from hap_engine.gates import sample
from hap_engine.gradients import EdgeGradients
from hap_engine.metrics import kl_divergence
from hap_engine.models import Model, from_hf, load_model
from hap_engine.patching import MaskedModel
from hap_engine.prepared import full_logits
from hap_engine.tasks import EncodedPair, PromptPair, SplitSizes, get_task

GGUF = Path(__file__).resolve().parents[2] / "shared" / "models" / "SmolLM2-135M-Instruct.Q4_1.gguf"
SHAPES = {"small": (12, 12, 768), "medium": (24, 16, 1024), "large": (36, 20, 1280)}


@dataclass(frozen=True, eq=False)
class Subject:
    """A model with one batch of prompts."""

    name: str
    model: Model
    masked: MaskedModel
    pairs: list[EncodedPair]


def gpt2(size: str, batch: int = 32, length: int = 20) -> Subject:
    """A random-weight GPT-2 on random prompts that differ from the first token on."""
    from transformers import GPT2Config, GPT2LMHeadModel

    layers, heads, width = SHAPES[size]
    torch.manual_seed(0)
    config = GPT2Config(
        n_layer=layers, n_head=heads, n_embd=width, attn_implementation="eager", resid_pdrop=0.0,
        embd_pdrop=0.0, attn_pdrop=0.0,
    )  # fmt: skip
    model = _open(GPT2LMHeadModel(config).eval(), f"gpt2-{size} (random)")
    rng = np.random.default_rng(0)
    ids = rng.integers(config.vocab_size, size=(batch, 2, length)).tolist()
    blank = PromptPair("", "", "", "")
    pairs = [EncodedPair(blank, tuple(a), tuple(b), (1,), (2,), {}) for a, b in ids]
    return Subject(f"gpt2-{size}", model, MaskedModel(model), pairs)


def pretrained(reference: str, batch: int = 16) -> Subject:
    """A real model on IOI prompts."""
    model = load_model(reference)
    sets = get_task("ioi").generate(model.tokenizer, SplitSizes(batch, 1, 1), 0, "abc")
    return Subject(model.name, model, MaskedModel(model), list(sets.train))


def smollm2_path() -> Path | None:
    """The real model, where it is there (``HAP_TEST_GGUF`` or a folder beside the project)."""
    path = Path(os.environ.get("HAP_TEST_GGUF", GGUF))
    return path if path.exists() else None


def _open(hf_model: Any, name: str) -> Model:
    from tests.conftest import tokenizer

    return from_hf(hf_model, tokenizer(), Source(name, "folder", name, None), sha256=name)


Step = Callable[[], object]


def plain_step(subject: Subject, dtype: torch.dtype = torch.float32) -> Step:
    """Forward, loss over all tokens, full backward."""
    import copy

    model = copy.deepcopy(subject.model.hf_model).to(dtype).requires_grad_(True)
    tokens = to_batch(subject.pairs, subject.masked.device).clean

    def step() -> None:
        model(tokens, labels=tokens).loss.backward()
        model.zero_grad()

    return step


def eap_step(subject: Subject) -> Step:
    """Corrupt forward, clean forward, backward: scores of all edges."""
    batch = to_batch(subject.pairs, subject.masked.device)
    masked, metric = subject.masked, METRICS["logit_diff"]

    def step() -> None:
        corrupt = masked.trace(batch.corrupt, batch.last)
        gradients = EdgeGradients(masked, masked.embed(batch.clean), corrupt, batch.last)
        gradients.add(
            1.0, lambda logits: metric(logits, logits, batch.answer, batch.distractor).sum()
        )
        gradients.close()

    return step


def pruning_step(
    subject: Subject, share: float, dtype: torch.dtype = torch.float32, open_gates: float = 0.9
) -> Step:
    """One step of Edge Pruning over a share of the edges, chosen as EAP chooses them.

    The corrupt runs are there already, as they are in a run.
    """
    batch = to_batch(subject.pairs, subject.masked.device)
    masked = subject.masked.with_dtype(dtype)
    corrupt, clean = masked.trace(batch.corrupt, batch.last), masked.embed(batch.clean)
    full = full_logits(masked, batch).log_softmax(-1)
    candidates = _candidates(subject, share)
    rows, columns = (torch.from_numpy(axis) for axis in np.nonzero(candidates.kept))
    level = 3.0 if open_gates > 0.5 else 0.0
    log_alpha = torch.full((len(rows),), level, requires_grad=True)
    generator = torch.Generator().manual_seed(0)

    def step() -> None:
        z = sample(log_alpha, generator)
        mask = torch.zeros(candidates.kept.shape).index_put((rows, columns), z)
        logits = masked.logits(mask.to(batch.last.device), clean, corrupt, batch.last)
        kl_divergence(logits, full).mean().backward()
        log_alpha.grad = None

    return step


def _candidates(subject: Subject, share: float) -> Circuit:
    graph = subject.masked.graph
    if share == 1.0:
        return full_circuit(graph)
    batch = to_batch(subject.pairs, subject.masked.device)
    corrupt = subject.masked.trace(batch.corrupt, batch.last)
    embed = subject.masked.embed(batch.clean)
    gradients = EdgeGradients(subject.masked, embed, corrupt, batch.last)
    metric = METRICS["logit_diff"]
    gradients.add(1.0, lambda logits: metric(logits, logits, batch.answer, batch.distractor).sum())
    return top_edges(graph, gradients.close().cpu().numpy(), int(share * graph.n_edges)).live
