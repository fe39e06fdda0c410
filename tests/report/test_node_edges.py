"""What a detail panel lists of a node: every edge once, with the values that the circuits state."""

from __future__ import annotations

import math

import numpy as np
import pytest

from hap_engine.graph.graph import Graph
from hap_engine.report.node_edges import edges_at, keepers
from hap_engine.runs.record import Run
from tests.builders.fakes import fake_run

RUNS = [fake_run(), fake_run(Graph(3, 4, 4, parallel=True), edges=40, seed=2)]


@pytest.mark.parametrize("run", RUNS, ids=["grouped", "parallel"])
def test_edges_of_all_nodes_are_the_edges_of_the_circuits(run: Run) -> None:
    sides = ("eap", "hap")
    names = {tuple(n) for key in sides for n in run.circuits[key].circuit.names()}
    out = {(e.writer, e.reader) for w in run.graph.writers for e in edges_at(run, w.name, sides) if not e.into}
    into = {
        (e.writer, e.reader)
        for node in (*(w.name for w in run.graph.writers[1:]), "logits")
        for e in edges_at(run, node, sides)
        if e.into
    }
    assert out == into == names


@pytest.mark.parametrize("run", RUNS, ids=["grouped", "parallel"])
def test_values_are_those_of_the_record(run: Run) -> None:
    record = run.circuits["hap"]
    for index, (writer, reader) in enumerate(record.circuit.names()):
        (edge,) = [e for e in edges_at(run, writer, ["hap"]) if e.reader == reader and not e.into]
        assert edge.score == record.values["scores"][index]
        assert edge.rank == record.values["ranks"][index]
        assert edge.gate == pytest.approx(record.values["gates"][index], nan_ok=True)
        assert edge.sign == ("helps" if edge.score < 0 else "against")
        assert edge.other in {*run.graph.writer_index, "logits"}


def test_gates_come_from_the_circuit_that_has_them_and_unknown_stays_unknown() -> None:
    run = RUNS[0]
    shared = (run.circuits["eap"].circuit & run.circuits["hap"].circuit).names()
    gates = dict(zip(run.circuits["hap"].circuit.names(), run.circuits["hap"].values["gates"], strict=True))
    writer, reader = shared[0]
    (edge,) = [e for e in edges_at(run, writer, ["eap", "hap"]) if (e.writer, e.reader) == shared[0]]
    assert edge.circuits == ("eap", "hap")
    assert edge.gate == gates[writer, reader]
    alone = edges_at(run, writer, ["eap"])
    assert all(math.isnan(e.gate) for e in alone)


@pytest.mark.parametrize("run", RUNS, ids=["grouped", "parallel"])
def test_keepers_agree_with_the_circuits_heads(run: Run) -> None:
    for head in run.graph.heads:
        kept = keepers(run, head)
        assert kept == {key: head in record.circuit.heads for key, record in run.circuits.items()}
    assert all(keepers(run, "logits").values())
    assert all(keepers(run, "input").values())
    assert np.all([isinstance(v, bool) for v in keepers(run, "m0").values()])
