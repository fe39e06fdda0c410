"""Edge scorers: how much does the metric change, to first order, when an edge is corrupted?

EAP (Syed et al. 2023, arXiv 2310.10348), with the sign convention of this project::

    score[w, r] = (corrupt_w - clean_w) · d metric / d reader_r  =  - d metric / d m[w, r]   at m = 1

summed over positions, averaged over prompts. Edges that help have negative scores under logit
difference; rankings use the absolute value. One backward pass through the masked forward gives all
scores. (TransformerLens' edge tool differentiates on the corrupt run: swap clean and corrupt.)

EAP-IG (Hanna et al. 2024, arXiv 2403.17806) replaces the gradient by its mean over `IG_STEPS` points
between the corrupt and the clean embedding, which repairs saturated gradients.

Under KL(full ‖ circuit) the gradient at m = 1 is exactly zero (KL has its minimum there), so plain
EAP refuses it; EAP-IG leaves that point and can use it.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from hap_engine.errors import SettingsError, UnknownNameError
from hap_engine.gradients import EdgeGradients
from hap_engine.metrics import kl_divergence, logit_difference, probability_difference
from hap_engine.patching import MaskedModel
from hap_engine.prepared import Prepared
from hap_engine.progress import Progress

IG_STEPS = 5  # the published demo's number; 30 changes the ranking little for six times the cost

Scores = Float[np.ndarray, "writer reader"]
Metric = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]  # logits, full, answer, distractor


def _logit_difference(logits: Tensor, full: Tensor, answer: Tensor, distractor: Tensor) -> Tensor:
    return logit_difference(logits, answer, distractor)


def _kl(logits: Tensor, full: Tensor, answer: Tensor, distractor: Tensor) -> Tensor:
    return kl_divergence(logits, full)


def _prob_diff(logits: Tensor, full: Tensor, answer: Tensor, distractor: Tensor) -> Tensor:
    return probability_difference(logits, answer, distractor)


METRICS: dict[str, Metric] = {
    "logit_diff": _logit_difference,
    "prob_diff": _prob_diff,
    "kl": _kl,
}


def _eap_points() -> list[float]:
    return [1.0]


def _ig_points() -> list[float]:
    """The published step set: the corrupt end included, the clean one not."""
    return [step / IG_STEPS for step in range(IG_STEPS)]


SCORERS: dict[str, Callable[[], Iterable[float]]] = {"eap": _eap_points, "eap-ig": _ig_points}


def score(
    prepared: Prepared, scorer: str = "eap", metric: str = "logit_diff", batch_size: int = 16
) -> Generator[Progress, None, Scores]:
    """Scores of all real edges (0 elsewhere), averaged over the prompts.

    Raises:
        UnknownNameError: for an unknown scorer or metric.
        SettingsError: for plain EAP with KL, and when the scores are not finite or all zero.
    """
    if scorer not in SCORERS:
        raise UnknownNameError("scorer", scorer, SCORERS)
    if metric not in METRICS:
        raise UnknownNameError("metric", metric, METRICS)
    if scorer == "eap" and metric == "kl":
        raise SettingsError(
            "Plain EAP cannot use KL: KL(full ‖ circuit) is at its minimum when every edge is kept, "
            "so its gradient there is zero for every edge. Use the logit difference, or EAP-IG."
        )
    masked, points = prepared.masked, list(SCORERS[scorer]())
    total = torch.zeros(masked.graph.edge_mask.shape, device=masked.device)
    order = sorted(range(len(prepared)), key=lambda i: len(prepared.pairs[i].clean_ids))
    chunks = [order[start : start + batch_size] for start in range(0, len(order), batch_size)]
    for done, indices in enumerate(chunks, 1):
        total -= _mask_gradient(masked, prepared, indices, points, METRICS[metric])
        yield Progress("score", done, len(chunks), "Scoring every edge from gradients")
    scores = (total / len(prepared)).cpu().numpy()
    _check(scores, scorer, metric)
    return scores


def _mask_gradient(
    masked: MaskedModel,
    prepared: Prepared,
    indices: list[int],
    points: list[float],
    metric: Metric,
) -> Float[Tensor, "writer reader"]:
    """Sum over prompts of d metric / d m, its gradient averaged over `points` (1 = clean)."""
    batch, corrupt, clean, full = prepared.batch(indices)
    gradients = EdgeGradients(masked, clean, corrupt, batch.last)

    def value(logits: Tensor) -> Tensor:
        return metric(logits, full, batch.answer, batch.distractor).sum() / len(points)

    for point in points:
        gradients.add(point, value)
    return gradients.close()


def _check(scores: Scores, scorer: str, metric: str) -> None:
    if not np.isfinite(scores).all():
        raise SettingsError(
            f"Expected finite scores, got NaN or infinity from {scorer} ({metric}). "
            "The model overflows on these prompts; use float32 and check the prompts."
        )
    if not scores.any():
        raise SettingsError(
            f"Every edge scored exactly 0 under {scorer} ({metric}), so there is nothing to rank. "
            "The metric does not depend on what the corruption changes; choose other prompts."
        )
