"""Graphs of known models, and a strategy for small ones."""

from __future__ import annotations

from hypothesis import strategies as st

from hap_engine.graph.graph import Graph

GPT2 = Graph(12, 12, 12)


SMOLLM2 = Graph(30, 9, 3)


@st.composite
def graphs(draw: st.DrawFn) -> Graph:
    kv = draw(st.integers(1, 3))
    heads = kv * draw(st.integers(1, 3))
    return Graph(draw(st.integers(1, 4)), heads, kv, parallel=draw(st.booleans()))
