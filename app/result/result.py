"""A finished run: the verdict, both circuits, the numbers with their controls, the prompts."""

from __future__ import annotations

from typing import Literal

import streamlit as st

from app import url
from app.diagram import component
from app.diagram.component import Shown, comparison, shown
from app.result import metrics
from app.stored import saved_runs
from app.widgets.markdown import plain
from app.words import say, widget
from hap_engine.picture.wire import MAX_PINS
from hap_engine.report.every_size import size_verdict
from hap_engine.report.titles import circuit_title
from hap_engine.report.verdict import distance, has_roles, verdict, warnings
from hap_engine.runs.record import Run


def show(run: Run) -> None:
    """Draw the whole result."""
    link = url.show_problems(run)
    left, right = link.left or run.sides[0], link.right or run.sides[1]
    _heading(run)
    _verdict(run, left, right)
    pins, seen = _picture(run, left, right, link)
    if run.orders and seen.painted:
        from app.questions import every_size

        every_size.measure(run, seen.measure)
    st.space("small")
    details, numbers = st.columns(2, gap="large")
    with details:
        _detail(run, left, right, pins if seen.painted else [], seen.edge)
    with numbers:
        metrics.show(run, left, right)
    if seen.painted:  # what needs much code in the browser waits for the picture
        _ask(run, left, right, pins)
        _more(run, left, right)


def _ask(run: Run, left: str, right: str, pins: list[str]) -> None:
    from app.questions import menu

    menu.show(run, left, right, pins)


def _detail(run: Run, left: str, right: str, pins: list[str], edge: tuple[str, str] | None) -> None:
    if edge:
        from app.result import edge as selected

        selected.show(run, left, right, edge)
    if pins:
        from app.result import node

        node.show(run, left, right, pins)
    elif not edge:
        st.subheader("What does it do?", anchor=False)
        st.caption(say("result.start"))


def _more(run: Run, left: str, right: str) -> None:
    """What few visitors open is made when it is opened: it must not hold up the picture."""
    test = run.prompts.get("test", [])
    shown = st.expander(f"Prompts of this run ({len(test)} test)", on_change="rerun")
    if shown.open:
        from app.explore import prompts

        with shown:
            prompts.table(test)
    shared = st.expander(**widget("result.shared"), on_change="rerun")
    if shared.open:
        from app.result import share

        with shared:
            share.show(run, left, right)
    made = st.expander("How this run was made", on_change="rerun")
    if made.open:
        from app.result import provenance

        with made:
            provenance.show(run)


def _heading(run: Run) -> None:
    st.subheader(plain(run.title), anchor=False)
    if why := saved_runs.unsaved(run.id):
        st.warning(**widget("result.unsaved", why=plain(why)))
        st.button(**widget("result.write"), on_click=saved_runs.write_again, args=(run.id,))
    date = plain(run.created[:10])
    if saved_runs.is_shipped(run):
        st.markdown(say("result.example", date=date, run=run))
    else:
        seconds = run.seconds.get("total", 0)
        where = "elsewhere (imported)" if saved_runs.imported(run.id) else "on this machine"
        st.caption(say("result.computed", where=where, date=date, seconds=seconds, run=run))


def _verdict(run: Run, left: str, right: str) -> None:
    for warning in warnings(run):
        st.warning(plain(warning), icon=":material/playlist_add:")
    if not has_roles(run):
        st.info(**widget("result.no_roles", distance=plain(distance(run, left, right))))
        return
    judged = verdict(run, left=left, right=right)
    sentences = [*map(plain, filter(None, [size_verdict(run), judged.sentence, distance(run, left, right)]))]
    text = f"**{sentences[0]}** {' '.join(sentences[1:])}"
    if judged.missed_left:
        st.success(text, icon=":material/search:")
    else:
        st.info(text, icon=":material/balance:")


def _choose(run: Run, side: Literal["left", "right"], now: str) -> None:
    """Which of the run's circuits one panel shows."""
    names, key = list(run.circuits), f"{side}-of-{run.id}"
    st.session_state[key] = now
    st.selectbox(
        f"Circuit on the {side}",
        names,
        format_func=lambda name: f"{side.capitalize()}: {circuit_title(name)}",
        key=key,
        on_change=url.with_choice(key, lambda name: url.put(**{side: name})),
        label_visibility="collapsed",
        width=150,
    )


def _picture(run: Run, left: str, right: str, link: url.Link) -> tuple[list[str], Shown]:
    """The linked comparison; returns the pinned nodes, and what the browser says of it."""
    wanted = list(link.pins)
    with st.container(horizontal=True, vertical_alignment="center"):
        fold = st.toggle(**widget("result.fold"), value=link.fold)
        inhibitors = list(verdict(run, left=left, right=right).heads)
        if st.button(**widget("result.pin"), disabled=not inhibitors):
            wanted = inhibitors[:MAX_PINS]
        if len(run.circuits) > 2:
            _choose(run, "left", left)
            _choose(run, "right", right)
    picture = component.picture(run.fingerprint, left, right, fold, run)
    most = max(len(run.circuits[side].circuit) for side in (left, right))
    key = f"comparison-{run.id}-{left}-{right}"
    pins = comparison(
        picture,
        key=key,
        pinned=wanted,
        height="max(720px, 62vh)",
        view=link.view or "sentence",
        drawn=link.drawn or component.FIRST,
        size=link.size,
        run=run,
    )
    seen = shown(picture, key)
    url.put(
        pins=tuple(pins),
        view="" if seen.view == "sentence" else seen.view,
        drawn=0 if seen.drawn == component.FIRST else seen.drawn or most,
        size=seen.size,
        fold=fold,
    )
    return pins, seen
