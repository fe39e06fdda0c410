"""Scores of edges by an explicit loop, to compare the engine's with."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hap_engine.attribution.scorers import score
from hap_engine.machine.memory import Limits
from hap_engine.masked.masked_pass import MaskedModel
from hap_engine.masked.prompt_cache import Prepared
from hap_engine.tasks.pair import EncodedPair
from tests.builders.slow import Slow
from tests.builders.tiny_models import finish


def prepare(masked: MaskedModel, pairs: Sequence[EncodedPair]) -> Prepared:
    return finish(Prepared(masked, pairs, Limits(batch=3)).run())


def scores_of(masked: MaskedModel, pairs: Sequence[EncodedPair], *args: object) -> np.ndarray:
    return finish(score(prepare(masked, pairs), *args))


def metric(logits: Tensor, pair: EncodedPair) -> Tensor:
    return logits[-1, pair.answer_id] - logits[-1, pair.distractor_id]


def halved(product: Callable[[Tensor, Tensor], Tensor], a: Tensor, b: Tensor) -> Tensor:
    """A product that gives each of its factors half of its gradient."""
    return (product(a, b.detach()) + product(a.detach(), b)) / 2


class Corrected(Slow):
    """The same values with the gradients of GIM (or RelP), written out: norms' statistics are constants, each
    factor of a product gets half, the softmax passes back what it would at another temperature, and (RelP)
    activations pass back ``a(x) / x``."""

    def __init__(self, hf: Any, temperature: float, secant: bool) -> None:
        super().__init__(hf)
        self.temperature, self.secant = temperature, secant

    def norm(self, module: Any) -> Callable[[Tensor], Tensor]:

        def frozen(x: Tensor) -> Tensor:
            centred = x - x.mean(-1, keepdim=True) if isinstance(module, torch.nn.LayerNorm) else x
            eps = module.eps if isinstance(module, torch.nn.LayerNorm) else module.variance_epsilon
            sigma = (centred.square().mean(-1, keepdim=True) + eps).sqrt().detach()
            return centred / sigma * module.weight + getattr(module, "bias", 0)

        return frozen

    def product(self, a: Tensor, b: Tensor) -> Tensor:
        return halved(torch.matmul, a, b)

    def softmax(self, scores: Tensor) -> Tensor:
        other = (scores / self.temperature).softmax(-1).detach()
        safe = scores.masked_fill(scores.isinf(), 0)
        to_first_order = other * (safe - (other * safe).sum(-1, keepdim=True))
        return scores.softmax(-1).detach() + to_first_order - to_first_order.detach()

    def activation(self, act: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
        return (act(x) / x).detach() * x if self.secant else act(x)

    def mlp(self, layer: int, x: Tensor) -> Tensor:
        mlp = self.blocks[layer].mlp
        if self.family == "llama":
            gate = self.activation(mlp.act_fn, mlp.gate_proj(x))
            return mlp.down_proj(halved(torch.mul, gate, mlp.up_proj(x)))
        up, down = (mlp.c_fc, mlp.c_proj) if self.family == "gpt2" else (mlp.dense_h_to_4h, mlp.dense_4h_to_h)
        return down(self.activation(mlp.act, up(x)))


def by_autograd(masked: MaskedModel, pairs: Sequence[EncodedPair], slow: Slow | None = None) -> np.ndarray:
    """``(corrupt_w - clean_w) · d metric / d reader`` of the plain model (or `slow`), no mask anywhere."""
    graph, slow = masked.graph, slow or Slow(masked.model.hf_model)
    total = np.zeros(graph.edge_mask.shape)
    for pair in pairs:

        def read(reader: str, out: dict[str, Tensor]) -> Tensor:
            return sum(out[w] for w in out if slow.sees(w, reader)) + slow.biases(reader)

        clean = slow.walk(slow.embed(pair.clean_ids).clone().requires_grad_(), read)
        with torch.no_grad():
            corrupt = slow.plain(pair.corrupt_ids)
        names = list(clean.inputs)
        grads = torch.autograd.grad(metric(clean.logits, pair), [clean.inputs[n] for n in names])
        for reader, grad in zip(names, grads, strict=True):
            for writer in clean.outputs:
                if slow.sees(writer, reader):
                    delta = corrupt.outputs[writer] - clean.outputs[writer].detach()
                    row, products = graph.writer_index[writer], (delta * grad).sum(-1) / len(pairs)
                    np.add.at(total[row], slow.columns(graph, reader, pair.clean_ids, pair.spans), products.numpy())
    return total
