"""The lesson page: one step at a time beside the picture that it is about."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import streamlit as st

from app import glossary, lesson, url
from app.diagram import component
from app.diagram.component import comparison
from app.lesson import Question, Step, safe
from app.stored import saved_runs
from app.widgets import browser_memory
from app.widgets.markdown import plain
from app.words import say, widget
from hap_engine.errors import HapError
from hap_engine.runs.record import Run
from hap_engine.words import beside

_to_top = st.components.v2.component(
    "hap_to_top", html="<span hidden></span>", js=beside(__file__, "to_top.js"), isolate_styles=False
)

FIRST = "hap-mini"  # its circuit has few enough edges to see each one
ONE_PANEL = "<style>.hap-panel[data-side={hide}], .hap-modes {{ display: none; }}</style>"


def page(pages: Mapping[str, Any]) -> None:
    """Draw the page; ``?step=`` and ``?run=`` say where."""
    st.title("How is a circuit found?", anchor=False)
    run = _run()
    if run is None:
        return
    steps = lesson.steps(run)
    asked = url.link().step
    saved = browser_memory.remembered("hap-lesson", f"{asked}:{run.id}" if asked else None)
    if not asked:
        _welcome(run, steps, saved)
        return
    number = min(asked, len(steps) + 1)
    _rail(steps, number)
    words, picture = st.columns([4, 8], gap="medium")
    guessed = True
    with words:
        if number <= len(steps):
            guessed = _step(run, steps[number - 1], number)
        else:
            _exercise(run, pages)
        _move(number, len(steps))
    with picture:
        _picture(run, steps[min(number, len(steps)) - 1], number, guessed)


def _run() -> Run | None:
    """The run that the lesson is about: the link's, else the small shipped one."""
    # A run that goes on from another began with that one's circuit: the steps would tell half its story.
    runs = [run for run in saved_runs.listed()[0] if run.has_eap and not run.continues]
    asked = url.link().run
    if asked and asked not in [run.id for run in runs]:
        url.keep_saying("lesson", [say("lesson.unusable", run=asked)])
        url.put(run="")
    for run in sorted(runs, key=lambda run: (run.id != asked, run.model != FIRST, not run.shipped)):
        try:
            opened = saved_runs.open_run(run.id)
        except HapError:
            continue
        if lesson.suits(opened):
            return opened
    st.info(say("lesson.none"))
    return None


def _welcome(run: Run, steps: tuple[Step, ...], saved: str | None) -> None:
    st.html(glossary.rich(say("lesson.welcome", title=safe(run.title))))
    titles = {item.id: item.title for item in saved_runs.listed()[0] if item.has_eap}
    step, _, where = (saved or "").partition(":")
    with st.container(horizontal=True):
        if step.isdigit() and 1 < int(step) <= len(steps) + 1:
            if st.button(**widget("lesson.go_on", step=min(int(step), len(steps)))):
                _go(int(step), where if where in titles else "")
            if st.button(**widget("lesson.again")):
                _go(1)
        elif st.button(**widget("lesson.start")):
            _go(1)
    st.selectbox(
        **widget("lesson.other"),
        options=list(titles),
        format_func=lambda run_id: titles.get(run_id, run_id),
        index=None,
        placeholder=run.title,
        on_change=url.with_choice("lesson-run", lambda run_id: url.put(run=run_id or "")),
    )
    st.markdown("\n".join(f"{i}. {step.title}" for i, step in enumerate(steps, 1)))


def _go(step: int, run: str = "") -> None:
    if run:
        url.put(run=run)
    url.put(step=step)
    st.rerun()


def _rail(steps: tuple[Step, ...], number: int) -> None:
    """Where the reader is, in words and as a bar."""
    title = steps[number - 1].title if number <= len(steps) else "Your turn"
    st.progress(number / (len(steps) + 1), text=f"Step {number} of {len(steps) + 1}: {title}")


