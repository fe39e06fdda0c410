"""A small page for the browser tests of the linked comparison; all data is synthetic.

``?edges=2000`` draws a large circuit, to measure how fast the page answers.
"""

from dataclasses import replace

import streamlit as st

from app.diagram.component import comparison, shown
from hap_engine.graph.graph import Graph
from hap_engine.picture import scene
from hap_engine.runs.record import Run
from tests.builders.fakes import fake_run

st.set_page_config(layout="wide")


@st.cache_resource
def run(edges: int) -> Run:
    found = fake_run(Graph(6, 6, 2) if edges < 500 else Graph(24, 16, 16), edges=edges)
    kept = found.circuits["hap"].circuit.names()
    pairs = [*kept, *(pair for pair in found.circuits["eap"].circuit.names() if pair not in kept)]
    last = [10 if pair in kept else 1 + i % 9 for i, pair in enumerate(pairs)]
    return replace(found, replay={"edges": [list(p) for p in pairs], "last_open": last})


@st.cache_resource
def example(edges: int) -> scene.Scene:
    return scene.build(run(edges))


edges = int(st.query_params.get("edges", 90))
if st.button("pin from Python"):
    st.session_state["pins"] = ["m0"]
drawn = example(edges)
pins = comparison(drawn, key="cmp", pinned=st.session_state.get("pins", []), height=640, run=run(edges))
st.session_state["pins"] = pins
seen = shown(drawn, "cmp")
st.text(f"pins: {' '.join(pins) or 'none'}")
st.text(f"edge: {' > '.join(seen.edge) if seen.edge else 'none'}")
st.text(f"view: {seen.view}, drawn: {seen.drawn}, painted: {seen.painted}")
