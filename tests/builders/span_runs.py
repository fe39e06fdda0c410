"""A synthetic run whose edges act at spans, with circuits of every size and two prompts."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from hap_engine.graph.graph import Graph, Span
from hap_engine.runs.record import Run
from tests.builders.sized_runs import sized_run

SPANS = (
    Span("before", (0,), differs=False),
    Span("S1", (0, 1)),
    Span("S1+1", (0, 1, 2)),
    Span("between", (0, 1, 2, 3), differs=False),
    Span("S2", (0, 1, 2, 3, 4)),
    Span("END", (0, 1, 2, 3, 4, 5), differs=False),
)
WORDS = [" When", " Mary", " met", " the", " unforgettable", " neighbour", ",", " Mary", " gave", " to"]
PLACES = [0, 1, 2, 3, 3, 3, 3, 4, 3, 5]


def span_run(layers: int = 4, edges: int = 120, **fake: Any) -> Run:
    """A `sized_run` on a positional graph; from each span a head attends alike to all that it sees."""
    run = sized_run(Graph(layers, 4, 2, spans=SPANS), edges=edges, **fake)
    table = [[round(1 / len(s.sees), 4) if at in s.sees else 0.0 for at in range(len(SPANS))] for s in SPANS]
    prompt = {"clean": "".join(WORDS), "answer": " John", "roles": {"S1": 1, "S2": 7}, "spans": PLACES}
    stored = {"tokens": {"clean": WORDS, "corrupt": WORDS}, "roles": prompt["roles"], "heads": {}}
    heads = {head: {**facts, "between_spans": table} for head, facts in run.heads.items()}
    return replace(run, heads=heads, prompts={"train": [], "test": [prompt] * 2}, attention=[stored] * 2)
