"""Scores of edges by an explicit loop, to compare the engine's with."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

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


def metric(logits: torch.Tensor, pair: EncodedPair) -> torch.Tensor:
    return logits[-1, pair.answer_id] - logits[-1, pair.distractor_id]


def by_autograd(masked: MaskedModel, pairs: Sequence[EncodedPair]) -> np.ndarray:
    """``(corrupt_w - clean_w) · d metric / d reader`` of the plain model, no mask anywhere."""
    graph, slow = masked.graph, Slow(masked.model.hf_model)
    total = np.zeros(graph.edge_mask.shape)
    for pair in pairs:

        def read(reader: str, out: dict[str, torch.Tensor]) -> torch.Tensor:
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
                    at = graph.edge(writer, reader)
                    total[at] += float((delta * grad).sum()) / len(pairs)
    return total
