"""How good the circuits are: the metrics with their controls, and the roles that they keep."""

from __future__ import annotations

import streamlit as st

from app.glossary import define
from app.widgets.markdown import plain
from app.widgets.tables import Column, table
from app.words import HELP, say
from hap_engine.findings import METRICS
from hap_engine.picture import page
from hap_engine.report.metric_sentences import distinct_sentence, interval
from hap_engine.report.titles import METRIC_TITLES, circuit_title, role_title
from hap_engine.report.verdict import kept_by_role
from hap_engine.runs.record import Run


def show(run: Run, left: str, right: str) -> None:
    """Draw both tables with what is needed to read them."""
    st.header("How good are they?", anchor=False, help=define("held-out prompts"))
    if run.metrics:
        _metrics(run)
    _roles(run, left, right)


def _metrics(run: Run) -> None:
    shown = [*METRICS, *(["deviation"] if "deviation" in run.metrics.get(run.main, {}) else [])]
    rows = page.metric_rows(run, shown)
    table(
        [
            Column("Circuit"),
            Column("Edges", define("live edge")),
            *([Column(page.DISTINCT, say("result.distinct"))] if run.graph.positional else []),
            *(Column(METRIC_TITLES[key], HELP[key]) for key in shown),
        ],
        rows,
        caption="Metrics of the circuits and their controls",
        strong={index: row[0] == circuit_title(run.main) for index, row in enumerate(rows)},
    )
    if ends := interval(run, run.main, "kl"):
        told = {"kl": run.metrics[run.main]["kl"], "low": ends[0], "high": ends[1]}
        st.caption(say("result.interval", circuit=plain(circuit_title(run.main)), **told))
    if counted := distinct_sentence(run, list(run.circuits)):
        st.caption(plain(counted))
    count = run.metrics.get("random", {}).get("n_circuits", "?")
    st.caption(say("result.conditions", on=plain(page.conditions(run)), count=count))


def _roles(run: Run, left: str, right: str) -> None:
    """How many heads of each measured role the two circuits keep."""
    rows = [
        [
            role_title(role),
            str(len(found.heads)),
            str(len(found.kept_left)),
            str(len(found.kept_right)),
            ", ".join(found.heads),
        ]
        for role, found in kept_by_role(run, left, right).items()
    ]
    if not rows:
        return
    st.header("Which roles do they keep?", anchor=False, help=define("role"))
    sides = [Column(f"In {circuit_title(name)}") for name in (left, right)]
    columns = [Column("Role"), Column("Heads"), *sides, Column("Which", words=True)]
    table(columns, rows, caption="Heads of each role that the circuits keep")
    st.caption(say("result.roles"))
