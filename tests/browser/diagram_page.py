"""A small page for the browser tests of the linked comparison; all data is synthetic.

``?edges=2000`` draws a large circuit, to measure how fast the page answers; ``?sizes`` one with a slider over sizes,
``?samples`` that circuit with five edges that few samples of the prompts keep, at each measured size.
"""

from dataclasses import replace

import streamlit as st

from app.diagram.component import comparison, shown
from hap_engine.graph.graph import Graph
from hap_engine.picture import scene
from hap_engine.runs.record import Run
from tests.builders.fakes import fake_run
from tests.builders.sized_runs import sized_run

st.set_page_config(layout="wide")


@st.cache_resource
def run(edges: int, sizes: bool, samples: bool) -> Run:
    found = (sized_run if sizes else fake_run)(Graph(6, 6, 2) if edges < 500 else Graph(24, 16, 16), edges=edges)
    kept = found.circuits["hap"].circuit.names()
    pairs = [*kept, *(pair for pair in found.circuits["eap"].circuit.names() if pair not in kept)]
    last = [10 if pair in kept else 1 + i % 9 for i, pair in enumerate(pairs)]
    counts = {size: len(found.orders["hap"].circuit(size)) for size in found.sizes.get("grid", ())}
    at = [{"size": size, "edges": ([0.3] * 5 + [1.0] * count)[:count]} for size, count in counts.items()]
    own = [row["edges"] for row in at if row["size"] == edges]
    stability = {"edges": own[0], "at": at} if samples else {}
    return replace(found, replay={"edges": [list(p) for p in pairs], "last_open": last}, stability=stability)


@st.cache_resource
def example(edges: int, sizes: bool, samples: bool) -> scene.Scene:
    return scene.build(run(edges, sizes, samples))


given = int(st.query_params.get("edges", 90)), "sizes" in st.query_params, "samples" in st.query_params
if st.button("pin from Python"):
    st.session_state["pins"] = ["m0"]
drawn, pinned = example(*given), st.session_state.get("pins", [])
pins = comparison(drawn, key="cmp", pinned=pinned, height="max(640px, 62vh)", run=run(*given))
st.session_state["pins"] = pins
seen = shown(drawn, "cmp")
st.text(f"pins: {' '.join(pins) or 'none'}")
st.text(f"edge: {' > '.join(seen.edge) if seen.edge else 'none'}")
st.text(f"view: {seen.view}, drawn: {seen.drawn}, size: {seen.size}, painted: {seen.painted}")
