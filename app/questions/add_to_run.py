"""Add to a run: test a changed circuit on the held-out prompts and keep it as one's own, or measure more.

The work goes on in the background; when it ends, the run is saved with what was added.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import replace
from typing import Any

import streamlit as st

from app import url
from app.classroom import check_change, rules
from app.stored import saved_runs
from app.widgets.markdown import plain
from app.words import say, widget
from app.work import opened_models, workers
from hap_engine.errors import HapError
from hap_engine.graph.circuit import Circuit
from hap_engine.progress import Progress
from hap_engine.report.titles import OWN, circuit_title
from hap_engine.runs.record import Run
from hap_engine.runs.run_file import runs_folder
from hap_engine.runs.unfinished import Unfinished, forget

Revision = Generator[Progress, None, Run]
Add = Callable[..., Revision]


def save_button(run: Run, circuit: Circuit, changed: bool, disabled: bool) -> None:
    """Offer to evaluate `circuit` and save it; shows the work while it goes on."""
    count, size = len(run.prompts.get("test", [])), len(circuit.live)
    off = disabled or not changed or not size or busy(run)
    if st.button(**widget("add.save", count=count, edges=size), disabled=off):

        def add() -> Add:
            from hap_engine.workflows.add_to_run import add_circuit

            return add_circuit

        begin(run, with_model(run, add, circuit=circuit))
    finish(run)
    if OWN in run.circuits:
        _saved(run)


def _saved(run: Run) -> None:
    """What can be done with the circuit that was saved."""
    row, main = run.metrics.get(OWN, {}), plain(circuit_title(run.main))
    kl = say("add.kl", own=row["kl"], circuit=main, main=run.metrics[run.main]["kl"]) if "kl" in row else ""
    st.caption(say("add.kept", edges=len(run.circuits[OWN].circuit), kl=kl))
    see, drop = st.columns(2)
    see.button(**widget("add.see", circuit=main), on_click=url.put, kwargs={"left": run.main, "right": OWN})
    if drop.button(**widget("add.drop"), disabled=rules() is not None):
        rest = {key: record for key, record in run.circuits.items() if key != OWN}
        metrics = {key: row for key, row in run.metrics.items() if key != OWN}
        try:
            saved_runs.keep(replace(run, circuits=rest, metrics=metrics), run)
        except HapError as error:
            st.error(plain(str(error)), icon=":material/error:")
            return
        url.put(left="", right="")
        st.query_params.pop("base", None)
        st.rerun()


def begin_per_prompt(run: Run) -> None:
    """Measure an older run's circuits prompt by prompt."""

    def add() -> Add:
        from hap_engine.workflows.add_to_run import add_per_prompt

        return add_per_prompt

    begin(run, with_model(run, add))


def finish(run: Run, at: str = "") -> None:
    """Show running work on this run where it was begun; when it is done, take up the saved run."""
    work = workers.short_work().get(_key(run))
    if work is not None and work.about != at:
        return
    if opened_models.result(_key(run)) is not None:
        workers.short_work().forget(_key(run))  # forget it: the run on disk has it now
        st.rerun()


def busy(run: Run) -> bool:
    """Is something being added to this run now? One thing at a time: the last to end would win."""
    work = workers.short_work().get(_key(run))
    return work is not None and work.live


def begin(run: Run, revise: Callable[[Unfinished], Revision], at: str = "") -> None:
    """Start work that adds to a run; what it returns is saved. In a class a line says why not.

    Args:
        revise: is given where to keep how far it is.
        at: the place on the page that begins it, empty for a question.
    """
    try:
        check_change()
    except HapError as error:
        st.info(plain(str(error)), icon=":material/groups:")
        return

    def work() -> Revision:
        state = Unfinished(runs_folder())
        revised = yield from revise(state)
        saved_runs.keep(revised, run)
        forget(runs_folder(), state.run)
        return revised

    workers.short_work().start(_key(run), work, at)
    st.rerun()  # at once, so that the buttons above know


def with_model(run: Run, add: Callable[[], Add], **asked: Any) -> Callable[[Unfinished], Revision]:
    """The work of opening the run's model and then adding to the run, which goes on where the same was interrupted.

    Args:
        add: imports what adds; `asked` is for that.
    """
    opening = opened_models.steps_to_open(run)

    def work(state: Unfinished) -> Revision:
        masked = yield from opening()
        from hap_engine.workflows.add_to_run import adding

        return (yield from adding(state, add(), masked, run, **asked))

    return work


def _key(run: Run) -> str:
    return f"revise-{run.id}"
