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
from tests.builders.tiny_models import SIZES, finish


@pytest.fixture(scope="module")
def run(gpt2: MaskedModel) -> Run:
    pruning = PruningConfig(budget="every-size", steps=12, batch_size=4)
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
            assert circuit_at(again, name, size) == circuit_at(run, name, size)
    assert [s.smallest for s in survivals(again)] == [s.smallest for s in survivals(run)]


def test_what_there_is_not_is_told(run: Run) -> None:
    with pytest.raises(UnknownNameError, match=r"no order named 'epa'\. Did you mean 'eap'"):
        circuit_at(run, "epa", 5)
    with pytest.raises(SettingsError, match=r"up to .* where this run's orders end"):
        circuit_at(run, "hap", run.graph.n_edges)
    with pytest.raises(SettingsError, match="preset every-size"):
        circuit_at(example(), "hap", 5)
    assert size_verdict(example()) == ""


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


def test_the_sentence_says_where_heads_are_lost() -> None:
    graph = Graph(2, 2, 2)
    edges = [("input", "a0.h0<q>"), ("a0.h0", "a1.h1<v>"), ("a1.h1", "logits"), ("a0.h1", "logits")]
    edges += [("input", "a0.h1<v>"), ("input", "logits")]
    base = example()
    width = len(graph.readers)
    cells = [w * width + r for w, r in (graph.edge(*names) for names in edges)]
    roles = {"heads": {head: {"role": "s_inhibition"} for head in ("a0.h0", "a0.h1")}}
    sizes = {"grid": [6, 3], "orders": {"eap": cells, "hap": cells[3:5] + cells[:3] + cells[5:]}}
    planted = Run(**{**base.__dict__, "graph": graph, "circuits": {}, "roles": roles, "sizes": sizes})
    object.__setattr__(planted, "circuits", dict.fromkeys(("eap", "hap")))
    share = 100 * (1 - 5 / graph.n_edges)
    said = size_verdict(planted)
    assert said.startswith(f"EAP drops a0.h1 beyond {share:.4g}% of the edges removed, and keeps a0.h0 to")
    assert f"HAP drops a0.h0 beyond {share:.4g}% of the edges removed, and keeps a0.h1 to" in said
    (first, second) = survivals(planted)
    assert (first.head, first.smallest) == ("a0.h1", {"eap": 5, "hap": 2})
    assert (second.head, second.smallest) == ("a0.h0", {"eap": 3, "hap": 5})
