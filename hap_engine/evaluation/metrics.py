"""Metrics of logits at the scored position; pure functions, float32, one number per prompt.

KL is ``sum_v p_full (log p_full - log p_circuit)``, summed over the vocabulary. Means over prompts are
taken by the caller, so that intervals can be computed from the same numbers.

Answers and distractors are sets of tokens (of one token each in IOI; the later and the earlier years in
greater-than), as rows of ids padded with `NO_TOKEN`. The logit difference of two sets is

    logsumexp(logits of the answers) - logsumexp(logits of the distractors)
        = log P(an answer comes next) - log P(a distractor comes next)

which for sets of one token is exactly the usual logit difference. (A mean over each set would reward a
circuit for raising answers that nobody would say; a maximum has no gradient for the others.)
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor


def logit_difference(
    logits: Float[Tensor, "batch vocab"],
    answer: Int[Tensor, "batch answers"],
    distractor: Int[Tensor, "batch distractors"],
) -> Float[Tensor, " batch"]:
    """Log-odds of the answers against the distractors (logit of IO minus logit of S)."""
    return set_logit(logits, answer) - set_logit(logits, distractor)


def probability_difference(
    logits: Float[Tensor, "batch vocab"],
    answer: Int[Tensor, "batch answers"],
    distractor: Int[Tensor, "batch distractors"],
) -> Float[Tensor, " batch"]:
    """P(an answer) minus P(a distractor); greater-than's own metric (Hanna et al. 2023)."""
    log_probabilities = logits.log_softmax(-1)
    return set_logit(log_probabilities, answer).exp() - set_logit(log_probabilities, distractor).exp()


def set_logit(logits: Float[Tensor, "batch vocab"], ids: Int[Tensor, "batch tokens"]) -> Float[Tensor, " batch"]:
    """logsumexp of each row's logits at its own token ids; the logit itself where there is one."""
    chosen = logits.gather(-1, ids.clamp(min=0))
    return chosen.masked_fill(ids < 0, float("-inf")).logsumexp(-1)


def among(tokens: Int[Tensor, " batch"], ids: Int[Tensor, "batch tokens"]) -> Float[Tensor, " batch"]:
    """1 where a row's token is in the row's set, else 0."""
    return (tokens[:, None] == ids).any(-1).float()


def kl_divergence(logits: Float[Tensor, "batch vocab"], full: Float[Tensor, "batch vocab"]) -> Float[Tensor, " batch"]:
    """KL(full model ‖ circuit) in nats; `full` holds the full model's log-probabilities."""
    return _KL.apply(logits, full)


class _KL(torch.autograd.Function):
    """Its gradient is the difference of the two distributions."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, full: Tensor) -> Tensor:
        ours, theirs = logits.log_softmax(-1), full.exp()
        ctx.save_for_backward(ours, theirs)
        return (theirs * (full - ours)).sum(-1).clamp(min=0)  # below it is rounding

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        ours, theirs = ctx.saved_tensors
        return (ours.exp() - theirs).mul_(grad[..., None]), None


def deviation(
    circuit: Float[np.ndarray, " prompt"], full: Float[np.ndarray, " prompt"], empty: Float[np.ndarray, " prompt"]
) -> Float[np.ndarray, " prompt"]:
    """How far a circuit is from the full model on each prompt, in [0, 1]: 0 = the same, 1 = as far as no circuit.

    ``min(|m(M) - m(C)| / |m(M) - m(0)|, 1)``, 1 minus the normalised deviation faithfulness of Wu et al. 2025 (arXiv
    2509.24808). Unlike `faithfulness` it is bounded and counts overshooting as distance; where corruption does not move
    the metric it is 0 for the same value and 1 for any other.
    """
    gap, span = np.abs(full - circuit), np.abs(full - empty)
    return np.minimum(gap, span) / np.where(span > 0, span, 1) + ((span == 0) & (gap > 0))


def faithfulness(circuit: float, full: float, empty: float) -> float:
    """Share of the metric that a circuit recovers: 0 = everything corrupted, 1 = full model.

    ``(m(C) - m(0)) / (m(M) - m(0))``, a ratio of means; it can leave [0, 1]. NaN when corruption
    does not move the metric.
    """
    span = full - empty
    return (circuit - empty) / span if abs(span) > 1e-9 else float("nan")
