"""One row of somebody's prompts: its tokens, a mend, proposals for the corruption, and the model's word."""

from __future__ import annotations

import re
from collections.abc import Generator
from typing import Any

import streamlit as st
from tokenizers import Tokenizer

from app.own_prompts import drafts, table, tokens
from app.own_prompts.drafts import Row
from app.widgets import tables
from app.widgets.markdown import plain, visible
from app.words import say, widget
from app.work import opened_models, workers
from hap_engine.files import short_hash
from hap_engine.models.catalog import Source
from hap_engine.progress import Progress
from hap_engine.tasks.editing import align, propose
from hap_engine.tasks.reader import Reader, encode_rows
from hap_engine.tasks.spaces import AS_WRITTEN
from hap_engine.workflows.run_prompts import scored

WORD = re.compile(r"\S+")


def show(source: Source | None, reader: Reader, rows: list[Row], wrong: dict[int, str]) -> None:
    """Draw the chosen row, the first with a problem at first."""
    st.header("Row by row", anchor=False)
    first = min(wrong, default=1)
    narrow, _ = st.columns([1, 4])
    words, key = widget("own.row"), f"draft-row-{len(rows)}-{first}"
    value = min(first, len(rows))
    number = int(narrow.number_input(**words, min_value=1, max_value=len(rows), value=value, key=key))
    row, tokenizer = rows[number - 1], reader.tokenizer
    pair = drafts.pair_of(row)
    alignment = align(tokenizer, pair.clean, pair.corrupt)
    (encoded,) = (None,) if number in wrong else encode_rows(reader, [pair])
    st.html(tokens.aligned(reader, pair.clean, pair.corrupt, alignment, encoded.names if encoded else ()))
    if encoded is None:
        st.error(f"Row {number}: {plain(wrong[number])}", icon=":material/error:")
    else:
        st.success(**widget("own.right", row=number, tokens=len(encoded.clean_ids), changed=len(alignment.changed)))
        put = pair != drafts.pair_of({**row, "spaces": AS_WRITTEN})
        st.markdown(plain(scored(reader, [encoded]) + (say("own.moved") if put else "")))
    if alignment.fix and st.button(**widget("own.mend")):
        _put(rows, number, corrupt=alignment.fix)
    if marked := _words(row, number):
        _span(rows, number, marked)
        _proposals(tokenizer, rows, number, marked)
    elif "spans" in row and st.button(**widget("own.unmark")):
        _put(rows, number, spans="")
    _ask(source, rows, wrong)


def _put(rows: list[Row], number: int, **cells: str) -> None:
    changed = [dict(row) for row in rows]
    changed[number - 1] |= cells
    table.replace_rows(changed)
    st.rerun()


def _words(row: Row, number: int) -> list[re.Match[str]]:
    """The words of the clean prompt that are chosen, in their order; none after a mark."""
    words = list(WORD.finditer(row["clean"]))
    if not words:
        return []
    chosen = st.pills(
        **widget("own.words"),
        options=range(len(words)),
        format_func=lambda index: plain(words[index][0]),
        selection_mode="multi",
        key=f"draft-span-{number}-{short_hash([row['clean'], row.get('spans', '')])}",
    )
    return [words[index] for index in sorted(chosen)]


def _span(rows: list[Row], number: int, marked: list[re.Match[str]]) -> None:
    """Mark the chosen words as a span."""
    row, (name, mark) = rows[number - 1], st.columns([3, 1], vertical_alignment="bottom")
    said = re.sub(r"[^\w+/. -]", "", name.text_input(**widget("own.span"))).strip()
    if mark.button(**widget("own.mark")):
        stretches = [(word.start(), word.start() + len(word[0].rstrip(",.;:!?") or word[0])) for word in marked]
        _put(rows, number, **drafts.with_span(row, said, _joined(row["clean"], stretches)))


def _joined(text: str, stretches: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Neighbouring words as one."""
    found = stretches[:1]
    for start, end in stretches[1:]:
        near = not text[found[-1][1] : start].strip()
        found[-1:] = [(found[-1][0], end)] if near else [found[-1], (start, end)]
    return found


def _proposals(tokenizer: Tokenizer, rows: list[Row], number: int, marked: list[re.Match[str]]) -> None:
    """Corrupted prompts with others in place of the chosen words."""
    proposals = propose(tokenizer, rows[number - 1]["clean"], marked[0].start(), marked[-1].end())
    if not proposals:
        st.info(say("own.alone"))
    for index, proposal in enumerate(proposals):
        told, use = st.columns([6, 1], vertical_alignment="center")
        told.markdown(f"{plain(proposal.corrupt)}  \n:small[{plain(proposal.reason)}]")
        if use.button("Use", key=f"draft-use-{index}", width="stretch"):
            _put(rows, number, corrupt=proposal.corrupt)


def _ask(source: Source | None, rows: list[Row], wrong: dict[int, str]) -> None:
    """Does the model give these answers, and does corruption change them? On a button: it takes torch."""
    usable = [number for number in range(1, len(rows) + 1) if number not in wrong]
    if source is None or not usable:
        return
    st.header("What the model says", anchor=False)
    pairs = [drafts.pair_of(rows[number - 1]) for number in usable]
    bos = tokens.bos()
    key = f"ask-{source.reference}-{bos}-{short_hash([pair.to_dict() for pair in pairs])}"

    def begin() -> Generator[Progress, None, Any]:
        yield Progress("load", 0, 1, "Loading PyTorch and TransformerLens")
        from hap_engine.workflows.ask_model import ask_pairs, summary

        _, _, asked = yield from ask_pairs(source.reference, pairs, bos=bos)
        return asked, summary(asked)

    if workers.short_work().get(key) is None:
        if st.button(**widget("own.ask", rows=len(usable))):
            workers.short_work().start(key, begin)
            st.rerun()
        return
    done = opened_models.result(key)
    if done is not None:
        _asked(usable, rows, *done)


def _asked(usable: list[int], rows: list[Row], asked: list[Any], text: str) -> None:
    st.markdown(plain(text))
    st.caption("The weakest pairs come first.")
    order = sorted(range(len(asked)), key=lambda index: asked[index].clean_diff)
    words = widget("own.asked")
    cells = [
        (
            str(usable[index]),
            visible(rows[usable[index] - 1]["answer"]),
            visible(asked[index].says),
            f"{asked[index].clean:.0%}",
            f"{asked[index].corrupt:.0%}",
            f"{asked[index].clean_diff:.2f}",
            asked[index].complaint,
        )
        for index in order[:50]
    ]
    tables.table([tables.Column(*column) for column in words["columns"]], cells, caption=words["caption"])
