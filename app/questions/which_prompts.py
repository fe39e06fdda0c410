"""Prompt by prompt: where a circuit fails although the model succeeds; a click loads that prompt."""

from __future__ import annotations

import streamlit as st

from app import url
from app.questions import add_to_run, choices
from app.widgets.markdown import plain
from app.widgets.tables import grid
from app.words import say, widget
from app.work import opened_models
from hap_engine.report.by_prompt import RULES, STATUSES, PromptOutcome, by_prompt, closer, measured, summary
from hap_engine.runs.record import Run

SHOWN = 60  # characters of a prompt, its last: they fit their column


def show(run: Run, left: str, right: str, pins: list[str]) -> None:
    """The table of one circuit, with a filter by outcome."""
    known = [name for name in run.circuits if measured(run, name)]
    if not known:
        _measure(run)
        return
    side, rule = st.columns([2, 3], vertical_alignment="bottom")
    with side:
        name = choices.circuit(known, run, f"table-{run.id}")
    success = rule.segmented_control(
        **widget("outcomes.rule"), options=list(RULES), default="beats", format_func=RULES.__getitem__, required=True
    )
    success = success or "beats"
    sentence = summary(run, name, success)
    if left != name and left in known:
        sentence += " " + closer(run, left, name)
    st.markdown(plain(sentence))
    outcomes = by_prompt(run, name, success)
    order = list(STATUSES)
    counts = {key: sum(o.status == key for o in outcomes) for key in STATUSES}
    wanted = st.pills(
        "Show",
        [key for key in STATUSES if counts[key]],
        selection_mode="multi",
        format_func=lambda key: f"{STATUSES[key]} ({counts[key]})",
        key=f"status-{run.id}-{name}",
    )
    rows = [outcome for outcome in outcomes if not wanted or outcome.status in wanted]
    rows.sort(key=lambda outcome: order.index(outcome.status))  # stable: by KL within each
    _table(run, name, rows)


def _table(run: Run, name: str, rows: list[PromptOutcome]) -> None:
    tests = run.prompts["test"]
    shown = [
        {
            "#": row.index + 1,
            "Prompt": _end(tests[row.index].get("clean", "")),
            "Answer": str(tests[row.index].get("answer", "")).strip(),
            "Instead": str(tests[row.index].get("distractor", "")).strip() if row.logit_diff < 0 else "",
            "Outcome": STATUSES[row.status],
            "Full model": row.full_logit_diff,
            "Circuit": row.logit_diff,
            "KL": row.kl,
        }
        for row in rows
    ]
    key = f"outcomes-{run.id}-{name}-{len(rows)}"

    def pick(row: PromptOutcome) -> None:
        choices.choose(row.index)
        st.session_state["prompt-picked"] = True

    grid(
        shown,
        "outcomes.columns",
        height=min(420, 38 + 35 * max(1, len(rows))),
        key=key,
        on_select=url.with_row(key, rows, pick),
        selection_mode="single-row",
    )
    st.caption(say("outcomes.about", number=choices.prompt(run) + 1))
    if st.session_state.pop("prompt-picked", False):
        st.rerun()  # the whole page: a click here reruns only the section around this table


def _end(prompt: str) -> str:
    """Where the answer follows; how a prompt begins is often the same."""
    return prompt if len(prompt) <= SHOWN else f"… {prompt[-SHOWN:]}"


def _measure(run: Run) -> None:
    """An older run: say what is missing, and measure it if the weights are here."""
    st.info(**widget("outcomes.old"))
    if opened_models.button(run, **widget("outcomes.measure")):
        add_to_run.begin_per_prompt(run)
    add_to_run.finish(run)
