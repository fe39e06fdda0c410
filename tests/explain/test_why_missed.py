"""Why a head was missed: exact effects agree with a full masked pass; each cause gets its words."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from hap_engine.errors import SettingsError
from hap_engine.explain.what_if import Bench
from hap_engine.explain.why_missed import MAX_EDGES, chosen_edges, explain
from hap_engine.graph.circuit import full_circuit
from hap_engine.graph.edits import Change, apply, edges_of
from hap_engine.masked.masked_pass import MaskedModel
from hap_engine.report.missed_heads import EdgeEffect, Explanation, missed_heads
from hap_engine.runs.record import Run
from hap_engine.tasks.pair import EncodedPair
from tests.builders.fakes import fake_run
from tests.builders.tiny_models import finish


@pytest.mark.parametrize("family", ["gpt2", "llama", "neox"])
def test_one_cut_edge_equals_the_whole_masked_pass(models, pairs: list[EncodedPair], family: str) -> None:  # type: ignore[no-untyped-def]
    masked: MaskedModel = models(family)
    bench, graph = Bench(masked, pairs[:3]), masked.graph
    whole = full_circuit(graph)
    rng = np.random.default_rng(0)
    cells = [cell for node in ("a0.h1", "m0", "a1.h3") for cell in edges_of(graph, node)]
    for index in rng.choice(len(cells), 20, replace=False):
        w, r = cells[index]
        edge = f"{graph.writers[w].name}->{graph.readers[r].name}"
        want = bench.read(apply(whole, [Change(False, (edge,))]))
        got = bench.without_edge((w, r))
        np.testing.assert_allclose(got.logit_diff, want.logit_diff, atol=2e-4, err_msg=edge)
        np.testing.assert_allclose(got.kl, want.kl, atol=2e-4, err_msg=edge)


def test_missed_heads_are_those_of_one_circuit_only_roles_first() -> None:
    run = fake_run()
    heads = missed_heads(run, "eap", "hap")
    assert set(heads) == run.circuits["hap"].circuit.heads - run.circuits["eap"].circuit.heads
    assert len(heads) == len(set(heads))
    with_role = [head in run.roles["heads"] for head in heads]
    assert with_role == sorted(with_role, reverse=True)
    assert missed_heads(run, "hap", "hap") == ()


def test_a_head_is_explained_by_its_edges_in_the_circuit(gpt2: MaskedModel, pairs: list[EncodedPair]) -> None:
    made = fake_run(gpt2.graph, edges=30)
    tests = [{**pair.pair.to_dict(), "roles": {}} for pair in pairs[:4]]
    run: Run = replace(made, prompts={"test": tests})
    head = missed_heads(run, "eap", "hap")[0]
    found = finish(explain(gpt2, run, head, "eap", "hap"))
    assert found.n_prompts == 4
    assert 1 <= len(found.edges) == len(chosen_edges(run, head, "hap")) <= MAX_EDGES
    assert all(np.isfinite([e.estimate, e.exact, e.in_circuit]).all() for e in found.edges)
    assert found.cut > 0
    assert head in found.how or "close" in found.how
    with pytest.raises(SettingsError, match="no test prompts"):
        finish(explain(gpt2, made, head, "eap", "hap"))


def explanation(estimate: float, exact: float, inside: float, **changes: object) -> Explanation:
    edge = EdgeEffect("a0.h0", "a1.h0<q>", estimate, exact, inside)
    base = Explanation("a1.h0", "eap", "hap", (edge,), exact, inside, 0.1, 0, 0, False, 8)
    return replace(base, **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("numbers", "words"),
    [
        ((-0.1, -2.0, -1.0), "far too small"),
        ((-0.5, -0.02, -1.0), "far too large"),
        ((0.3, -0.4, -1.0), "wrong sign"),
        ((-0.05, -0.06, -1.0), "other parts stand in"),
        ((-0.5, -0.75, -1.0), "estimate is too small."),
        ((-0.75, -0.5, -1.0), "estimate is too large."),
        ((-0.5, -0.6, -0.7), "do not show why EAP misses the head"),
    ],
)
def test_the_cause_is_read_from_the_numbers(numbers: tuple[float, float, float], words: str) -> None:
    assert words in explanation(*numbers).why


def test_edges_act_together_only_where_that_was_measured() -> None:
    alone, together = (explanation(-0.5, -0.6, -0.7, head_in_circuit=all_of_it).why for all_of_it in (-0.8, -2.1))
    assert "together" not in alone
    assert "All edges of a1.h0 together change it by -2.10" in together


def test_how_it_fell_out_is_read_from_the_counts() -> None:
    def how(into: int, out: int, close: bool = False) -> str:
        return explanation(1, 1, 1, passed_in=into, passed_out=out, close=close).how

    assert "On these 8 prompts no single edge" in how(0, 0)
    assert "3 edges out of a1.h0 would pass" in how(0, 3)
    assert "1 edge into a1.h0 would pass" in how(1, 0)
    assert "lead nowhere" in how(1, 1)
    assert "It was close" in how(1, 1, close=True)
    assert how(1, 1, close=True).endswith("its edges fall below the cut.")
    dead = explanation(1, 1, 1, passed_in=1, passed_out=1, close=True, rank=8, kept=30).how
    assert "its best edge is kept too (rank 8 of 30), but none that would complete a path" in dead
