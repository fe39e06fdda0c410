"""A finished run: the finding with both circuits, the numbers with their controls, the prompts."""

from __future__ import annotations

import streamlit as st

from app import url
from app.diagram import component
from app.diagram.component import Shown, comparison, shown
from app.result import metrics, own_words
from app.stored import saved_runs
from app.widgets.markdown import plain
from app.words import say, widget
from hap_engine.runs.record import Run


def show(run: Run) -> None:
    """Draw the whole result."""
    link = url.show_problems(run)
    left, right = link.left or run.sides[0], link.right or run.sides[1]
    with st.container(gap=None):
        _heading(run)
        pins, seen = _picture(run, left, right, link)
    if run.orders and seen.painted:
        from app.questions import every_size

        component.answered(_key(run), "measure")
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
        st.header("What does it do?", anchor=False)
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
    """One line: which run this is."""
    if why := saved_runs.unsaved(run.id):
        st.warning(**widget("result.unsaved", why=plain(why)))
        st.button(**widget("result.write"), on_click=saved_runs.write_again, args=(run.id,))
    date = plain(run.created[:10])
    where = "elsewhere (imported)" if saved_runs.imported(run.id) else "on this machine"
    told = {"where": where, "date": date, "seconds": run.seconds.get("total", 0), "run": run}
    kind = "added" if saved_runs.is_copy(run) else "example" if saved_runs.is_shipped(run) else "computed"
    made = say(f"result.{kind}", **told)
    with st.container(key="run-title"):
        st.title(f"{plain(run.title)} &nbsp; :small[{made}]", anchor=False)


def _key(run: Run) -> str:
    """Of the comparison among the session's widgets."""
    return f"comparison-{run.id}"


def _picture(run: Run, left: str, right: str, link: url.Link) -> tuple[list[str], Shown]:
    """The finding with the linked comparison; returns the pinned nodes, and what the browser says of it."""
    picture = component.picture(run.fingerprint, left, right, link.fold, run)
    most = max(len(run.circuits[side].circuit) for side in (left, right))
    key = _key(run)
    pins = comparison(
        picture,
        key=key,
        pinned=list(link.pins),
        height="max(420px, 100vh - 300px)",
        view=link.view or "sentence",
        drawn=link.drawn or component.FIRST,
        size=link.size,
        run=run,
        finding=component.told(run.fingerprint, left, right, link.prompt, run),
        folded=link.fold,
        present=link.present,
        notes=own_words.as_text(run, link),
    )
    seen = shown(picture, key)
    told = {
        "pins": tuple(pins),
        "view": "" if seen.view == "sentence" else seen.view,
        "drawn": 0 if seen.drawn == component.FIRST else seen.drawn or most,
        "size": seen.size,
    }
    if st.session_state.get(f"{key}:told") != told or link != url.link():  # else Back would lead to where one is
        st.session_state[f"{key}:told"] = told
        url.put(**told)
    if seen.notes is not None and st.session_state.get(f"{key}:notes") != seen.notes:
        st.session_state[f"{key}:notes"] = seen.notes
        own_words.keep(run, seen.notes)
        st.rerun()
    if seen.show:  # other circuits, folded layers, the end of the story, or the words that a head promotes
        if "words" in seen.show:  # the details below ask the model, and tell the picture
            from app.work import opened_models

            opened_models.want(run)
        st.session_state["presenting"] = seen.show.get("present", link.present)
        url.put(**{name: seen.show[name] for name in ("left", "right", "fold", "present") if name in seen.show})
        component.answered(key, "show")
        st.rerun()
    if seen.changes is not None and st.session_state.get(f"{key}:changes") != seen.stamp:
        _change(seen, f"{key}:changes")
    return pins, seen


def _change(seen: Shown, key: str) -> None:
    """What was switched off in the picture goes into the address."""
    st.session_state[key] = seen.stamp
    st.query_params["do"] = list(seen.changes or ())
    if seen.live:  # nothing stored says what follows: ask the model
        st.query_params["ask"] = st.session_state["ask"] = "try"
