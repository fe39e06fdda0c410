"""How good the circuits are: the metrics with their controls, and the roles that they keep."""

from __future__ import annotations

import streamlit as st

from app.glossary import HELP, define
from app.widgets.tables import Column, table
from hap_engine.findings import METRICS
from hap_engine.picture import page
from hap_engine.report.metric_sentences import interval
from hap_engine.report.titles import circuit_title, role_title
from hap_engine.report.verdict import kept_by_role
from hap_engine.runs.record import Run

TITLES = {
    "kl": "KL",
    "logit_diff": "LD",
    "faithfulness": "Faith.",
    "accuracy": "IO>S",
    "top1": "Top-1",
    "exact_match": "Exact",
}


def show(run: Run, left: str, right: str) -> None:
    """Draw both tables with what is needed to read them."""
    st.subheader("How good are they?", anchor=False, help=define("held-out prompts"))
    if run.metrics:
        _metrics(run)
    _roles(run, left, right)


def _metrics(run: Run) -> None:
    titles = TITLES if run.task["name"] == "ioi" else TITLES | {"accuracy": "Right"}
    rows = page.metric_rows(run, METRICS)
    table(
        [Column("Circuit"), Column("Edges", define("live edge")), *(Column(titles[key], HELP[key]) for key in METRICS)],
        rows,
        caption="Metrics of the circuits and their controls",
        strong={index: row[0] == circuit_title(run.main) for index, row in enumerate(rows)},
    )
    if ends := interval(run, run.main, "kl"):
        st.caption(
            f"{circuit_title(run.main)}'s KL: {run.metrics[run.main]['kl']:.2f} "
            f"(95 % interval over prompts {ends[0]:.2f} to {ends[1]:.2f})."
        )
    count = run.metrics.get("random", {}).get("n_circuits", "?")
    st.caption(f"{page.conditions(run)} Random circuits: mean of {count}, all of their edges connected.")


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
    st.subheader("Which roles do they keep?", anchor=False, help=define("role"))
    columns = [
        Column("Role"),
        Column("Heads"),
        Column(f"In {circuit_title(left)}"),
        Column(f"In {circuit_title(right)}"),
        Column("Which", words=True),
    ]
    table(columns, rows, caption="Heads of each role that the circuits keep")
    st.caption(
        "A head has a role when its attention and its causal effect on this model pass the "
        "thresholds that the run states."
    )
