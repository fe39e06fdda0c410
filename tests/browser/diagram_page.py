"""A small page for the browser tests of the linked comparison; all data is synthetic."""

import streamlit as st

from app.diagram import scene
from app.diagram.component import comparison
from hap_engine.graph import Graph
from tests.fakes import fake_run

st.set_page_config(layout="wide")


@st.cache_resource
def example() -> scene.Scene:
    return scene.build(fake_run(Graph(6, 6, 2), edges=90))


if st.button("pin from Python"):
    st.session_state["pins"] = ["m0"]
pins = comparison(example(), key="cmp", pinned=st.session_state.get("pins", []), height=640)
st.session_state["pins"] = pins
st.text(f"pins: {' '.join(pins) or 'none'}")
