"""What is known about the edge that is selected in the picture, and a way to try the model without it."""

from __future__ import annotations

import streamlit as st

from app.widgets.markdown import plain
from app.words import widget
from hap_engine.graph.edits import ARROW, Change
from hap_engine.report.node_edges import edge_sentence
from hap_engine.runs.record import Run


def show(run: Run, left: str, right: str, edge: tuple[str, str]) -> None:
    """One paragraph from the run, and the button."""
    st.markdown(f"**Edge {plain(' → '.join(edge))}.** {plain(edge_sentence(run, left, right, edge))}")
    st.button(**widget("edge"), key=f"cut-{edge}", on_click=_cut, args=(edge,))


def _cut(edge: tuple[str, str]) -> None:
    change = Change(False, (ARROW.join(edge),))
    st.query_params["do"] = [*st.query_params.get_all("do"), change.text]
    st.query_params["ask"] = st.session_state["ask"] = "try"
