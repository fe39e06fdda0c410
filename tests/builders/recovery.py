"""Every method on a planted circuit, at the planted circuit's size."""

from __future__ import annotations

from collections.abc import Callable

from hap_engine.attribution.scorers import SCORERS, score
from hap_engine.graph.circuit import Circuit, full_circuit
from hap_engine.graph.ranking import top_edges, top_live
from hap_engine.masked.prompt_cache import Prepared
from hap_engine.pruning.edge_pruning import cut_live, prune
from hap_engine.settings import PruningConfig
from tests.builders.planted import Planted
from tests.builders.tiny_models import finish

Method = Callable[[Planted, Prepared, int], Circuit]

# Half the default step size: the toys have few edges and few prompts, so gradients are large.
LEARNING = PruningConfig(steps=240, lr=0.5)


def scorer(name: str, metric: str | None = None) -> Method:
    """The best live edges by one scorer."""

    def find(toy: Planted, prepared: Prepared, seed: int) -> Circuit:
        return top_live(prepared.masked.graph, finish(score(prepared, name, metric)), toy.size)

    return find


def ep(config: PruningConfig = LEARNING) -> Method:
    """Edge Pruning from all edges."""

    def find(toy: Planted, prepared: Prepared, seed: int) -> Circuit:
        return _pruned(toy, prepared, full_circuit(prepared.masked.graph), config, seed)

    return find


def hap(name: str = "eap-ig", keep: float | None = None, config: PruningConfig = LEARNING) -> Method:
    """Edge Pruning from the best share `keep` of the edges; None: four times the planted size."""

    def find(toy: Planted, prepared: Prepared, seed: int) -> Circuit:
        graph = prepared.masked.graph
        share = keep or 4 * toy.size / graph.n_edges
        scores = finish(score(prepared, name))
        candidates = top_edges(graph, scores, round(share * graph.n_edges)).live
        return _pruned(toy, prepared, candidates, config, seed)

    return find


def _pruned(toy: Planted, prepared: Prepared, candidates: Circuit, config: PruningConfig, seed: int) -> Circuit:
    log_alpha = finish(prune(prepared, candidates, toy.size, config, seed=seed))
    return cut_live(candidates, log_alpha, toy.size)


def methods() -> dict[str, Method]:
    """Every scorer of the engine, EP and HAP."""
    by_score = {name: scorer(name) for name in SCORERS}
    return {**by_score, "ep": ep(), "hap": hap()}
