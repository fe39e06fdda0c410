"""The compare page: any two runs side by side, in numbers, in heads, and in pictures."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import streamlit as st

from app import url
from app.diagram import component
from app.diagram.component import FIRST, comparison, shown
from app.stored import saved_runs
from app.stored.saved_runs import Listed
from app.widgets.markdown import plain
from app.widgets.tables import grid
from app.words import say, widget
from hap_engine.errors import HapError
from hap_engine.graph.overlap import edge_overlap, head_overlap
from hap_engine.picture import scene
from hap_engine.picture.at_sizes import of_two
from hap_engine.report import two_runs
from hap_engine.report.titles import METRIC_TITLES, circuit_title, role_title
from hap_engine.report.verdict import has_roles
from hap_engine.runs.record import Run


def page(pages: Mapping[str, Any]) -> None:
    """Draw the page; ``?run=`` and ``?with=`` name the two runs."""
    st.title("Compare two runs", anchor=False)
    runs, _ = saved_runs.listed()
    if len(runs) < 2:
        st.info(say("compare.few"))
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
    url.keep_saying("compare", [say("compare.gone", name=name) for name in absent])
    first = asked.run if asked.run in titles else ids[0]
    second = asked.other if asked.other in titles else _partner(runs, first)
    a, swap, b = st.columns([10, 2, 10], vertical_alignment="bottom")
    options: dict[str, Any] = {"options": ids, "format_func": lambda run: titles.get(run, run)}
    one = a.selectbox("Left", index=ids.index(first), **options)
    two = b.selectbox("Right", index=ids.index(second), **options)
    if swap.button(**widget("compare.swap")):
        one, two = two, one
        url.put(run=one, other=two)
        st.rerun()
    url.put(run=one, other=two)
    if one == two:
        st.info(say("compare.same"))
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
        st.markdown(say("compare.equal"))


def _metrics(one: Run, two: Run, labels: tuple[str, str]) -> None:
    st.header("Against the full model", anchor=False)
    rows = [
        {**row, "Measure": METRIC_TITLES.get(row["Measure"], row["Measure"])} for row in two_runs.metric_rows(one, two)
    ]
    sides = zip(("Left", "Right"), labels, strict=True)
    titles = {f"{side.lower()}_short": _short(label, side) for side, label in sides}
    titles |= {"left": plain(labels[0]), "right": plain(labels[1])}
    grid(rows, "compare.metric_columns", titles=titles, alt=say("compare.metrics"))
    tests = [run.metrics.get(run.main, {}).get("n_prompts", "?") for run in (one, two)]
    st.caption(say("compare.prompts", left=tests[0], right=tests[1]))
    rows = two_runs.role_rows(one, two)
    if rows:
        st.header("Roles", anchor=False)
        grid(rows, alt=say("compare.roles"))
        unknown = [run.title for run in (one, two) if not has_roles(run)]
        if unknown:
            st.caption(say("compare.no_roles", runs=plain(" and ".join(unknown))))


def _short(label: str, side: str) -> str:
    """A column's heading: the label where it fits a narrow column."""
    return label if len(label) <= 14 else side


def _overlap(one: Run, two: Run) -> None:
    st.header("What they share", anchor=False)
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
    grid(rows, "compare.overlap_columns", alt=say("compare.overlap"))
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
    st.header("The pictures", anchor=False)
    if not two_runs.comparable(one, two):
        drawn = _picture(one.fingerprint, two.fingerprint, labels, one, two)
        key, asked = f"two-{one.id}-{two.id}", url.link()
        pins = comparison(drawn, key=key, pinned=asked.pins, height="max(640px, 62vh)", drawn=FIRST, size=asked.size)
        url.put(pins=tuple(pins), size=shown(drawn, key).size)
        return
    for run in (one, two):
        st.markdown(f"**{plain(run.title)}**")
        sides = ("eap" if "eap" in run.circuits else run.main, run.main)
        own = component.picture(run.fingerprint, *sides, True, run)
        comparison(own, key=f"own-{run.id}", height="max(520px, 62vh)", drawn=FIRST)


@st.cache_resource(max_entries=8, show_spinner=False)
def _picture(left_key: str, right_key: str, labels: tuple[str, str], _one: Run, _two: Run) -> scene.Scene:
    records = [run.circuits[run.main] for run in (_one, _two)]
    return scene.compare(
        _one.graph,
        (labels[0], records[0]),
        (labels[1], records[1]),
        roles=_one.roles.get("heads"),
        heads=_one.heads,
        sizes=of_two(_one, _two, labels),
    )