def _step(run: Run, step: Step, number: int) -> bool:
    """Words, question and, where there is one, the experiment; answers whether a guess was made."""
    _title(f"{number}. {step.title}", number)
    st.html(glossary.rich(step.text))
    guessed = _question(step.question, f"{run.id}-{number}")
    if step.reveal and guessed:
        st.html(glossary.rich(step.reveal))
    if step.cut:
        _cut(run, step)
    return guessed


def _title(text: str, step: int) -> None:
    """The step's heading; a move to another step begins there, for the eye and for the keyboard."""
    with st.container(key="lesson-step"):
        st.header(text, anchor=False)
        _to_top(key="lesson-top", data=[step])


def _question(question: Question, key: str) -> bool:
    """Guess before looking; the answer and its reason appear with the guess."""
    with st.container(border=True):
        guess = st.radio(question.ask, question.options, index=None, key=f"guess-{key}", persist_state="session")
        if guess is None:
            st.caption(say("lesson.guess"))
            return False
        right, why = question.options[question.right], plain(question.because)
        if guess == right:
            st.success(**widget("lesson.right", why=why))
        else:
            st.info(**widget("lesson.wrong", right=plain(right), why=why))
    return True


def _cut(run: Run, step: Step) -> None:
    """Cut heads out of the circuit and measure, on the real model."""
    from app.work import opened_models

    why = opened_models.remedy(run)
    names = ", ".join(step.cut)
    key = f"lesson-cut-{run.id}"
    if st.button(f"Cut {names} and measure", icon=":material/content_cut:", disabled=bool(why)):
        st.session_state[key] = True
    if why:
        st.caption(f"Not on this machine: {plain(why)}")
    elif st.session_state.get(key):
        _measure(run, step.cut)


def _measure(run: Run, heads: tuple[str, ...]) -> None:
    from app.questions.what_if import change_in_numbers
    from app.work import opened_models
    from hap_engine.graph.edits import Change, apply

    bench = opened_models.bench(run, opened_models.FEW)
    if bench is None:
        return
    from hap_engine.explain.what_if import describe

    circuit = run.circuits[run.main].circuit
    circuits = (circuit, apply(circuit, [Change(False, heads)]))
    before, after = (opened_models.reading(run, bench, each) for each in circuits)
    change_in_numbers(before, after)
    st.markdown(plain(describe(before, after)))


def _exercise(run: Run, pages: Mapping[str, Any]) -> None:
    _title("Your turn", 0)
    asked = lesson.exercise(run)
    if asked:
        st.markdown(plain(asked[0]))
        wrong = next((head for head in run.graph.heads if not lesson.check(run, head).right), "")
        words = f"for example {wrong}"
        answer = st.text_input("Your answer", key=f"answer-{run.id}", placeholder=words, persist_state="session")
        if answer:
            marked = lesson.check(run, answer)
            show = st.success if marked.right else st.info
            show(plain(marked.words), icon=":material/check_circle:" if marked.right else ":material/replay:")
    st.html(glossary.rich(say("lesson.open")))
    if st.button(**widget("lesson.explore")):
        st.switch_page(pages["explore"], query_params={"run": run.id})


def _move(number: int, last: int) -> None:
    with st.container(horizontal=True):
        if st.button(**widget("lesson.back")):
            _go(number - 1)
        if number <= last and st.button(**widget("lesson.next" if number < last else "lesson.last")):
            _go(number + 1)


def _picture(run: Run, step: Step, number: int, guessed: bool) -> None:
    """The comparison, set to what the step is about; the reader's own pins are kept within a step."""
    if step.panels != "both":
        st.html(ONE_PANEL.format(hide="left" if step.panels == "right" else "right"))
    pins = step.pins if guessed or not step.reveal else ()
    built = component.picture(run.fingerprint, "eap", run.main, False, run)
    comparison(built, key=f"lesson-{run.id}-{number}", pinned=pins, height="max(620px, 62vh)", drawn=component.FIRST)
    st.caption(plain(step.look))
