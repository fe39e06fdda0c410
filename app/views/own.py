"""One's own circuit: test the changed circuit on the held-out prompts and keep it beside the others.

The work goes on in the background; when it ends, the run is saved with what was added.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any

import streamlit as st

from app import live
from app.classroom import check_change
from hap_engine.circuit import Circuit
from hap_engine.errors import HapError
from hap_engine.progress import Progress
from hap_engine.runs import Run, runs_folder, save

Add = Callable[[Any, Run], Generator[Progress, None, Run]]


def save_button(run: Run, circuit: Circuit, changed: bool, disabled: bool) -> None:
    """Offer to evaluate `circuit` and save it; shows the work while it goes on."""
    count = len(run.prompts.get("test", []))
    size = len(circuit.live)
    if st.button(
        f"Test it on {count:,} unseen prompts and save it as my circuit",
        icon=":material/save:", key="save-own", disabled=disabled or not changed or not size,
        help=f"{size:,} live edges. It then stands beside the others in the table, the picture and the "
        "run file, with the same measurements. An earlier one of yours in this run is replaced.",
    ):  # fmt: skip

        def add(masked: Any, run: Run) -> Generator[Progress, None, Run]:
            from hap_engine.revise import add_circuit

            return (yield from add_circuit(masked, run, circuit))

        _begin(run, add)
    finish(run)


def begin_per_prompt(run: Run) -> None:
    """Measure an older run's circuits prompt by prompt."""

    def add(masked: Any, run: Run) -> Generator[Progress, None, Run]:
        from hap_engine.revise import add_per_prompt

        return (yield from add_per_prompt(masked, run))

    _begin(run, add)


def finish(run: Run) -> None:
    """Show running work on this run; when it is done, take up the saved run."""
    if live.result(_key(run)) is not None:
        live.background().stop(_key(run))  # forget it: the run on disk has it now
        st.rerun()


def _begin(run: Run, add: Add) -> None:
    try:
        check_change()
    except HapError as error:
        st.info(str(error), icon=":material/groups:")
        return
    opening = live.steps_to_open(run)

    def begin() -> Generator[Progress, None, Run]:
        masked = yield from opening()
        revised = yield from add(masked, run)
        save(revised, runs_folder() / f"{run.id}.json")
        return revised

    live.background().start(_key(run), begin)


def _key(run: Run) -> str:
    return f"revise-{run.id}"
