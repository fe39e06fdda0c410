"""Planted circuits: what each method must recover, and the documented failures (docs/ground-truth.md)."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from hap_engine.attribution.scorers import score
from hap_engine.evaluation.measure import circuit_kl, measure
from hap_engine.graph.circuit import Circuit, empty_circuit, full_circuit
from hap_engine.graph.ranking import rank_matrix
from hap_engine.masked.opening import open_masked
from hap_engine.masked.prompt_cache import Prepared
from tests.builders.planted import Planted
from tests.builders.recovery import Method, ep, hap, scorer
from tests.builders.tiny_models import finish
from tests.builders.toys import AT_TOKENS, TOYS

Ready = tuple[Planted, Prepared]


@pytest.fixture(scope="module", params=TOYS)
def ready(request: pytest.FixtureRequest) -> Ready:
    return prepare(request.param)


@pytest.fixture(scope="module")
def cooperation() -> Ready:
    return prepare("cooperation")


def prepare(name: str) -> Ready:
    toy = TOYS[name]()
    return toy, finish(Prepared(open_masked(toy.model), toy.pairs).run())


def test_the_planted_circuit_is_the_whole_mechanism(ready: Ready) -> None:
    """Each right circuit equals the model; the model does the task; corruption destroys it."""
    toy, prepared = ready
    graph = toy.model.graph
    circuits = {str(i): truth for i, truth in enumerate(toy.truths)}
    full, found = finish(measure(prepared.masked, toy.pairs, circuits | {"empty": empty_circuit(graph)}))
    assert full["accuracy"].all()
    assert full["logit_diff"].mean() > 2.5
    assert found["empty"]["logit_diff"].mean() < 0.05
    for name in circuits:
        assert found[name]["kl"].max() < 1e-3
        np.testing.assert_allclose(found[name]["accuracy"], 1)


def test_every_planted_edge_is_needed(ready: Ready) -> None:
    """Without any one of its edges, a right circuit loses the task on some prompts."""
    toy, prepared = ready
    for truth in toy.truths:
        assert truth.live == truth
        without = {}
        for w, r in np.argwhere(truth.kept):
            kept = truth.kept.copy()
            kept[w, r] = False
            without[f"{w} {r}"] = type(truth)(truth.graph, kept)
        _, found = finish(measure(prepared.masked, toy.pairs, without))
        for name in without:
            assert found[name]["kl"].mean() > 0.2, name


def test_the_rest_of_the_model_is_idle(ready: Ready) -> None:
    """All edges but those of the right circuits do nothing together; decoys leak a little."""
    toy, prepared = ready
    union = toy.truths[0] | toy.truths[-1]
    rest = full_circuit(toy.model.graph) - union
    _, found = finish(measure(prepared.masked, toy.pairs, {"rest": rest, "empty": empty_circuit(rest.graph)}))
    moved = np.abs(found["rest"]["logit_diff"] - found["empty"]["logit_diff"])
    assert moved.max() < 0.2


@pytest.mark.parametrize("name", ["copy suppression", "induction"])
def test_first_order_is_enough_for_chains(name: str) -> None:
    toy, prepared = prepare(name)
    for method in (scorer("eap"), scorer("eap-ig"), scorer("eap-ig", "kl")):
        assert toy.recovery(method(toy, prepared, 0)) == (1, 1)


def test_hap_recovers_every_planted_circuit(ready: Ready) -> None:
    toy, prepared = ready
    assert toy.recovery(hap()(toy, prepared, 0)) == (1, 1)


@pytest.mark.parametrize("name", ["redundancy", "cooperation"])
def test_ep_recovers_what_has_no_first_order(name: str) -> None:
    """From all edges EP depends on its seed (docs/ground-truth.md gives the rates); this one works."""
    toy, prepared = prepare(name)
    assert toy.recovery(ep()(toy, prepared, 1)) == (1, 1)


@pytest.mark.parametrize("name", ["redundancy", "cooperation"])
def test_eap_scores_the_flat_paths_exactly_zero(name: str) -> None:
    """The proof is in `toys.cooperation`; here it is the float that is 0."""
    toy, prepared = prepare(name)
    graph, scores = toy.model.graph, finish(score(prepared, "eap"))
    for head in ("a0.h0", "a0.h1"):
        assert scores[graph.edge(head, "m1")] == 0
    assert abs(scores[graph.edge("m1", "logits")]) > 1
    assert toy.recovery(scorer("eap")(toy, prepared, 0))[1] < 0.5
    by_ig = finish(score(prepared, "eap-ig"))
    for head in ("a0.h0", "a0.h1"):
        assert abs(by_ig[graph.edge(head, "m1")]) > 1


def test_a_tight_filter_loses_cooperating_heads_for_good(cooperation: Ready) -> None:
    """The documented failure: what plain EAP drops, no pruning brings back; a looser cut does."""
    toy, prepared = cooperation
    scores = finish(score(prepared, "eap"))
    nonzero = int((scores != 0).sum())
    tight = hap("eap", keep=nonzero / toy.model.graph.n_edges)
    assert toy.recovery(tight(toy, prepared, 0))[1] <= 0.6, "both edges into m1 are gone"
    graph = toy.model.graph
    loose = hap("eap", keep=0.8)
    ranks = rank_matrix(graph, scores)
    assert ranks[graph.edge("a0.h1", "m1")] <= 0.8 * graph.n_edges, "ties follow the graph's order"
    assert toy.recovery(loose(toy, prepared, 0)) == (1, 1)


def test_layer_norm_is_the_identity(ready: Ready) -> None:
    toy, _ = ready
    hf = toy.model.hf_model
    with torch.no_grad():
        out = hf.transformer(torch.tensor([pair.clean_ids for pair in toy.pairs]), output_hidden_states=True)
    before, after = out.hidden_states[0], hf.transformer.h[0].ln_1
    torch.testing.assert_close(after(before), before, atol=1e-5, rtol=1e-5)
    assert before.mean(-1).abs().max() < 1e-6


@pytest.fixture(scope="module")
def placed() -> Ready:
    """The toy whose edge is needed at one token and harmful at another, with positions."""
    return with_positions("places")


def with_positions(name: str) -> Ready:
    toy = AT_TOKENS[name]()
    masked = open_masked(toy.model).at_spans(toy.truths[0].graph.spans)
    return toy, finish(Prepared(masked, toy.pairs).run())


@pytest.mark.parametrize("name", AT_TOKENS)
def test_the_planted_circuit_at_its_tokens_is_the_whole_mechanism(name: str) -> None:
    """It equals the model, and without any one of its edges it loses the task on some prompts."""
    toy, prepared = with_positions(name)
    (truth,) = toy.truths
    assert truth.live == truth
    assert circuit_kl(prepared, truth) < 1e-3
    for w, r in np.argwhere(truth.kept):
        kept = truth.kept.copy()
        kept[w, r] = False
        assert circuit_kl(prepared, Circuit(truth.graph, kept)) > 0.1, truth.graph.readers[r].name


@pytest.mark.parametrize("method", [scorer("eap-ig"), ep(), hap()], ids=["eap-ig", "ep", "hap"])
def test_an_edge_that_is_needed_at_one_token_alone_is_found_there(placed: Ready, method: Method) -> None:
    toy, prepared = placed
    found = method(toy, prepared, 0)
    assert toy.recovery(found) == (1, 1)
    assert circuit_kl(prepared, found) < 1e-3


@pytest.mark.parametrize("name", ["induction", "cooperation"])
def test_hap_recovers_planted_circuits_at_their_tokens(name: str) -> None:
    toy, prepared = with_positions(name)
    assert toy.recovery(hap()(toy, prepared, 0)) == (1, 1)


@pytest.mark.parametrize("method", [scorer("eap-ig"), ep(), hap()], ids=["eap-ig", "ep", "hap"])
def test_without_positions_no_circuit_of_its_size_is_right(placed: Ready, method: Method) -> None:
    toy, _ = placed
    prepared = finish(Prepared(open_masked(toy.model), toy.pairs).run())
    found = method(toy, prepared, 0)
    wanted = toy.truths[0].collapsed()
    assert circuit_kl(prepared, wanted) > 0.3, "the same edges everywhere"
    assert circuit_kl(prepared, found) > 0.3
    four = [("input", "a0.h1<v>"), ("a0.h1", "logits"), *wanted.names()]
    assert circuit_kl(prepared, Circuit.from_names(toy.model.graph, four)) < 1e-3, "twice the edges are"
