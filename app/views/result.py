"""A finished run: the verdict, both circuits, the numbers with their controls, the prompts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd
import streamlit as st

from app import state
from app.diagram.component import comparison
from app.views import detail, prompts, understand
from app.views.controls import OTHER
from hap_engine.catalog import BUNDLED, HUB_MODELS, resolve
from hap_engine.errors import HapError
from hap_engine.runs import METRICS, Run, dumps
from hap_engine.verdict import METHOD_TITLES, ROLE_TITLES, distance, kept_by_role, verdict

SHOWN = (100, 200, 400, 800, 2000, 5000)
METRIC_HELP = {
    "kl": "KL(full model ‖ circuit) at the answer, in nats. 0 means that the circuit predicts the "
    "same next words as the whole model.",
    "logit_diff": "How much the model prefers the right name over the wrong one.",
    "faithfulness": "Share of the logit difference that the circuit recovers: 0 = everything "
    "corrupted, 1 = full model. It can exceed 1.",
    "accuracy": "How often the right name beats the wrong one.",
    "top1": "How often the right name is the model's first choice of all words.",
    "exact_match": "How often the circuit's first choice is the full model's.",
}
ROWS = {"full": "Full model", "empty": "All corrupted", "random": "Random"}


def show(run: Run) -> None:
    """Draw the whole result."""
    left, right = _sides(run)
    _heading(run)
    _verdict(run, left, right)
    pins = _picture(run, left, right)
    st.space("small")
    one, two = st.columns(2, gap="large")
    with one:
        detail.show(run, left, right, pins)
    with two:
        _metrics(run, left, right)
    understand.show(run, left, right, pins)
    with st.expander(f"Prompts of this run ({len(run.prompts.get('test', []))} test)"):
        prompts.table(run.prompts.get("test", []))
    with st.expander("How this run was made"):
        _provenance(run)


def _sides(run: Run) -> tuple[str, str]:
    others = [name for name in run.circuits if name != run.main]
    return (("eap" if "eap" in others else others[0]) if others else run.main), run.main


def _heading(run: Run) -> None:
    st.subheader(run.title, anchor=False)
    date = run.created[:10]
    if state.is_shipped(run):
        st.markdown(
            f":material/inventory_2: **Example, computed before**: {date}, seed {run.seed}, "
            f"with `{run.command}`. Press **Find the circuit** to compute your own."
        )
    else:
        seconds = run.seconds.get("total", 0)
        st.caption(f"Computed on this machine on {date} in {seconds:,.0f} s · seed {run.seed}")


def _verdict(run: Run, left: str, right: str) -> None:
    if not run.roles.get("heads") and not run.roles.get("thresholds"):
        st.info("Roles were not measured for this task.")
        return
    found = verdict(run, left=left, right=right)
    text = f"**{found.sentence}** {distance(run, left, right)}"
    if found.missed_left:
        st.success(text, icon=":material/search:")
    else:
        st.info(text, icon=":material/balance:")


def _picture(run: Run, left: str, right: str) -> list[str]:
    """The linked comparison with its few controls; returns the pinned nodes."""
    a, b, c = st.columns([3, 2, 2], vertical_alignment="bottom")
    total = len(run.circuits[right].circuit)
    options: list[Any] = [n for n in SHOWN if n < total] + ["all"]
    chosen = a.select_slider(
        "Edges drawn",
        options,
        value="all" if total <= 800 else options[-2],
        format_func=lambda n: f"all {total:,}" if n == "all" else f"{n} strongest",
        key=f"drawn-{run.id}",
        help="Draws only the strongest edges of each circuit, by its own measure. Nothing moves.",
    )
    fold = b.toggle("Fold empty layers", key="fold", help="Layers that hold nothing become thin.")
    wanted = list(state.show_problems(run).pins)
    inhibitors = list(verdict(run, left=left, right=right).heads)
    if c.button(
        "Pin the S-inhibition heads",
        disabled=not inhibitors,
        icon=":material/push_pin:",
        width="stretch",
    ):
        wanted = inhibitors[:8]
    picture = state.picture(
        f"{run.id}-{run.created}", left, right, fold, None if chosen == "all" else chosen, run
    )
    pins = comparison(picture, key=f"comparison-{run.id}", pinned=wanted, height=720)
    if pins:
        st.query_params["pin"] = pins
    else:
        st.query_params.pop("pin", None)
    return pins


def _metrics(run: Run, left: str, right: str) -> None:
    st.subheader("How good are they?", anchor=False)
    names = [*ROWS, *(name for name in run.metrics if name not in ROWS)]
    names = [name for name in names if name in run.metrics]
    frame = pd.DataFrame(
        [
            {
                "Circuit": ROWS.get(name, METHOD_TITLES.get(name, name)),
                "Edges": run.metrics[name].get("n_edges"),
                **{key: run.metrics[name][key] for key in METRICS},
            }
            for name in names
        ]
    )
    titles = {
        "kl": "KL", "logit_diff": "LD", "faithfulness": "Faith.",
        "accuracy": "IO>S", "top1": "Top-1", "exact_match": "Exact",
    }  # fmt: skip
    st.dataframe(
        frame,
        hide_index=True,
        column_config={
            "Edges": st.column_config.NumberColumn(format="localized", help="Live edges"),
            **{
                key: st.column_config.NumberColumn(title, format="%.2f", help=METRIC_HELP[key])
                for key, title in titles.items()
            },
        },
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
    _roles(run, left, right)


def _roles(run: Run, left: str, right: str) -> None:
    """How many heads of each measured role the two circuits keep."""
    rows = [
        {
            "Role": ROLE_TITLES.get(role, role),
            "Heads": len(found.heads),
            f"In {METHOD_TITLES.get(left, left)}": len(found.kept_left),
            f"In {METHOD_TITLES.get(right, right)}": len(found.kept_right),
            "Which": ", ".join(found.heads),
        }
        for role, found in kept_by_role(run, left, right).items()
    ]
    if rows:
        st.subheader("Which roles do they keep?", anchor=False)
        st.dataframe(pd.DataFrame(rows), hide_index=True)
        st.caption(
            "A head has a role when its attention and its causal effect on this model pass the "
            "thresholds that the run states."
        )


def _provenance(run: Run) -> None:
    st.code(run.command, language="bash")
    seconds = " · ".join(f"{name} {value:,.1f} s" for name, value in run.seconds.items())
    st.caption(f"Seconds: {seconds}")
    model = run.model
    st.caption(
        f"Model: {model['name']} ({model['source']}), {model.get('architecture', '?')}, "
        f"{model.get('n_parameters', 0):,} parameters, SHA-256 {str(model.get('sha256', ''))[:16]}…"
    )
    st.caption("Versions: " + ", ".join(f"{name} {value}" for name, value in run.versions.items()))
    st.json(dict(run.settings), expanded=False)
    here = on_machine(run.model)
    st.button(
        "Compute it again with this model",
        disabled=not here,
        icon=":material/replay:",
        on_click=_choose_model,
        args=(run,),
        help="Chooses the model and the size on the left."
        if here
        else "The weights are not on this machine. Choose “A file, a folder or another Hub name” on "
        "the left and point to a copy, or take the model from the Hub there.",
    )
    st.download_button(
        "Download the run file",
        data=lambda: dumps(run),
        file_name=f"{run.id}.json",
        mime="application/json",
        icon=":material/download:",
        on_click="ignore",
    )


def on_machine(model: Mapping[str, Any]) -> bool:
    """Can this run's model be opened here by the name that the run knows?"""
    try:
        return resolve(str(model.get("reference", ""))).path is not None
    except HapError:
        return False


def _choose_model(run: Run) -> None:
    """Button callback: the sidebar takes the run's model; a path goes into its text field."""
    reference = run.model["reference"]
    known = [*BUNDLED, *HUB_MODELS]
    st.session_state["model"] = reference if reference in known else OTHER
    if reference not in known:
        st.session_state["reference"] = reference
