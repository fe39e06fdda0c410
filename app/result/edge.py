"""What is known about the edge that is selected in the picture, and a way to try the model without it."""

from __future__ import annotations

import math

import streamlit as st

from app.widgets.markdown import plain
from hap_engine.graph.edits import ARROW, Change
from hap_engine.report.titles import METHOD_TITLES
from hap_engine.runs.record import Run


def show(run: Run, left: str, right: str, edge: tuple[str, str]) -> None:
    """One paragraph from the run, and the button."""
    st.markdown(f"**Edge {plain(' → '.join(edge))}.** {plain(sentence(run, left, right, edge))}")
    st.button(
        "Try the model without it",
        icon=":material/content_cut:",
        key=f"cut-{edge}",
        on_click=_cut,
        args=(edge,),
        help="Switches the edge off under “What if …?” below.",
    )


def sentence(run: Run, left: str, right: str, edge: tuple[str, str]) -> str:
    """Which circuit keeps the edge, and what EAP and Edge Pruning made of it."""
    kept: list[str] = []
    values: dict[str, float] = {}
    for side in dict.fromkeys((left, right)):
        record, title = run.circuits[side], METHOD_TITLES.get(side, side)
        names = record.circuit.names()
        kept.append(f"{title} {'keeps' if edge in names else 'drops'} it")
        if edge in names:
            index = names.index(edge)
            values |= {key: float(column[index]) for key, column in record.values.items()}
    parts = [" and ".join(kept)]
    score, rank, gate = (values.get(key, math.nan) for key in ("scores", "ranks", "gates"))
    if math.isfinite(score):
        effect = "lower" if score < 0 else "raise"
        parts.append(
            f"by EAP's estimate, corrupting it would {effect} the logit difference by {abs(score):.3g}"
            + (f" (rank {int(rank):,} of {run.graph.n_edges:,})" if math.isfinite(rank) else "")
        )
    if math.isfinite(gate):
        parts.append(f"Edge Pruning left its gate at log α = {gate:.1f}")
    return "; ".join(parts) + "."


def _cut(edge: tuple[str, str]) -> None:
    change = Change(False, (ARROW.join(edge),))
    st.query_params["do"] = [*st.query_params.get_all("do"), change.text]
    st.query_params["ask"] = st.session_state["ask"] = "try"
