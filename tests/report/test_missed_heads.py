"""A head that is kept, but not where it matters, is named with where it does; nothing is said without a measurement."""

from __future__ import annotations

from dataclasses import replace

from hap_engine.findings import CircuitRecord, Findings
from hap_engine.graph.circuit import Circuit
from hap_engine.graph.graph import Graph, Span
from hap_engine.report.missed_heads import acts_at, misplaced, reads_from
from tests.builders.fakes import fake_run

GRAPH = Graph(2, 2, 2, spans=(Span("S1", (0,)), Span("S2", (0, 1)), Span("END", (0, 1, 2))))
EARLY = [("input", "a0.h0<v>@S1"), ("a0.h0", "m0@S2"), ("m0", "a1.h1<v>@S2"), ("a1.h1", "logits")]
LATE = [("input", "a0.h0<v>@S1"), ("input", "a0.h0<k>@S2"), ("a0.h0", "logits")]


def run_of(**effects: float) -> Findings:
    run = fake_run(GRAPH, edges=8)
    records = {
        name: CircuitRecord(Circuit.from_names(GRAPH, edges), 4) for name, edges in (("eap", EARLY), ("hap", LATE))
    }
    heads = {"a0.h0": {"effects_at_spans": effects}} if effects else {}
    metrics = {**run.metrics, "full": {**run.metrics["full"], "logit_diff": 3.0}}
    return replace(run, circuits=records, heads=heads, metrics=metrics)


def test_the_head_is_named_with_where_it_matters() -> None:
    run = run_of(S1=0.0, S2=0.1, END=1.25)
    assert acts_at(run.circuits["eap"].circuit, "a0.h0") == ("S2",)
    assert reads_from(run.circuits["hap"].circuit, "a0.h0") == ("S1", "S2")
    (found,) = misplaced(run, "eap", "hap")
    assert (found.head, found.span, found.effect, found.instead) == ("a0.h0", "END", 1.25, ("S2",))
    assert found.sentence == (
        "EAP keeps a0.h0, but not where it matters: at END, where it reads S1 and S2. Without its output there the "
        "logit difference falls by 1.25; HAP keeps it there, EAP at S2."
    )


def test_nothing_is_said_where_it_is_kept_or_matters_nowhere_or_was_not_measured() -> None:
    assert misplaced(run_of(S2=1.0, END=0.5), "eap", "hap") == []
    assert misplaced(run_of(S2=0.0, END=0.05), "eap", "hap") == []
    assert misplaced(run_of(), "eap", "hap") == []
