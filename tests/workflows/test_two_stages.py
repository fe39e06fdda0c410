"""What a run of every size takes of what it learned and of the scores: at each size what is best."""

from __future__ import annotations

import numpy as np
import pytest

from hap_engine.attribution.scorers import score
from hap_engine.evaluation.measure import circuit_kl, kl_of_each
from hap_engine.evaluation.sizes import grid
from hap_engine.graph.circuit import Circuit, full_circuit
from hap_engine.masked.masked_pass import MaskedModel
from hap_engine.masked.prompt_cache import Prepared
from hap_engine.progress import Progress
from hap_engine.pruning.edge_pruning import cut_live
from hap_engine.tasks.pair import EncodedPair
from hap_engine.workflows import two_stages
from hap_engine.workflows.two_stages import _best_of, _least, _ordered_beyond, _ordered_within, go_on, ordered
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


def test_above_its_own_size_a_circuit_grows_by_whichever_order_is_best(
    prepared: Prepared, candidates: Circuit, scored: np.ndarray
) -> None:
    graph, own = candidates.graph, cut_live(candidates, scored, HELD)
    learned, scores = go_on(candidates, shuffled(scored, 0)), -go_on(candidates, scored)  # a score's sign says nothing
    beyond = finish(_ordered_beyond(prepared, own, candidates, [abs(scores), learned], 1))
    assert {*beyond.cells.tolist()} == {*np.flatnonzero(candidates.kept & ~own.kept).tolist()}
    whole = ordered(own, scored[own.kept[candidates.kept]]).then(beyond)
    sizes = [size for size in grid(graph, HELD) if HELD < size < len(candidates)]
    assert len(sizes) > 2
    assert all(not own.live.kept[~whole.circuit(size).kept].any() for size in sizes)
    by_learned = finish(_ordered_beyond(prepared, own, candidates, [learned], 1))
    found = [
        sum(np.log(circuit_kl(prepared, order.circuit(size))) for size in sizes)
        for order in (whole, ordered(own, scored[own.kept[candidates.kept]]).then(by_learned))
    ]
    assert found[0] < found[1]


def test_what_is_better_at_the_runs_own_size_is_taken(
    prepared: Prepared, candidates: Circuit, scored: np.ndarray
) -> None:
    for states in ([-scored, scored], [scored, shuffled(scored, 0)]):
        found, gates = finish(_best_of(prepared, candidates, states, 40, 1))
        assert gates is scored
        assert found == cut_live(candidates, scored, 40)


def test_one_order_may_cut_what_the_other_leaves(prepared: Prepared, candidates: Circuit, scored: np.ndarray) -> None:
    """The right edges come first in one, but in any order; the other has that right, with worthless edges before."""
    best, own = np.argsort(-scored, kind="stable"), 20
    rough, fine = scored.copy(), scored.copy()
    rough[best[: 2 * own]] = np.random.default_rng(1).permutation(scored[best[: 2 * own]])
    fine[best[-own:]] += scored.max()
    found, _ = finish(_best_of(prepared, candidates, [rough, fine], own, 1))
    alone = [circuit_kl(prepared, cut_live(candidates, each, own)) for each in (rough, fine)]
    assert circuit_kl(prepared, found) < min(alone)


def test_what_is_surely_behind_on_a_few_prompts_is_looked_at_no_further(
    prepared: Prepared, candidates: Circuit, scored: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is behind by chance is compared on all of them, and may turn out to be the best."""
    behind, lucky, best = (cut_live(candidates, scored, size) for size in (20, 30, 40))
    noise = np.random.default_rng(0).normal(size=len(prepared.pairs)) * 0.1
    of_each = {behind: 2 + noise, lucky: 1 + noise, best: 1 - noise}
    of_each[lucky][:4] -= 0.01
    of_each[best][4:] -= 0.5
    places, looked = {id(pair): at for at, pair in enumerate(prepared.pairs)}, list[tuple[int, Circuit]]()

    def seen(prompts: Prepared, circuit: Circuit) -> np.ndarray:
        looked.append((len(prompts), circuit))
        return of_each[circuit][[places[id(pair)] for pair in prompts.pairs]]

    monkeypatch.setattr(two_stages, "kl_of_each", seen)
    monkeypatch.setattr(two_stages, "GLANCE", 4)
    found, means = finish(_least(prepared, [*of_each], Progress("prune", 1, 1, "Comparing")))
    rest = len(prepared) - 4
    assert looked == [(4, behind), (4, lucky), (4, best), (rest, lucky), (rest, best)]
    assert found == best
    assert means == {circuit: pytest.approx(of_each[circuit].mean()) for circuit in (lucky, best)}


def test_the_kl_of_each_prompt_is_in_the_order_of_the_prompts(prepared: Prepared, candidates: Circuit) -> None:
    circuit = cut_live(candidates, np.arange(len(candidates), dtype=np.float32), 40)
    alone = [circuit_kl(prepared.chosen([at]), circuit) for at in range(len(prepared))]
    assert kl_of_each(prepared, circuit) == pytest.approx(alone, abs=1e-5)
    assert circuit_kl(prepared, circuit) == pytest.approx(np.mean(alone), abs=1e-5)


def test_below_its_own_size_a_circuit_is_cut_by_whichever_order_loses_least(
    prepared: Prepared, candidates: Circuit, scored: np.ndarray
) -> None:
    graph, own = candidates.graph, cut_live(candidates, scored, 100)
    learned, scores = go_on(candidates, shuffled(scored, 0)), -go_on(candidates, scored)  # a score's sign says nothing
    within = finish(_ordered_within(prepared, own, [abs(scores), learned], 1))
    assert {*within.cells.tolist()} == {*np.flatnonzero(own.kept).tolist()}
    sizes = [size for size in grid(graph, len(own.live)) if size < len(own.live)]
    assert len(sizes) > 1
    first, *_ = sizes
    cuts = [cut_live(own, by[own.kept], first) for by in (learned, abs(scores))]
    kls = [circuit_kl(prepared, cut) for cut in cuts]
    assert kls[1] < kls[0]
    assert within.circuit(first) == cuts[1].live
    alone = finish(_ordered_within(prepared, own, [learned], 1))
    assert [alone.circuit(size) for size in sizes] == [cut_live(own, learned[own.kept], size).live for size in sizes]
