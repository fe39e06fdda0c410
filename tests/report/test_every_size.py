"""The circuit of any size from one run, and the sentence on where heads are lost."""

from __future__ import annotations

import json
from typing import Any

import pytest

from hap_engine.errors import RunFileError, SettingsError, UnknownNameError
from hap_engine.graph.graph import Graph
from hap_engine.masked.masked_pass import MaskedModel
from hap_engine.report.every_size import circuit_at, size_verdict, survivals
from hap_engine.runs.examples import example
from hap_engine.runs.record import Run
from hap_engine.runs.run_file import dumps, loads
from hap_engine.settings import DiscoveryConfig, PruningConfig
from hap_engine.workflows.discover import discover
from tests.builders.fakes import fake_run
from tests.builders.tiny_models import SIZES, finish


@pytest.fixture(scope="module")
def run(gpt2: MaskedModel) -> Run:
    pruning = PruningConfig(steps=12, batch_size=4)
    config = DiscoveryConfig(model="tiny", sparsity=0.8, pruning=pruning, sizes=SIZES)
    return finish(discover(config, gpt2.model))


def test_the_circuit_of_the_run_is_the_one_of_its_size(run: Run) -> None:
    main = run.circuits["hap"].circuit
    assert circuit_at(run, "hap", len(main)) == main
    smaller = circuit_at(run, "hap", len(main) // 2)
    assert len(smaller) <= len(main) // 2
    assert not (smaller.kept & ~main.kept).any()
    assert len(run.history) == 12
    assert [record["step"] for record in run.history] == list(range(1, 13))


def test_a_file_gives_the_same_circuits(run: Run) -> None:
    again = loads(dumps(run))
    assert list(again.orders) == ["eap", "eap-ig-kl", "hap"]
    for name in run.orders:
        for size in run.sizes["grid"]:
            assert again.orders[name].circuit(size) == run.orders[name].circuit(size)
    assert [s.smallest for s in survivals(again)] == [s.smallest for s in survivals(run)]


def test_what_there_is_not_is_told(run: Run) -> None:
    with pytest.raises(UnknownNameError, match=r"no order named 'epa'\. Did you mean 'eap'"):
        circuit_at(run, "epa", 5)
    with pytest.raises(SettingsError, match=r"up to .* where this run's orders end"):
        circuit_at(run, "hap", run.graph.n_edges)
    with pytest.raises(SettingsError, match="preset standard"):
        circuit_at(fake_run(), "hap", 5)
    least = run.orders["hap"].sizes[0]
    for size in range(least):
        with pytest.raises(SettingsError, match=rf"at least {least} edges, HAP's smallest circuit .* got {size}"):
            circuit_at(run, "hap", size)
    assert size_verdict(fake_run()) == ""


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"grid": [5, 9]}, "grid of sizes should fall"),
        ({"grid": [9, "5"]}, "a whole number"),
        ({"orders": {"eap": [0, 0]}}, "twice"),
        ({"orders": {"eap": [10**9]}}, "edges of its graph"),
        ({"orders": {"eap": [-1]}}, "edges of its graph"),
        ({"orders": {"new": [0]}}, "lack metrics"),
        ({"version": 2}, "reads 1"),
    ],
)
def test_a_damaged_section_is_refused(run: Run, change: dict[str, Any], told: str) -> None:
    data = json.loads(dumps(run))
    data["sizes"] |= change
    with pytest.raises(RunFileError, match=told):
        loads(json.dumps(data))


def planted(*heads: str, **records: Any) -> Run:
    """EAP keeps a0.h0 to 3 edges and a0.h1 to 5, HAP a0.h1 to 2 and a0.h0 to 5."""
    graph = Graph(2, 2, 2)
    edges = [("input", "a0.h0<q>"), ("a0.h0", "a1.h1<v>"), ("a1.h1", "logits"), ("a0.h1", "logits")]
    edges += [("input", "a0.h1<v>"), ("input", "logits")]
    width = len(graph.readers)
    cells = [w * width + r for w, r in (graph.edge(*names) for names in edges)]
    roles = {"heads": {head: {"role": "s_inhibition"} for head in heads}} | records
    sizes = {"grid": [6, 4], "orders": {"eap": cells, "hap": cells[3:5] + cells[:3] + cells[5:]}}
    run = Run(**{**example().__dict__, "graph": graph, "circuits": {}, "roles": roles, "sizes": sizes})
    object.__setattr__(run, "circuits", dict.fromkeys(("eap", "hap")))
    return run


def test_the_sentence_says_where_heads_are_lost() -> None:
    run = planted("a0.h0", "a0.h1")
    at = f"{100 * (1 - 4 / run.graph.n_edges):.4g}%"
    assert size_verdict(run) == (
        f"EAP alone drops a0.h1 at {at} and keeps one of the two S-inhibition heads to {at}; "
        f"HAP drops a0.h0 at {at} and keeps one of the two S-inhibition heads to {at}."
    )
    assert {one.head: one.smallest for one in survivals(run)} == {
        "a0.h1": {"eap": 5, "hap": 2},
        "a0.h0": {"eap": 3, "hap": 5},
    }
    one = size_verdict(planted("a0.h1"))
    assert one.startswith(f"EAP alone drops a0.h1, the only head of this role, at {at}; HAP keeps a0.h1, the only")
    assert "none of the two S-inhibition heads" in size_verdict(planted("a1.h0", "m0"))


def test_heads_stand_by_measured_effect_and_one_that_only_just_passes_is_marginal() -> None:
    def head(effect: float, attention: float) -> dict[str, Any]:
        return {"role": "s_inhibition", "evidence": {"attention END->S2": attention, "mover_effect": effect}}

    limits = {"thresholds": {"attention": 0.2, "path_effect": 0.01}}
    run = planted(heads={"a0.h0": head(0.012, 0.7), "a0.h1": head(0.4, 0.7), "a1.h1": head(0.2, 0.21)}, **limits)
    assert [one.title for one in survivals(run)] == ["a0.h1", "a1.h1 (marginal)", "a0.h0 (marginal)"]
    assert "HAP drops a1.h1 (marginal) at" in size_verdict(run)
