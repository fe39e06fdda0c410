"""What the page says about a selected edge."""

from __future__ import annotations

from hap_engine.graph.graph import Graph
from hap_engine.report.node_edges import edge_sentence
from tests.builders.fakes import fake_run


def test_it_says_which_circuit_keeps_the_edge_and_what_it_scored() -> None:
    run = fake_run(Graph(4, 4, 2), edges=40)
    eap, hap = (run.circuits[name].circuit.names() for name in ("eap", "hap"))
    both = next(edge for edge in eap if edge in set(hap))
    only = next(edge for edge in eap if edge not in set(hap))
    text = edge_sentence(run, "eap", "hap", both)
    assert text.startswith("EAP keeps it and HAP keeps it; by EAP's estimate, corrupting it would ")
    assert f"of {run.graph.n_edges:,})" in text
    assert "log α" in text
    assert edge_sentence(run, "eap", "hap", only).startswith("EAP keeps it and HAP drops it")


def test_an_edge_of_neither_circuit_is_said_to_be_dropped() -> None:
    run = fake_run(Graph(4, 4, 2), edges=10)
    kept = {*run.circuits["eap"].circuit.names(), *run.circuits["hap"].circuit.names()}
    absent = next(
        (w.name, r.name)
        for c, r in enumerate(run.graph.readers)
        for w in run.graph.writers[: run.graph.upstream[c]]
        if (w.name, r.name) not in kept
    )
    assert edge_sentence(run, "eap", "hap", absent) == "EAP drops it and HAP drops it."
