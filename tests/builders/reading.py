"""All that reads a run whose file was accepted: exports and tests as files, and every part of a page that shows it."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path

from streamlit.errors import StreamlitAPIException
from streamlit.testing.v1 import AppTest

from app.explore import prompts
from app.export import graphs, snippets, tables
from app.export.handout import handout
from app.pages import compare
from app.questions import can_it_be_smaller, every_size, how_good, is_there_another, which_prompts, why_missed
from app.result import edge, node, provenance, result, share
from app.stored import saved_runs
from app.widgets.charts import curve_figure
from hap_engine.errors import HapError
from hap_engine.picture import scene, wire
from hap_engine.picture.standalone import standalone
from hap_engine.report import two_runs
from hap_engine.runs.continue_run import again, further
from hap_engine.runs.record import Run
from hap_engine.runs.run_file import dumps, loads

QUESTIONS = (can_it_be_smaller, every_size, how_good, is_there_another, which_prompts, why_missed)
Part = Callable[[], object]


def files(run: Run) -> Iterator[Part]:
    """What is made of a run without a page."""
    left, right = run.sides
    yield lambda: loads(dumps(run))
    yield lambda: saved_runs._listed(run)
    yield lambda: standalone(run, left, right)
    yield lambda: handout(run, left, right)
    yield lambda: wire.replay(run, scene.build(run, left, right, fold=True))
    yield lambda: (tables.edges_csv(run), tables.heads_csv(run))
    yield lambda: (graphs.graphml(run, right), graphs.dot(run, right))
    yield lambda: snippets.python(run)
    yield lambda: again(run)
    yield lambda: further(run, (1 + run.sparsity) / 2)
    yield lambda: curve_figure(run.history)


def page(run: Run, other: Run) -> Iterator[Part]:
    """The parts of the pages on which a run is shown, alone and beside another."""
    left, right = run.sides
    yield lambda: result.show(run)
    pins = [*run.graph.heads[:2], "m0", "input"]
    yield lambda: node.show(run, left, right, pins)
    yield lambda: edge.show(run, left, right, run.circuits[right].circuit.names()[0])
    yield lambda: prompts.table(run.prompts.get("test", []))
    yield lambda: share.show(run, left, right)
    yield lambda: provenance.show(run)
    yield from (partial(question.show, run, left, right, []) for question in QUESTIONS)
    yield lambda: compare._what_differs(run, other)
    yield lambda: compare._metrics(run, other, two_runs.short_labels(run, other))
    yield lambda: compare._overlap(run, other)


def failures(parts: Iterator[Part]) -> list[str]:
    """What went wrong in a way that nobody foresaw, and where."""
    found = []
    for part in parts:
        try:
            with suppress(HapError, StreamlitAPIException):  # parts that no page shows together share keys
                part()
        except Exception as error:
            here = traceback.extract_tb(error.__traceback__)[-1]
            found.append(f"{error!r} at {Path(here.filename).name}:{here.lineno}")
    return found


def _draw() -> None:
    import streamlit as st

    from hap_engine.runs.run_file import load
    from tests.builders.reading import failures, page

    st.session_state["page"] = ""  # what the navigation does
    run, other = (load(st.session_state[name]) for name in ("shown", "other"))
    st.session_state["failures"] = failures(page(run, other))


def shown(run: Path, other: Path) -> AppTest:
    """All parts of the pages that show the run in a file, beside another; its state has the `failures`."""
    app = AppTest.from_function(_draw, default_timeout=120)
    app.session_state["shown"], app.session_state["other"] = run, other
    app.session_state["failures"] = []
    return app.run()
