"""The table of somebody's own prompts, and the ways to fill it: type, paste, a file, a task's prompts."""

from __future__ import annotations

from typing import Any

import pandas as pd
import streamlit as st

from app.own_prompts import drafts, tokens
from app.own_prompts.drafts import Row
from app.widgets.markdown import plain
from app.words import say, widget
from hap_engine.errors import DiskError, HapError
from hap_engine.models.catalog import Source
from hap_engine.tasks.builtin import MADE, TASKS
from hap_engine.tasks.prompts_file import MAX_BYTES, parse_rows
from hap_engine.tasks.rows import KEYS, MAX_ROWS, check_count, sift, told
from hap_engine.tasks.spaces import AS_WRITTEN
from hap_engine.tasks.task import SplitSizes
from hap_engine.workflows.run_prompts import task_prompts

EXAMPLES = SplitSizes(train=12, validation=1, test=1)


def replace_rows(rows: list[Row]) -> None:
    """Put other rows into the table (the grid itself starts anew)."""
    _keep(rows[:MAX_ROWS])
    st.session_state.pop("draft-base", None)
    st.session_state["draft-version"] = st.session_state.get("draft-version", 0) + 1


def _keep(rows: list[Row]) -> list[Row]:
    """Write the draft; returns it with what another tab did to it meanwhile."""
    try:
        merged = st.session_state["draft-seen"] = drafts.save(rows, st.session_state.get("draft-seen", []))
    except DiskError as error:
        st.session_state["draft-unsaved"] = rows
        st.warning(**widget("own.unsaved", why=plain(str(error))))
        return rows
    st.session_state.pop("draft-unsaved", None)
    if merged != rows:
        st.toast(**widget("own.merged"))
    return merged


def table() -> list[Row]:
    """The editor; what it holds is on disk before the page goes on."""
    state, key = st.session_state, f"draft-table-{st.session_state.get('draft-version', 0)}"
    if key not in state or "draft-base" not in state:  # a reload, or back from another page
        state["draft-seen"] = drafts.load()
        state["draft-base"] = state.get("draft-unsaved", state["draft-seen"])
    base = state["draft-base"]
    looks = widget("own.columns")
    frame: Any = pd.DataFrame(base, columns=list(looks), dtype=str).fillna({"spaces": drafts.BY_RULE}).fillna("")
    frame.index = pd.RangeIndex(1, len(frame) + 1, name="Row")
    columns: dict[str, Any] = {name: st.column_config.TextColumn(**look) for name, look in looks.items()}
    columns["spaces"] = st.column_config.SelectboxColumn(**looks["spaces"], options=[drafts.BY_RULE, AS_WRITTEN])
    given = [name for name in ("spans", *drafts.IDS) if any(name in row for row in base)]
    edited = st.data_editor(
        frame,
        key=key,
        num_rows="dynamic",
        hide_index=False,
        height=min(420, 110 + 35 * max(3, len(frame))),
        column_config=columns,
        column_order=[*KEYS, "spaces", *given],
        disabled=drafts.IDS,
    )
    written = edited.to_dict("records")
    rows = drafts.rows_of(written)
    if drafts.rows_of(written[: len(rows)]) != rows or len(written) < len(base):
        replace_rows(rows)  # a row was removed or emptied: number the others anew
        st.rerun()
    if rows != state["draft-seen"]:  # only then: a click must not be lost to news from another tab
        merged = _keep(rows)
        if merged != rows:
            replace_rows(merged)
            st.rerun()
    return rows


def fill(source: Source | None) -> None:
    """Ways to get rows: a file, the clipboard, a task's own; and to take them away."""
    version = st.session_state.get("draft-version", 0)  # other rows close what is open
    upload, paste, example, clear = st.columns(4)
    with upload.popover("Open a file", icon=":material/upload_file:", width="stretch", key=f"draft-open-{version}"):
        most = MAX_BYTES >> 20
        file = st.file_uploader(**widget("own.file"), key=f"draft-file-{version}", max_upload_size=most)
        if file is not None:
            _open(file.getvalue(), file.name)
    with paste.popover("Paste rows", icon=":material/content_paste:", width="stretch", key=f"draft-paste-{version}"):
        text = st.text_area(**widget("own.paste"), key=f"draft-text-{version}")
        rows = [*drafts.load(), *drafts.pasted(text)]
        if len(rows) > MAX_ROWS:
            st.error(**widget("own.many", rows=len(rows), most=MAX_ROWS))
        elif st.button("Add these rows"):  # never off: the text arrives with this very click
            if text.strip():
                replace_rows(rows)
                st.rerun()
            st.info("There is nothing to add yet.")
    with example.popover("Start from a task", icon=":material/school:", width="stretch", key=f"draft-start-{version}"):
        name = st.selectbox(
            "Task", [task.name for task in MADE], format_func=lambda task: TASKS[task].title, key="draft-task"
        )
        if st.button("Add 12 pairs of it"):
            _add_examples(name, source)
    with clear.popover("Clear", icon=":material/delete:", width="stretch", key=f"draft-clear-{version}"):
        st.markdown(say("own.clear"))
        if st.button("Remove all rows", type="primary"):
            replace_rows([])
            st.rerun()


def _open(data: bytes, name: str) -> None:
    """Put a file's rows into the table; when some cannot be used, only those that can, and on demand."""
    try:
        rows = parse_rows(data, name).rows
        pairs, wrong = sift(rows)
        check_count(len(rows))
    except HapError as error:
        st.error(plain(str(error)), icon=":material/error:")
        return
    if wrong:
        st.error(plain(told(wrong, len(rows))), icon=":material/error:")
    if not wrong or st.button(f"Open the other {len(pairs):,} rows", disabled=not pairs, key="draft-rest"):
        replace_rows([drafts.row_of(pair) for pair in pairs])
        st.rerun()


def _add_examples(name: str, source: Source | None) -> None:
    reader = tokens.reader(source)
    if reader is None:
        st.info(say("own.unread"))
        return
    task = TASKS[name]
    have = drafts.load()
    try:
        pairs = task_prompts(reader, task, EXAMPLES, len(have)).train
    except HapError as error:
        st.error(plain(str(error)), icon=":material/error:")
        return
    replace_rows([*have, *(drafts.row_of(encoded.pair) for encoded in pairs)])
    st.rerun()
