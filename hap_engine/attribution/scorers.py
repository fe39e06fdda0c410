"""Edge scorers: how much does the metric change, to first order, when an edge is corrupted?

EAP (Syed et al. 2023, arXiv 2310.10348), with the sign convention of this project::

    score[w, r] = (corrupt_w - clean_w) · d metric / d reader_r  =  - d metric / d m[w, r]   at m = 1

summed over positions, averaged over prompts. Edges that help have negative scores under logit
difference; rankings use the absolute value. One backward pass through the ordinary forward pass
gives all scores (`edge_gradients.py`). (TransformerLens' edge tool differentiates on the corrupt run: swap clean and
corrupt.)

EAP-IG (Hanna et al. 2024, arXiv 2403.17806) replaces the gradient by its mean over `IG_STEPS` points
between the corrupt and the clean embedding, which repairs saturated gradients.

GIM-style scores (arXiv 2505.17630) take the norms' statistics as constants, the softmax's backward pass at
temperature 2, and share products (attention's, a gated MLP's) between their factors: attention that would repair
itself hides less.
RelP-style scores (arXiv 2508.21258) also pass ``a(x) / x`` back through activations instead of the slope.

Under KL(full ‖ circuit) the gradient at m = 1 is exactly zero (KL has its minimum there), so plain
EAP refuses it; EAP-IG leaves that point and can use it.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from hap_engine.attribution.edge_gradients import EdgeGradients
from hap_engine.attribution.gradient_rules import Rules
from hap_engine.errors import SettingsError, UnknownNameError
from hap_engine.evaluation.metrics import kl_divergence, logit_difference, probability_difference
from hap_engine.graph.graph import Graph
from hap_engine.graph.ranking import check_scores, rank_matrix
from hap_engine.machine import memory
from hap_engine.masked import processes
from hap_engine.masked.prompt_cache import Prepared
from hap_engine.progress import Progress
from hap_engine.runs.unfinished import NOWHERE, Place
from hap_engine.settings import IG_STEPS
from hap_engine.words import say

Scores = Float[np.ndarray, "writer reader"]
Metric = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]  # logits, full, answer, distractor
_METRIC_ARGUMENTS = 4


METRICS: dict[str, Metric] = {
    "logit_diff": lambda logits, full, answer, distractor: logit_difference(logits, answer, distractor),
    "prob_diff": lambda logits, full, answer, distractor: probability_difference(logits, answer, distractor),
    "kl": lambda logits, full, answer, distractor: kl_divergence(logits, full),
}


@dataclass(frozen=True)
class Scorer:
    """One way to score edges.

    Attributes:
        points: where between the corrupt (0) and the clean embedding (1) gradients are averaged.
        rules: how gradients flow backwards.
        magnitude: add up absolute values of single positions.
        metric: what is differentiated unless the caller says otherwise.
        parts: scorers whose rankings are averaged; the other fields are then unused.
    """

    points: tuple[float, ...] = (1.0,)
    rules: Rules = field(default_factory=Rules)
    magnitude: bool = False
    metric: str = "logit_diff"
    parts: tuple[str, ...] = ()


_PUBLISHED = tuple(step / IG_STEPS for step in range(IG_STEPS))  # the corrupt end, not the clean one
_MIDPOINTS = tuple((step + 0.5) / IG_STEPS for step in range(IG_STEPS))
_GIM = Rules(norm_share=0.0, temperature=2.0, qk_share=0.25, v_share=0.5, gate_share=0.5)
_RELP = Rules(norm_share=0.0, qk_share=0.25, v_share=0.5, gate_share=0.5, secant=True)

SCORERS: dict[str, Scorer] = {
    "eap": Scorer(),  # the gradient on the clean prompt times the change of each writer
    "eap-abs": Scorer(magnitude=True),
    "eap-gim": Scorer(rules=_GIM),  # gradients corrected for self-repair of attention
    "eap-relp": Scorer(rules=_RELP),  # relevance coefficients instead of slopes
    "eap-ig": Scorer(_PUBLISHED),
    "eap-ig-mid": Scorer(_MIDPOINTS),
    "eap-ig-kl": Scorer(_PUBLISHED, metric="kl"),  # of the whole next-token distribution
    "rank-mean": Scorer(parts=("eap-ig", "eap-ig-kl")),
}


def score(
    prepared: Prepared,
    scorer: str = "eap",
    metric: str | Metric | None = None,
    batch_size: int = 16,
    place: Place = NOWHERE,
) -> Generator[Progress, None, Scores]:
    """Scores of all real edges (0 elsewhere), averaged over the prompts.

    Args:
        metric: the name of one (`METRICS`) or your own; None: the scorer's.
        place: keeps the sum over the batches so far.

    Raises:
        UnknownNameError: for an unknown scorer or metric.
        SettingsError: for KL at the clean point, a metric of other arguments, and when the scores are not finite
            or all zero.
    """
    if scorer not in SCORERS:
        raise UnknownNameError("scorer", scorer, SCORERS)
    chosen = SCORERS[scorer]
    if chosen.parts:
        of_parts = []
        for part in chosen.parts:
            scores = yield from score(prepared, part, metric, batch_size, place.at(part))
            of_parts.append(scores)
        return mean_rank(prepared.masked.graph, of_parts)
    metric = chosen.metric if metric is None else metric
    measure = find_metric(metric)
    if chosen.points == (1.0,) and measure is METRICS["kl"]:
        raise SettingsError(say("attribution.kl_at_clean"))
    masked = prepared.masked
    found = place.found()
    total = torch.from_numpy(found.get("total", np.zeros(masked.graph.edge_mask.shape, np.float32))).to(masked.device)
    chunks, before = prepared.parts(range(len(prepared)), batch_size), found.get("done", 0)
    for at in range(before, len(chunks), processes.count()):
        now = chunks[at : at + processes.count()]
        total -= processes.added(now, lambda indices: _mask_gradient(prepared, indices, chosen, measure), total)
        done = at + len(now)
        if done % memory.TRIM_BATCHES == 0 or done == len(chunks):
            memory.trim()
        place.offer(f"scoring edges, batch {done} of {len(chunks)}", partial(_so_far, total, done))
        yield Progress("score", done, len(chunks), "Scoring every edge from gradients")
    scores = (total / len(prepared)).cpu().numpy()
    check_scores(masked.graph, scores, f"{scorer} ({metric if isinstance(metric, str) else 'your metric'})")
    return scores


def _so_far(total: Tensor, done: int) -> dict[str, Any]:
    return {"total": total.cpu().numpy().copy(), "done": done}


def score_each(
    prepared: Prepared, scorer: str, place: Place = NOWHERE
) -> Generator[Progress, None, list[Float[np.ndarray, "prompt writer reader"]]]:
    """Scores of each prompt by itself, for `weighted`: one table for each scorer that is a mean over prompts."""
    chosen = SCORERS[scorer]
    if chosen.parts:
        tables = []
        for part in chosen.parts:
            tables += yield from score_each(prepared, part, place.at(part))
        return tables
    metric, rows = METRICS[chosen.metric], [*place.found().get("rows", ())]
    for index in range(len(rows), len(prepared)):
        rows.append(-_mask_gradient(prepared, [index], chosen, metric).cpu().numpy())
        place.offer(f"scoring edges, prompt {index + 1} of {len(prepared)}", lambda: {"rows": np.stack(rows)})
        yield Progress("score", index + 1, len(prepared), "Scoring every edge, prompt by prompt")
    place.keep(rows=np.stack(rows))
    return [np.stack(rows)]


def weighted(
    graph: Graph, each: Sequence[Float[np.ndarray, "prompt writer reader"]], times: Int[np.ndarray, " prompt"]
) -> Scores:
    """The scores on a sample of prompts, in which each is so many times."""
    share = (times / times.sum()).astype(np.float32)
    means = [np.tensordot(share, table, 1) for table in each]
    return means[0] if len(means) == 1 else mean_rank(graph, means)


def find_metric(metric: str | Metric) -> Metric:
    """The metric of a name, or one's own if it takes what a metric is given."""
    if isinstance(metric, str):
        if metric not in METRICS:
            raise UnknownNameError("metric", metric, METRICS)
        return METRICS[metric]
    taken = len(inspect.signature(metric).parameters)
    if taken != _METRIC_ARGUMENTS:
        raise SettingsError(say("attribution.arguments", wanted=_METRIC_ARGUMENTS, taken=taken))
    return metric


def mean_rank(graph: Graph, several: Sequence[Scores]) -> Scores:
    """One score from several: 1 for an edge that all rank first, towards 0 for the last."""
    ranks = np.mean([rank_matrix(graph, scores) for scores in several], axis=0)
    return np.where(graph.edge_mask, 1 - (ranks - 1) / graph.n_edges, 0).astype(np.float32)


def _mask_gradient(
    prepared: Prepared, indices: list[int], scorer: Scorer, metric: Metric
) -> Float[Tensor, "writer reader"]:
    """Sum over prompts of d metric / d m, its gradient averaged over the scorer's points."""
    batch, corrupt, clean, full = prepared.batch(indices)
    kind: dict[str, Any] = {"rules": scorer.rules, "spans": batch.spans, "magnitude": scorer.magnitude}
    gradients = EdgeGradients(prepared.masked, clean, corrupt, batch.last, **kind)

    def value(logits: Tensor) -> Tensor:
        return metric(logits, full, batch.answer, batch.distractor).sum() / len(scorer.points)

    for point in scorer.points:
        gradients.add(point, value)
    return gradients.close()
