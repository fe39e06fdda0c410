"""Short words for masked passes on tiny models."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from hap_engine.graph.circuit import Circuit, random_circuit
from hap_engine.graph.graph import Span
from hap_engine.masked.masked_pass import MaskedModel
from hap_engine.tasks.pair import EncodedPair
from hap_engine.tasks.spans import END, in_spans
from hap_engine.transformer.batches import to_batch

LENGTHS = [9, 4, 7]


def run(masked: MaskedModel, mask: Tensor | Circuit, pairs: Any, **more: Any) -> Tensor:
    if isinstance(mask, Circuit):
        mask = torch.from_numpy(mask.kept).float()
    batch = to_batch(pairs, masked.device)
    corrupt = masked.trace(batch.corrupt, batch.last)
    return masked.logits(mask, masked.embed(batch.clean), corrupt, batch.last, batch.spans, **more)


def real_mask(masked: MaskedModel, seed: int, density: float = 1.0) -> Tensor:
    """Real numbers in [-0.5, 1.5] on a share of the real edges, all of them live."""
    graph, rng = masked.graph, np.random.default_rng(seed)
    kept = random_circuit(graph, round(density * graph.n_edges), rng).kept
    return torch.from_numpy(kept * rng.uniform(-0.5, 1.5, kept.shape)).float()


def close(got: Tensor, want: Tensor, tolerance: float = 1e-4) -> bool:
    return bool((got - want).abs().max() <= tolerance * want.abs().max())


def in_random_spans(
    pairs: list[EncodedPair], names: list[str], seed: int = 0
) -> tuple[list[EncodedPair], tuple[Span, ...]]:
    """Prompts whose tokens lie in spans drawn at random, some of which a prompt lacks."""
    rng = np.random.default_rng(seed)
    drawn = [[*rng.choice(names, len(pair.clean_ids) - 1).tolist(), END] for pair in pairs]
    return in_spans(pairs, drawn)
