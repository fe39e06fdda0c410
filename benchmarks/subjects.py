"""What is measured: models, prompts, and one step of each kind.

`plain` is an ordinary training step (forward, full backward, gradients freed) of the same Hugging Face
model on the same clean prompts. Every other step includes all that it needs except what a run does
once: for EAP both forward passes count, for a pruning step the cached corrupt runs do not.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from hap_engine.anatomy import layers
from hap_engine.attribution.edge_gradients import EdgeGradients
from hap_engine.attribution.scorers import METRICS
from hap_engine.graph.circuit import Circuit, full_circuit
from hap_engine.graph.ranking import top_edges
from hap_engine.masked.masked_pass import MaskedModel
from hap_engine.masked.opening import open_masked
from hap_engine.masked.prompt_cache import Prepared
from hap_engine.models.catalog import Source
from hap_engine.progress import drain
from hap_engine.pruning.gate_loss import loss_of_gates
from hap_engine.pruning.gates import sample
from hap_engine.tasks.custom import get_task
from hap_engine.tasks.pair import EncodedPair, PromptPair
from hap_engine.tasks.spans import divided
from hap_engine.tasks.task import PromptSets, SplitSizes
from hap_engine.transformer.batches import Batch, to_batch
from hap_engine.transformer.load import Model, from_hf, load_model
from hap_engine.transformer.plain_pass import Trace

OPEN = 3.0  # log alpha: P(open) = 0.99
GGUF = Path(__file__).resolve().parents[2] / "shared" / "models" / "SmolLM2-135M-Instruct.Q4_1.gguf"
SHAPES = {"small": (12, 12, 768), "medium": (24, 16, 1024), "large": (36, 20, 1280)}


@dataclass(frozen=True, eq=False)
class Subject:
    """A model with one batch of prompts."""

    name: str
    model: Model
    masked: MaskedModel
    pairs: list[EncodedPair]
    _prepared: dict[torch.dtype, Prepared] = field(default_factory=dict)

    @cached_property
    def scores(self) -> np.ndarray:
        """EAP's scores of all edges, in float32."""
        return _scores(self.masked, self)

    def prepared(self, dtype: torch.dtype) -> Prepared:
        """The batch with its corrupt runs, as every step of a run finds it."""
        if dtype not in self._prepared:
            self._prepared[dtype] = Prepared(self.masked.with_dtype(dtype), self.pairs)
            drain(self._prepared[dtype].run())
        return self._prepared[dtype]


def gpt2(size: str, device: str, batch: int = 32, length: int = 20) -> Subject:
    """A random-weight GPT-2 on random prompts that differ from the first token on."""
    from transformers import GPT2Config, GPT2LMHeadModel

    layers, heads, width = SHAPES[size]
    torch.manual_seed(0)
    config = GPT2Config(
        n_layer=layers,
        n_head=heads,
        n_embd=width,
        attn_implementation="eager",
        resid_pdrop=0.0,
        embd_pdrop=0.0,
        attn_pdrop=0.0,
    )
    model = _open(GPT2LMHeadModel(config).eval().to(device), f"gpt2-{size} (random)")
    rng = np.random.default_rng(0)
    ids = rng.integers(config.vocab_size, size=(batch, 2, length)).tolist()
    blank = PromptPair("", "", "", "")
    pairs = [EncodedPair(blank, tuple(a), tuple(b), 1, 2, {}) for a, b in ids]
    return Subject(f"gpt2-{size}", model, open_masked(model), pairs)


def pretrained(reference: str, device: str, batch: int = 16) -> Subject:
    """A real model on IOI prompts."""
    model = load_model(reference, device=device)
    sets = get_task("ioi").generate(model.tokenizer, SplitSizes(batch, 1, 1), 0, "abc")
    return Subject(model.name, model, open_masked(model), list(sets.train))


def subject(name: str, device: str = "cpu") -> Subject:
    """A subject by name: ``gpt2-small`` and its sizes, ``hap-mini`` or ``SmolLM2``; ``/8`` sets the batch."""
    name, _, batch = name.partition("/")
    size = {"batch": int(batch)} if batch else {}
    if name.startswith("gpt2-"):
        return gpt2(name.removeprefix("gpt2-"), device, **size)
    if name == "SmolLM2":
        path = smollm2_path()
        assert path is not None, "SmolLM2 is not here; see smollm2_path"
        return pretrained(str(path), device, **size)
    return pretrained(name, device, **size)


