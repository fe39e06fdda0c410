"""Small tables as plain HTML: they need none of the megabyte that a data grid brings to the browser,
so the first page can show numbers at once. Every cell is escaped."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import streamlit as st

STYLE = """<style>
.hap-table { width: 100%; border-collapse: collapse; font-size: 13.5px; margin: 2px 0 6px; }
.hap-table caption { text-align: left; position: absolute; clip-path: inset(50%); }
.hap-table th, .hap-table td { padding: 6px 5px; text-align: right; font-variant-numeric: tabular-nums;
  border-bottom: 1px solid color-mix(in srgb, currentColor 16%, transparent); }
.hap-table thead th { font-weight: 600; white-space: nowrap; }
.hap-table thead th[title] { cursor: help; text-decoration: underline dotted; text-underline-offset: 3px; }
.hap-table .words { text-align: left; font-weight: 400; }
.hap-table tr.strong > * { font-weight: 650; }
.hap-scroll { overflow-x: auto; scrollbar-width: thin; }
</style>"""


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
