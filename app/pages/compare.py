"""The compare page: any two runs side by side, in numbers, in heads, and in pictures."""

from __future__ import annotations

from typing import Any

import pandas as pd
import streamlit as st

from app import url
from app.diagram import component
from app.diagram.component import comparison
from app.stored import saved_runs
from app.stored.saved_runs import Listed
from app.widgets.markdown import plain
from hap_engine.errors import HapError
from hap_engine.graph.overlap import edge_overlap, head_overlap
from hap_engine.picture import scene
from hap_engine.report import two_runs
from hap_engine.report.metric_sentences import TITLES
from hap_engine.report.titles import circuit_title, role_title
from hap_engine.report.verdict import has_roles
from hap_engine.runs.record import Run

DRAWN = 400  # edges of each circuit in the pictures of runs that cannot be overlaid


def page() -> None:
    """Draw the page; ``?run=`` and ``?with=`` name the two runs."""
    st.title("Compare two runs", anchor=False)
    runs, _ = saved_runs.listed()
    if len(runs) < 2:
        st.info("Two runs are needed. Compute another one, or import a run file on the Runs page.")
        return
    chosen = _choose(runs)
    if chosen is None:
        return
    one, two = chosen
    labels = two_runs.short_labels(one, two)
    _what_differs(one, two)
    left, right = st.columns(2, gap="large")
    with left:
        _metrics(one, two, labels)
    with right:
        _overlap(one, two)
    _pictures(one, two, labels)


def _choose(runs: list[Listed]) -> tuple[Run, Run] | None:
    titles = {run.id: f"{run.title} · seed {run.seed} · {run.id[:8]}" for run in runs}
    ids = list(titles)
    asked = url.link()
    absent = [name for name in (asked.run, asked.other) if name and name not in titles]
    url.keep_saying(
        "compare",
        [
            f"The run {name} of this link is not on this machine (deleted, or computed elsewhere). "
            "Another one is shown in its place."
            for name in absent
        ],
    )
    first = asked.run if asked.run in titles else ids[0]
    second = asked.other if asked.other in titles else _partner(runs, first)
    a, swap, b = st.columns([10, 2, 10], vertical_alignment="bottom")
    options: dict[str, Any] = {"options": ids, "format_func": lambda run: titles.get(run, run)}
    one = a.selectbox("Left", index=ids.index(first), **options)
    two = b.selectbox("Right", index=ids.index(second), **options)
    if swap.button("Swap", icon=":material/swap_horiz:", width="stretch"):
        one, two = two, one
        url.put(run=one, other=two)
        st.rerun()
    url.put(run=one, other=two)
    if one == two:
        st.info("Both sides are the same run, so everything agrees. Choose another one.")
    try:
        return saved_runs.open_run(one), saved_runs.open_run(two)
    except HapError as error:  # deleted by another tab since the list was read
        st.error(plain(str(error)), icon=":material/error:")
        return None


def _partner(runs: list[Listed], first: str) -> str:
    """The run that is most worth comparing: of the same model if there is one."""
    here = next(run for run in runs if run.id == first)
    others = [run for run in runs if run.id != first]
    return next((run.id for run in others if run.model == here.model), others[0].id)


def _what_differs(one: Run, two: Run) -> None:
    settings = two_runs.differences(one, two)
    if settings:
        words = " · ".join(f"{name}: **{plain(a) or '–'}** and **{plain(b) or '–'}**" for name, a, b in settings)
        st.markdown(f"They differ in {words}.")
    elif one.id != two.id:
        st.markdown("All stated settings are equal.")


def _metrics(one: Run, two: Run, labels: tuple[str, str]) -> None:
    st.subheader("Against the full model", anchor=False)
    rows = two_runs.metric_rows(one, two)
    frame = pd.DataFrame(rows)
    frame["Measure"] = [TITLES.get(name, name) for name in frame["Measure"]]
    number = st.column_config.NumberColumn
    st.dataframe(
        frame,
        hide_index=True,
        alt="Measures of both circuits with their difference",
        column_config={
            "Left": number(_short(labels[0], "Left"), help=labels[0], format="%.4g"),
            "Right": number(_short(labels[1], "Right"), help=labels[1], format="%.4g"),
            "Difference": number(format="%+.3g", help="Right minus left."),
        },
    )
    tests = [run.metrics.get(run.main, {}).get("n_prompts", "?") for run in (one, two)]
    st.caption(f"Held-out prompts: {tests[0]} on the left, {tests[1]} on the right.")
    rows = two_runs.role_rows(one, two)
    if rows:
        st.subheader("Roles", anchor=False)
        st.dataframe(pd.DataFrame(rows), hide_index=True, alt="Heads of each role and how many are kept")
        unknown = [run.title for run in (one, two) if not has_roles(run)]
        if unknown:
            st.caption(f"Roles were not measured for {plain(' and '.join(unknown))}.")