def positional(subject: Subject, way: str = "roles") -> Subject:
    """The same with edges at spans of its prompts."""
    sets = divided(PromptSets(tuple(subject.pairs), (), ()), way)
    return Subject(subject.name, subject.model, subject.masked.at_spans(sets.spans), list(sets.train))


@contextmanager
def without_closed_form(way: str) -> Iterator[None]:
    """Models that are opened meanwhile compute attention in their family's own code, ``prepared`` or ``replayed``."""
    closed, hands = layers.find_closed, layers.hands_over
    layers.find_closed = lambda *_: None
    if way == "replayed":
        layers.hands_over = lambda *_: False
    try:
        yield
    finally:
        layers.find_closed, layers.hands_over = closed, hands


def smollm2_path() -> Path | None:
    """The real model, where it is there (``HAP_TEST_GGUF`` or a folder beside the project)."""
    path = Path(os.environ.get("HAP_TEST_GGUF", GGUF))
    return path if path.exists() else None


def _open(hf_model: Any, name: str) -> Model:
    from tests.builders.tiny_models import tokenizer

    return from_hf(hf_model, tokenizer(), Source(name, "folder", name, None), sha256=name)


Step = Callable[[], object]


def plain_step(subject: Subject, dtype: torch.dtype = torch.float32) -> Step:
    """Forward, loss over all tokens, full backward; gradients are freed afterwards."""
    model = copy.deepcopy(subject.model.hf_model) if dtype != torch.float32 else subject.model.hf_model
    model = model.to(dtype)
    tokens = to_batch(subject.pairs, subject.masked.device).clean

    def step() -> None:
        model.requires_grad_(True)
        model(tokens, labels=tokens).loss.backward()
        model.zero_grad()
        model.requires_grad_(False)

    return step


def eap_step(subject: Subject, dtype: torch.dtype = torch.float32) -> Step:
    """Corrupt forward, clean forward, backward: scores of all edges."""
    masked = subject.masked.with_dtype(dtype)
    return lambda: _scores(masked, subject)


def pruning_step(subject: Subject, share: float, dtype: torch.dtype = torch.float32) -> Step:
    """One step of Edge Pruning over a share of the edges, chosen as EAP chooses them.

    The gates stand where a run leaves them at that budget: nearly all open. The corrupt runs are there
    already, as they are in a run.
    """
    candidates = _candidates(subject, share)
    prepared = subject.prepared(dtype)
    every = list(range(len(prepared)))
    loss_of = loss_of_gates(prepared, candidates, len(every))
    log_alpha = torch.full((len(candidates),), OPEN, device=prepared.masked.device)
    log_alpha.requires_grad_()
    generator = torch.Generator().manual_seed(0)

    def step() -> None:
        z = sample(log_alpha, generator)
        torch.autograd.grad(z, log_alpha, loss_of(z, every, 0.0).gradient)

    return step


CASES: dict[str, Callable[[Subject, torch.dtype], Step]] = {
    "plain": plain_step,
    "EAP, all edges": eap_step,
    "EP step, all edges": lambda s, dtype: pruning_step(s, 1.0, dtype),
    "HAP step, 10 %": lambda s, dtype: pruning_step(s, 0.1, dtype),
    "HAP step, 5 %": lambda s, dtype: pruning_step(s, 0.05, dtype),
    "HAP step, 2 %": lambda s, dtype: pruning_step(s, 0.02, dtype),
    "HAP step, 1 %": lambda s, dtype: pruning_step(s, 0.01, dtype),
}


@torch.no_grad()
def _corrupt(masked: MaskedModel, batch: Batch) -> Trace:
    return masked.trace(batch.corrupt, batch.last)


def _scores(masked: MaskedModel, subject: Subject) -> np.ndarray:
    batch, metric = to_batch(subject.pairs, masked.device), METRICS["logit_diff"]
    embed = masked.embed(batch.clean)
    gradients = EdgeGradients(masked, embed, _corrupt(masked, batch), batch.last, spans=batch.spans)
    gradients.add(1.0, lambda logits: metric(logits, logits, batch.answer, batch.distractor).sum())
    return gradients.close().cpu().numpy()


def _candidates(subject: Subject, share: float) -> Circuit:
    graph = subject.masked.graph
    if share == 1.0:
        return full_circuit(graph)
    return top_edges(graph, subject.scores, int(share * graph.n_edges)).live
