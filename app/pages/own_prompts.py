"""The page on which somebody writes their own prompts: a table, its tokens, checks, and on to a run."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import streamlit as st

from app import classroom
from app.explore import model_and_task
from app.own_prompts import drafts, table, tokens
from app.own_prompts import row as editor
from app.own_prompts.drafts import Row
from app.widgets.markdown import plain
from hap_engine.tasks.pair import PromptPair
from hap_engine.tasks.prompts_file import to_jsonl
from hap_engine.tasks.reader import Reader, problem
from hap_engine.tasks.rows import MAX_ROWS, MIN_ROWS, sift

SHOWN_PROBLEMS = 8


def page(pages: Any) -> None:
    """Draw the page; `pages["explore"]` runs what was written."""
    st.title("Your own prompts", anchor=False)
    st.markdown(
        "Write pairs of prompts. After the **clean** one the model should say the **answer**; the "
        "**corrupted** one is the same but for the words that decide it. The circuit is what carries "
        "the difference. Everything is kept on this machine as you type."
    )
    if classroom.rules():  # one draft on one machine: a class would write over each other
        st.info("In class mode the tasks are those of the Explore page.", icon=":material/lock:")
        return
    chosen, _ = st.columns([1, 1])
    with chosen:
        source = model_and_task.model()
    table.fill(source)
    rows = table.table()
    reader = tokens.reader(source)
    if reader is None:
        st.info(
            "The tokens show once this model is on this machine: start a run with it, or choose another one above.",
            icon=":material/download:",
        )
        return
    wrong = _problems(reader, rows)
    _say(rows, wrong, pages)
    if rows:
        editor.show(source, reader, rows, wrong)


def _say(rows: list[Row], wrong: dict[int, str], pages: Any) -> None:
    """How many rows can be used, what is wrong with the others, and the way on."""
    good = len(rows) - len(wrong)
    go, take, drop = st.columns([2, 1, 1])
    if go.button(
        "Use these prompts",
        type="primary",
        icon=":material/arrow_forward:",
        width="stretch",
        disabled=bool(wrong) or good < MIN_ROWS,
        help="Goes to the Explore page with the task Your own prompts.",
    ):
        st.toast(f"{good} pairs of yours are loaded. Press Find the circuit.", icon=":material/edit_note:")
        st.switch_page(pages["explore"], query_params=_query())
    take.download_button(
        "Download",
        lambda: to_jsonl(map(drafts.pair_of, rows)),  # when asked: the browser looks for a ready file at once
        "prompts.jsonl",
        "application/jsonl",
        on_click="ignore",
        icon=":material/download:",
        width="stretch",
        disabled=not rows,
        help="A file for discover --task custom --prompts-file.",
    )
    if drop.button("Drop unusable rows", disabled=not wrong, icon=":material/filter_alt:", width="stretch"):
        table.replace_rows([row for number, row in enumerate(rows, 1) if number not in wrong])
        st.rerun()
    if not rows:
        st.caption("No rows yet. Type into the table, paste, open a file, or start from a task.")
        return
    need = f" A run needs at least {MIN_ROWS}." if good < MIN_ROWS else ""
    st.markdown(f"**{good} of {len(rows)}** rows can be used with this model.{need}")
    for number in list(wrong)[:SHOWN_PROBLEMS]:
        st.markdown(f"- Row {number}: {plain(wrong[number])}")
    if len(wrong) > SHOWN_PROBLEMS:
        st.caption(f"… and {len(wrong) - SHOWN_PROBLEMS} more.")


def _query() -> dict[str, str]:
    model = st.query_params.get("model")
    return {"task": "custom", **({"model": model} if model else {})}


def _problems(reader: Reader, rows: Sequence[Row]) -> dict[int, str]:
    """What is wrong with each row (from 1) that cannot be used."""
    return dict(sift(list(map(drafts.pair_of, rows)), lambda pair: _problem(reader, json.dumps(pair.to_dict())))[1])


@lru_cache(maxsize=4 * MAX_ROWS)
def _problem(reader: Reader, pair: str) -> str:
    """Kept by row: after a change only that row is looked at again."""
    return problem(reader, PromptPair.from_dict(json.loads(pair)))
