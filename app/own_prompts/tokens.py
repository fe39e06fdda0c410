"""Prompts as tokens, one prompt above the other, for reading: HTML in which every text is escaped."""

from __future__ import annotations

import html
from collections.abc import Sequence
from contextlib import suppress
from itertools import groupby
from pathlib import Path

import streamlit as st
from tokenizers import Tokenizer

from app.widgets.markdown import visible
from hap_engine.errors import SettingsError
from hap_engine.models.catalog import Source, tokenizer_file
from hap_engine.models.reader import reader_of
from hap_engine.tasks.editing import Alignment
from hap_engine.tasks.pair import encode, token_text
from hap_engine.tasks.reader import Reader
from hap_engine.words import beside

SPAN_COLOURS = 5  # in the style
STYLE = beside(__file__, "tokens.html")


def pieces(tokenizer: Tokenizer, text: str) -> list[str]:
    """What each token stands for in `text`.

    Several tokens may share one character (most emoji): the first shows it, the others a dot.
    """
    texts, before = [], (-1, -1)
    for start, end in tokenizer.encode(text, add_special_tokens=False).offsets:
        shared = (start, end) == before or end <= before[1]
        texts.append("·" if shared else text[start:end])
        before = (start, max(end, before[1]))
    return texts


def aligned(reader: Reader, clean: str, corrupt: str, alignment: Alignment, names: Sequence[str] = ()) -> str:
    """Both prompts as a table with one column a token, and the names of their spans; where they differ is marked."""
    tokenizer, texts = reader.tokenizer, (clean, corrupt)
    first = [token_text(tokenizer, token) for token in reader.first(*(encode(tokenizer, text) for text in texts))]
    sides = [[*first, *pieces(tokenizer, text)] for text in texts]
    width = max(map(len, sides), default=0)
    numbers = "".join(f'<td class="at">{at + 1}</td>' for at in range(width))
    named = zip(("Clean", "Corrupted"), sides, strict=True)
    rows = [_row(name, side, width, alignment, len(first)) for name, side in named]
    shown = "".join(f'<p class="hap-text">{html.escape(text)}</p>' for text in texts)
    return (
        f"{STYLE}{shown}<div style='overflow-x:auto'><table class='hap-tokens'>"
        f"<tr><th></th>{numbers}</tr>{''.join(rows)}{_spans(names)}</table></div>"
    )


def _spans(names: Sequence[str]) -> str:
    """The row of the spans, each name once over its tokens and in its colour."""
    order, cells = [*dict.fromkeys(filter(None, names))], ""
    for name, tokens in groupby(names):
        kind = f"span s{order.index(name) % SPAN_COLOURS}" if name else "none"
        cells += f'<td class="{kind}" colspan="{len(list(tokens))}">{html.escape(name)}</td>'
    return f"<tr><th>Spans</th>{cells}</tr>" if order else ""


def _row(name: str, side: Sequence[str], width: int, alignment: Alignment, first: int) -> str:
    cells = []
    for at in range(width):
        if at >= len(side):
            cells.append('<td class="none"></td>')
            continue
        kinds = ["other"] if at - first in alignment.changed else []
        if at - first == alignment.mismatch:
            kinds.append("wrong")
        cells.append(f'<td class="{" ".join(kinds)}"><bdi>{html.escape(visible(side[at]))}</bdi></td>')
    return f"<tr><th>{name}</th>{''.join(cells)}</tr>"


@st.cache_resource(max_entries=4, show_spinner=False)
def _reader(path: Path, modified: int, bos: str, _source: Source) -> Reader | None:
    found = reader_of(_source)
    with suppress(SettingsError):  # asked for a token that it has not: the run will say so
        return found and found.feeding(bos)
    return found


def bos() -> str:
    """What is chosen for the beginning-of-text token where a run is started, under *Advanced*."""
    return str(st.session_state.get("bos", "auto"))


def reader(source: Source | None) -> Reader | None:
    """How the model reads prompts, if its tokenizer is on this machine; read once (no torch)."""
    path = tokenizer_file(source) if source else None
    return _reader(path, path.stat().st_mtime_ns, bos(), source) if path and source else None