def _short(label: str, side: str) -> str:
    """A column's heading: the label where it fits a narrow column."""
    return label if len(label) <= 14 else side


def _overlap(one: Run, two: Run) -> None:
    st.subheader("What they share", anchor=False)
    reason = two_runs.comparable(one, two)
    if reason:
        st.info(plain(reason), icon=":material/difference:")
        return
    caution = two_runs.caution(one, two)
    if caution:
        st.warning(plain(caution), icon=":material/rule:")
    rows = []
    for name in _shared_circuits(one, two):
        a, b = one.circuits[name[0]].circuit, two.circuits[name[1]].circuit
        for kind, overlap in (("edges", edge_overlap(a, b)), ("heads", head_overlap(a, b))):
            rows.append(
                {
                    "Circuits": " and ".join(dict.fromkeys(circuit_title(n) for n in name)),
                    "Of": kind,
                    "Left": overlap.one,
                    "Right": overlap.two,
                    "Shared": overlap.shared,
                    "By chance": overlap.chance,
                    "Jaccard": overlap.jaccard,
                }
            )
    number = st.column_config.NumberColumn
    st.dataframe(
        pd.DataFrame(rows),
        hide_index=True,
        alt="Edges and heads that both circuits keep",
        column_config={
            "By chance": number(format="%.1f", help="What two random sets of these sizes share on average."),
            "Jaccard": number(format="%.2f", help="Shared over all that either keeps: 1 = the same set."),
        },
    )
    _heads(one, two)


def _shared_circuits(one: Run, two: Run) -> list[tuple[str, str]]:
    """Pairs of circuits to overlay: the main ones, then each that both runs hold."""
    both = [(name, name) for name in one.circuits if name in two.circuits]
    return list(dict.fromkeys([(one.main, two.main), *both]))


def _heads(one: Run, two: Run) -> None:
    """The heads by name: in both, only left, only right, with the role that was measured."""
    a, b = one.circuits[one.main].circuit.heads, two.circuits[two.main].circuit.heads
    groups = {"Both keep": a & b, "Only the left": a - b, "Only the right": b - a}
    for title, heads in groups.items():
        ordered = [head for head in one.graph.heads if head in heads]
        st.markdown(
            f"**{title}** ({len(ordered)}): "
            + (plain(", ".join(_with_role(head, one, two) for head in ordered)) or "none")
        )


def _with_role(head: str, one: Run, two: Run) -> str:
    roles = {role_title(record["role"]) for run in (one, two) if (record := run.roles.get("heads", {}).get(head))}
    return f"{head} ({' / '.join(sorted(roles))})" if roles else head


def _pictures(one: Run, two: Run, labels: tuple[str, str]) -> None:
    st.subheader("The pictures", anchor=False)
    if not two_runs.comparable(one, two):
        drawn = _picture(one.fingerprint, two.fingerprint, labels, one, two)
        url.put(pins=tuple(comparison(drawn, key=f"two-{one.id}-{two.id}", pinned=url.link().pins, height=640)))
        return
    for run in (one, two):
        st.markdown(f"**{plain(run.title)}**")
        sides = ("eap" if "eap" in run.circuits else run.main, run.main)
        own = component.picture(run.fingerprint, *sides, True, DRAWN, run)
        comparison(own, key=f"own-{run.id}", height=520)


@st.cache_resource(max_entries=8, show_spinner=False)
def _picture(left_key: str, right_key: str, labels: tuple[str, str], _one: Run, _two: Run) -> scene.Scene:
    records = [run.circuits[run.main] for run in (_one, _two)]
    return scene.compare(
        _one.graph, (labels[0], records[0]), (labels[1], records[1]), roles=_one.roles.get("heads"), heads=_one.heads
    )
