"""Edges in the order of their scores, and circuits of the best of them."""

from __future__ import annotations

import math
from bisect import bisect_left

import numpy as np
from jaxtyping import Float

from hap_engine.errors import SettingsError
from hap_engine.graph.circuit import Circuit
from hap_engine.graph.graph import Graph
from hap_engine.words import say


def edge_budget(graph: Graph, sparsity: float) -> int:
    """Edges that a sparsity allows: ``floor(E (1 - sparsity) + 1e-9)``.

    Raises:
        SettingsError: if `sparsity` is outside (0, 1) or leaves fewer edges than one path through
            the model needs (``input`` to a head or MLP, and on to ``logits``).
    """
    if not 0 < sparsity < 1:
        raise SettingsError(f"Expected a sparsity between 0 and 1 (0.98 keeps 2 % of the edges), got {sparsity:g}.")
    budget = int(graph.n_edges * (1 - sparsity) + 1e-9)
    if budget < 2:
        most, least = math.floor(1e6 * (1 - 2 / graph.n_edges)) / 1e6, math.ceil(2e6 / graph.n_edges) / 1e4
        kept = 100 * (1 - sparsity)
        told = say("graph.no_path", kept=kept, sparsity=sparsity, budget=budget, graph=graph, most=most, least=least)
        raise SettingsError(told)
    return budget


def check_scores(graph: Graph, scores: Float[np.ndarray, "writer reader"], source: str) -> None:
    """Raises SettingsError, naming their source, if there is nothing to rank: NaN, infinity, or all zero."""
    real = np.asarray(scores)[graph.edge_mask]
    if not np.isfinite(real).all():
        raise SettingsError(say("graph.not_finite", source=source, bad=int((~np.isfinite(real)).sum()), real=real))
    if not real.any():
        raise SettingsError(say("graph.all_zero", source=source))


def ranking(graph: Graph, scores: Float[np.ndarray, "writer reader"]) -> tuple[np.ndarray, np.ndarray]:
    """Rows and columns of all real edges, largest absolute score first (ties in graph order)."""
    rows, columns = np.nonzero(graph.edge_mask)
    order = np.argsort(-np.abs(scores[rows, columns]), kind="stable")
    return rows[order], columns[order]


def rank_matrix(graph: Graph, scores: Float[np.ndarray, "writer reader"]) -> np.ndarray:
    """Rank of every real edge by absolute score, 1 = largest; 0 where there is no edge."""
    ranks = np.zeros(graph.edge_mask.shape, dtype=np.int64)
    ranks[ranking(graph, scores)] = np.arange(1, graph.n_edges + 1)
    return ranks


def top_edges(graph: Graph, scores: Float[np.ndarray, "writer reader"], count: int) -> Circuit:
    """The `count` real edges of largest absolute score, dead ones included."""
    rows, columns = ranking(graph, scores)
    kept = np.zeros_like(graph.edge_mask)
    kept[rows[:count], columns[:count]] = True
    return Circuit(graph, kept)


def top_live(graph: Graph, scores: Float[np.ndarray, "writer reader"], live: int) -> Circuit:
    """The shortest prefix of the ranking with at least `live` live edges.

    The live count never falls as edges are added, so bisection finds it. One more edge can revive
    several, so the result may hold a few live edges more than asked for, never fewer.
    """
    counts = range(min(live, graph.n_edges), graph.n_edges)
    shortest = bisect_left(counts, live, key=lambda count: len(top_edges(graph, scores, count).live))
    return top_edges(graph, scores, counts.start + shortest)
