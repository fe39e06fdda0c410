"""Short words for masked passes on tiny models."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from hap_engine.graph.circuit import Circuit, random_circuit
from hap_engine.masked.masked_pass import MaskedModel
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
