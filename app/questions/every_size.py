"""At every size: what the chart under the pictures shows, in numbers; or how a run of one size gets it."""

from __future__ import annotations

import streamlit as st

from app.questions import add_to_run
from app.questions.add_to_run import Add
from app.widgets.markdown import plain
from app.widgets.tables import Column, table
from app.words import say, widget
from app.work import opened_models
from hap_engine.report.every_size import removed, size_verdict, tested_on
from hap_engine.report.titles import circuit_title
from hap_engine.report.titles import say as sentence
from hap_engine.runs.record import Run


def show(run: Run, left: str, right: str, pins: list[str]) -> None:
    """The sentence and the areas; or how to get the curves."""
    if not run.orders:
        st.info(say("sizes.absent", one=removed(run, len(run.circuits[run.main].circuit))))
        if opened_models.button(run, **widget("sizes.compute")):
            begin_curves(run)
        add_to_run.finish(run)
        return
    told = plain(size_verdict(run))
    st.markdown(f"**{told}**" if told else say("sizes.no_roles"))
    st.caption(plain(say("sizes.conditions", prompts=tested_on(run.sizes), ablation=run.sizes["ablation"])))
    rows = run.sizes["metrics"]
    areas = [name for name in rows if "cpr" in rows[name]]
    if areas:
        columns = [Column("Method"), Column("CPR", say("sizes.cpr")), Column("CMD", say("sizes.cmd"))]
        cells = [[circuit_title(name), *(f"{rows[name][key]:.3f}" for key in ("cpr", "cmd"))] for name in areas]
        strong = {place: name == run.main for place, name in enumerate(areas)}
        table(columns, cells, caption=say("sizes.areas"), strong=strong)
        st.caption(sentence("areas.reading"))


def begin_curves(run: Run) -> None:
    """Compute the curves of a run of one size."""

    def add() -> Add:
        from hap_engine.workflows.add_to_run import add_curves

        return add_curves

    add_to_run.begin(run, add_to_run.with_model(run, add))


def measure(run: Run, size: int) -> None:
    """Under the picture: measure the circuits of one more size where that is asked for (0: it is not)."""

    def add() -> Add:
        from hap_engine.workflows.add_to_run import add_size

        return add_size

    if size and not add_to_run.busy(run):
        if why := opened_models.remedy(run):
            st.warning(plain(why), icon=":material/info:")
            return
        add_to_run.begin(run, add_to_run.with_model(run, add, size=size), at="picture")
    add_to_run.finish(run, at="picture")
