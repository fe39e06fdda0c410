"""Small tables as plain HTML: they need none of the megabyte that a data grid brings to the browser,
so the first page can show numbers at once, every cell escaped. And `grid`, where rows are sorted or selected."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import streamlit as st

from app.words import widget
from hap_engine.words import beside

STYLE = beside(__file__, "tables.html")


@dataclass(frozen=True)
class Column:
    """A column: its title, a help text, and whether it holds words or numbers."""

    title: str
    help: str = ""
    words: bool = False


def table(
    columns: Sequence[Column], rows: Sequence[Sequence[str]], *, caption: str, strong: Mapping[int, bool] | None = None
) -> None:
    """Show a table; the first column names the rows. `strong` marks rows by index."""
    st.html(STYLE + markup(columns, rows, caption=caption, strong=strong))


def markup(
    columns: Sequence[Column], rows: Sequence[Sequence[str]], *, caption: str, strong: Mapping[int, bool] | None = None
) -> str:
    """The table as HTML (`caption` is for screen readers)."""
    head = "".join(
        f'<th scope="col"{_class(c) if i else " class=words"}{_title(c)}>{html.escape(c.title)}</th>'
        for i, c in enumerate(columns)
    )
    body = "".join(
        f"<tr{' class=strong' if (strong or {}).get(i) else ''}>" + _cells(columns, row) + "</tr>"
        for i, row in enumerate(rows)
    )
    return (
        f'<div class="hap-scroll" tabindex="0" role="region" aria-label="{html.escape(caption)}">'
        f'<table class="hap-table"><caption>{html.escape(caption)}</caption>'
        f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def _cells(columns: Sequence[Column], row: Sequence[str]) -> str:
    first, *rest = zip(columns, row, strict=True)
    cells = [f'<th scope="row" class="words">{html.escape(first[1])}</th>']
    cells += [f"<td{_class(column)}>{html.escape(text)}</td>" for column, text in rest]
    return "".join(cells)


def _class(column: Column) -> str:
    return ' class="words"' if column.words else ""


def _title(column: Column) -> str:
    return f' title="{html.escape(column.help)}"' if column.help else ""


def grid(rows: Any, columns: str = "", *, titles: Mapping[str, str] | None = None, **more: Any) -> Any:
    """Show rows, or columns of them, in a data grid; what ``st.dataframe`` gives back.

    Args:
        columns: where ``words.toml`` says how columns look; one with a format holds numbers, others text.
        titles: values that their words name.
        more: further arguments of ``st.dataframe``.
    """
    import pandas as pd

    number, text = st.column_config.NumberColumn, st.column_config.TextColumn
    if columns:
        looks = widget(columns, **(titles or {})).items()
        more["column_config"] = {name: (number if "format" in look else text)(**look) for name, look in looks}
    return st.dataframe(pd.DataFrame(rows), hide_index=True, **more)
