"""Metrics of logits at the scored position; pure functions, float32, one number per prompt.

KL is ``sum_v p_full (log p_full - log p_circuit)``, summed over the vocabulary. Means over prompts are
taken by the caller, so that intervals can be computed from the same numbers.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor


def logit_difference(
    logits: Float[Tensor, "batch vocab"],
    answer: Int[Tensor, " batch"],
    distractor: Int[Tensor, " batch"],
) -> Float[Tensor, " batch"]:
    """Logit of the answer minus logit of the distractor (IO minus S)."""
    rows = torch.arange(len(logits), device=logits.device)
    return logits[rows, answer] - logits[rows, distractor]


def kl_divergence(
    logits: Float[Tensor, "batch vocab"], full: Float[Tensor, "batch vocab"]
) -> Float[Tensor, " batch"]:
    """KL(full model ‖ circuit) in nats; `full` holds the full model's log-probabilities."""
    return (full.exp() * (full - logits.log_softmax(-1))).sum(-1)


def faithfulness(circuit: float, full: float, empty: float) -> float:
    """Share of the metric that a circuit recovers: 0 = everything corrupted, 1 = full model.

    ``(m(C) - m(0)) / (m(M) - m(0))``, a ratio of means; it can leave [0, 1]. NaN when corruption
    does not move the metric.
    """
    span = full - empty
    return (circuit - empty) / span if abs(span) > 1e-9 else float("nan")
