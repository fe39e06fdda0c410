"""The page on which somebody writes their own prompts: a table, its tokens, checks, and on to a run."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import streamlit as st

from app import classroom, url
from app.explore import model_and_task
from app.own_prompts import drafts, table, tokens
from app.own_prompts import row as editor
from app.own_prompts.drafts import Row
from app.widgets.markdown import plain
from app.words import say, widget
from hap_engine.tasks.pair import PromptPair
from hap_engine.tasks.prompts_file import to_jsonl
from hap_engine.tasks.reader import Reader, problem
from hap_engine.tasks.rows import MAX_ROWS, MIN_ROWS, sift

SHOWN_PROBLEMS = 8


def page(pages: Any) -> None:
    """Draw the page; `pages["explore"]` runs what was written."""
    st.title("Your own prompts", anchor=False)
    st.markdown(say("own.about"))
    if classroom.rules():  # one draft on one machine: a class would write over each other
        st.info(**widget("own.class"))
        return
    chosen, _ = st.columns([1, 1])
    with chosen:
        source = model_and_task.model()
    table.fill(source)
    rows = table.table()
    reader = tokens.reader(source)
    if reader is None:
        st.info(**widget("own.absent"))
        return
    wrong = _problems(reader, rows)
    _say(rows, wrong, pages)
    if rows:
        editor.show(source, reader, rows, wrong)


def _say(rows: list[Row], wrong: dict[int, str], pages: Any) -> None:
    """How many rows can be used, what is wrong with the others, and the way on."""
    good = len(rows) - len(wrong)
    go, take, drop = st.columns([2, 1, 1])
    if go.button(**widget("own.use"), disabled=bool(wrong) or good < MIN_ROWS):
        st.toast(**widget("own.loaded", good=good))
        url.open_panel()
        st.switch_page(pages["explore"], query_params=_query())
    # A function: the browser looks for a ready file at once.
    take.download_button(**widget("own.download"), data=lambda: to_jsonl(map(drafts.pair_of, rows)), disabled=not rows)
    if drop.button(**widget("own.drop"), disabled=not wrong):
        table.replace_rows([row for number, row in enumerate(rows, 1) if number not in wrong])
        st.rerun()
    if not rows:
        st.caption(say("own.empty"))
        return
    need = f" A run needs at least {MIN_ROWS}." if good < MIN_ROWS else ""
    st.markdown(say("own.usable", good=good, all=len(rows), need=need))
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
