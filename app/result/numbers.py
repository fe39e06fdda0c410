"""How good the circuits are: the metrics with their controls, and the roles that they keep."""

from __future__ import annotations

import math
from typing import Any

import streamlit as st

from app.glossary import HELP, define
from app.widgets.tables import Column, table
from hap_engine.findings import METRICS
from hap_engine.report.titles import CONTROL_TITLES, METHOD_TITLES, ROLE_TITLES, circuit_title
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
    names = [name for name in CONTROL_TITLES if name in run.metrics]
    names += [name for name in run.metrics if name not in CONTROL_TITLES]
    if names:
        _metrics(run, names)
    _roles(run, left, right)


def _metrics(run: Run, names: list[str]) -> None:
    titles = TITLES if run.task["name"] == "ioi" else TITLES | {"accuracy": "Right"}
    table(
        [Column("Circuit"), Column("Edges", define("live edge")), *(Column(titles[key], HELP[key]) for key in METRICS)],
        [
            [
                circuit_title(name),
                _count(run.metrics[name].get("n_edges")),
                *(_number(run.metrics[name][key]) for key in METRICS),
            ]
            for name in names
        ],
        caption="Metrics of the circuits and their controls",
        strong={names.index(run.main): True} if run.main in names else None,
    )
    main = run.metrics.get(run.main, {})
    low, high = main.get("interval", {}).get("kl", [None, None])
    if low is not None:
        st.caption(
            f"{METHOD_TITLES.get(run.main, run.main)}'s KL: {main['kl']:.2f} "
            f"(95 % interval over prompts {low:.2f} to {high:.2f})."
        )
    any_row = run.metrics[names[0]]
    st.caption(
        f"{any_row.get('n_prompts', '?')} {any_row.get('split', '')} prompts that no method has seen · "
        f"cut edges carry the corrupted run: {any_row.get('ablation', '?')} · seed {run.seed}. "
        f"Random circuits: mean of {run.metrics.get('random', {}).get('n_circuits', '?')}, all of "
        "their edges connected."
    )


def _roles(run: Run, left: str, right: str) -> None:
    """How many heads of each measured role the two circuits keep."""
    rows = [
        [
            ROLE_TITLES.get(role, role),
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
        Column(f"In {METHOD_TITLES.get(left, left)}"),
        Column(f"In {METHOD_TITLES.get(right, right)}"),
        Column("Which", words=True),
    ]
    table(columns, rows, caption="Heads of each role that the circuits keep")
    st.caption(
        "A head has a role when its attention and its causal effect on this model pass the "
        "thresholds that the run states."
    )


def _number(value: float) -> str:
    return f"{value:z.2f}" if math.isfinite(value) else "–"


def _count(value: Any) -> str:
    return "–" if value is None else f"{value:,}"
