"""A finished run: the verdict, both circuits, the numbers with their controls, the prompts."""

from __future__ import annotations

from typing import Any

import streamlit as st

from app import state
from app.diagram.component import comparison, painted
from app.views import numbers
from hap_engine.runs import Run
from hap_engine.verdict import distance, verdict

SHOWN = (100, 200, 400, 800, 2000, 5000)


def show(run: Run) -> None:
    """Draw the whole result."""
    left, right = _sides(run)
    _heading(run)
    _verdict(run, left, right)
    pins = _picture(run, left, right)
    st.space("small")
    shown = painted(f"comparison-{run.id}")  # what needs much code in the browser waits for it
    one, two = st.columns(2, gap="large")
    with one:
        _detail(run, left, right, pins if shown else [])
    with two:
        numbers.show(run, left, right)
    if shown:
        _ask(run, left, right, pins)
        _more(run, left, right)


def _ask(run: Run, left: str, right: str, pins: list[str]) -> None:
    from app.views import understand

    understand.show(run, left, right, pins)


def _detail(run: Run, left: str, right: str, pins: list[str]) -> None:
    if pins:
        from app.views import detail

        detail.show(run, left, right, pins)
        return
    st.subheader("What does it do?", anchor=False)
    st.caption(
        "Click a head or an MLP in either picture: its role, its evidence, its edges in both "
        "circuits and what it attends to appear here. Hovering lights up its neighbours."
    )


def _more(run: Run, left: str, right: str) -> None:
    """What few visitors open is made when it is opened: it must not hold up the picture."""
    test = run.prompts.get("test", [])
    shown = st.expander(f"Prompts of this run ({len(test)} test)", on_change="rerun")
    if shown.open:
        from app.views import prompts

        with shown:
            prompts.table(test)
    shared = st.expander("Share and export", on_change="rerun", icon=":material/share:")
    if shared.open:
        from app.views import share

        with shared:
            share.show(run, left, right)
    made = st.expander("How this run was made", on_change="rerun")
    if made.open:
        from app.views import provenance

        with made:
            provenance.show(run)


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
        run.fingerprint, left, right, fold, None if chosen == "all" else chosen, run
    )
    pins = comparison(picture, key=f"comparison-{run.id}", pinned=wanted, height=720)
    if pins:
        st.query_params["pin"] = pins
    else:
        st.query_params.pop("pin", None)
    return pins
