"""What a run of every size takes of what it learned: nothing that is worse than the order of the scores."""

from __future__ import annotations

import numpy as np
import pytest

from hap_engine.attribution.scorers import score
from hap_engine.evaluation.measure import circuit_kl
from hap_engine.evaluation.sizes import grid
from hap_engine.graph.circuit import Circuit, full_circuit
from hap_engine.masked.masked_pass import MaskedModel
from hap_engine.masked.prompt_cache import Prepared
from hap_engine.pruning.edge_pruning import cut_live
from hap_engine.tasks.pair import EncodedPair
from hap_engine.workflows.two_stages import LOOSER, _ordered_within, _settled, go_on, ordered
from tests.builders.tiny_models import finish

HELD = 8


@pytest.fixture(scope="module")
def prepared(gpt2: MaskedModel, pairs: list[EncodedPair]) -> Prepared:
    return finish(Prepared(gpt2, pairs).run())


@pytest.fixture(scope="module")
def candidates(prepared: Prepared) -> Circuit:
    return full_circuit(prepared.masked.graph)


@pytest.fixture(scope="module")
def scored(prepared: Prepared, candidates: Circuit) -> np.ndarray:
    """Gates in the order of good scores."""
    return np.abs(finish(score(prepared, "eap-ig-kl")))[candidates.kept].argsort(kind="stable").argsort() * 0.01


def shuffled(scored: np.ndarray, first: int) -> np.ndarray:
    """The same order up to a place, chance after it."""
    out, order = scored.copy(), np.argsort(-scored, kind="stable")
    out[order[first:]] = np.random.default_rng(0).permutation(scored[order[first:]])
    return out


def test_the_looser_end_of_a_learned_order_is_that_of_the_scores_where_they_are_better(
    prepared: Prepared, candidates: Circuit, scored: np.ndarray
) -> None:
    learned = shuffled(scored, HELD)
    taken = finish(_settled(prepared, candidates, [scored, learned], HELD, HELD, 1))
    best = np.argsort(-learned, kind="stable")[:HELD]
    assert np.array_equal(taken[best], learned[best]), "what was learned keeps its gates"
    n = candidates.graph.n_edges
    before, after = (
        sum(np.log(circuit_kl(prepared, cut_live(candidates, gates, int(share * n)))) for share in LOOSER)
        for gates in (learned, taken)
    )
    assert after < before
    orders = [ordered(candidates, gates).cells for gates in (taken, scored)]
    assert np.array_equal(orders[0][HELD:], orders[1][HELD:])


def test_what_is_good_at_every_size_stays_as_it_was_learned(
    prepared: Prepared, candidates: Circuit, scored: np.ndarray
) -> None:
    assert finish(_settled(prepared, candidates, [-scored, scored], HELD, HELD, 1)) is scored


def test_what_is_worse_at_the_runs_own_size_is_not_taken(
    prepared: Prepared, candidates: Circuit, scored: np.ndarray
) -> None:
    assert finish(_settled(prepared, candidates, [scored, shuffled(scored, 0)], HELD, 40, 1)) is scored


def test_below_its_own_size_a_circuit_is_cut_by_whichever_order_loses_least(
    prepared: Prepared, candidates: Circuit, scored: np.ndarray
) -> None:
    graph, own = candidates.graph, cut_live(candidates, scored, 100)
    learned, scores = go_on(candidates, shuffled(scored, 0)), -go_on(candidates, scored)  # a score's sign says nothing
    within = finish(_ordered_within(prepared, own, learned, [scores], 1))
    assert {*within.cells.tolist()} == {*np.flatnonzero(own.kept).tolist()}
    sizes = [size for size in grid(graph, len(own.live)) if size < len(own.live)]
    assert len(sizes) > 1
    first, *_ = sizes
    cuts = [cut_live(own, by[own.kept], first) for by in (learned, abs(scores))]
    kls = [circuit_kl(prepared, cut) for cut in cuts]
    assert kls[1] < kls[0]
    assert within.circuit(first) == cuts[1].live
    alone = finish(_ordered_within(prepared, own, learned, [], 1))
    assert [alone.circuit(size) for size in sizes] == [cut_live(own, learned[own.kept], size).live for size in sizes]
