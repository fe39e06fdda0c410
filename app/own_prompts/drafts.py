"""The prompts that somebody is writing: rows of texts, kept on disk at every change (no Streamlit here).

A draft may be half finished, so nothing is refused here; `pair_of` gives a row as the engine takes it. Several right
answers stand in one cell, with ``|`` between them. Two tabs may write one draft: no row of either is lost.
"""

from __future__ import annotations

import csv
import io
import json
import threading
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from app.stored import json_files
from hap_engine.tasks.pair import PromptPair
from hap_engine.tasks.rows import KEYS, with_spaces

Row = dict[str, str]
FILE = ("prompts", "draft.json")
BETWEEN = "|"  # of several answers in one cell
_saving = threading.Lock()  # reading and writing belong together


def load() -> list[Row]:
    """The draft as it was left; nothing if there is none or it cannot be read."""
    return _read() or []


def save(rows: Sequence[Row], seen: Sequence[Row]) -> list[Row]:
    """Keep the draft, with what another tab did to it since `seen`; returns what is kept. Raises DiskError."""
    with _saving:
        theirs = _read()
        both = merged(seen, rows, seen if theirs is None else theirs)
        if both != theirs:
            json_files.write(both, *FILE)
    return both


def merged(seen: Sequence[Row], mine: Sequence[Row], theirs: Sequence[Row]) -> list[Row]:
    """`mine`, without the rows that the others took out since both were `seen`, and with those that they added.

    A row that both changed stays in both versions.
    """
    before, now, other = (Counter(map(_cells, rows)) for rows in (seen, mine, theirs))
    gone, new = before - other, (other - before) - (now - before)
    return [row for row in mine if not _take(gone, row)] + [row for row in theirs if _take(new, row)]


def _cells(row: Row) -> tuple[str, ...]:
    return tuple(row[key] for key in KEYS)


def _take(rows: Counter[tuple[str, ...]], row: Row) -> bool:
    """Whether `row` is among `rows`; takes it out."""
    there = rows[_cells(row)] > 0
    rows[_cells(row)] -= there
    return there


def _read() -> list[Row] | None:
    data = json_files.read(*FILE)
    return rows_of(data) if isinstance(data, list) else None


def rows_of(data: Iterable[Any]) -> list[Row]:
    """Rows from an editor or a file: missing cells are empty, rows without any text are left out."""
    rows = []
    for item in data:
        cells = item if isinstance(item, Mapping) else {}
        row = {key: cells[key] if isinstance(cells.get(key), str) else "" for key in KEYS}
        if any(text.strip() for text in row.values()):
            rows.append(row)
    return rows


def pair_of(row: Row) -> PromptPair:
    """A row as the engine takes it, its spaces put right."""
    answers, distractors = (_cell(row[key]) for key in ("answer", "distractor"))
    return with_spaces(
        PromptPair(
            row["clean"],
            row["corrupt"],
            answers[0],
            distractors[0],
            more_answers=tuple(answers[1:]),
            more_distractors=tuple(distractors[1:]),
        )
    )


def row_of(pair: PromptPair) -> Row:
    """A pair as a row of the editor."""
    return {
        "clean": pair.clean,
        "corrupt": pair.corrupt,
        "answer": BETWEEN.join(pair.answers),
        "distractor": BETWEEN.join(pair.distractors),
    }


def to_jsonl(rows: Sequence[Row]) -> str:
    """A prompts file, as `discover --prompts-file` reads it."""
    lines = []
    for row in rows:
        pair = pair_of(row)
        answers, distractors = list(pair.answers), list(pair.distractors)
        lines.append(
            {
                "clean": pair.clean,
                "corrupt": pair.corrupt,
                "answer": answers if len(answers) > 1 else answers[0],
                "distractor": distractors if len(distractors) > 1 else distractors[0],
            }
        )
    return "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)


def pasted(text: str) -> list[Row]:
    """Rows from text copied out of a spreadsheet or typed: four cells a line, tabs or commas between."""
    lines = [line for line in text.splitlines() if line.strip()]
    tabs = sum("\t" in line for line in lines) > len(lines) / 2
    cells = csv.reader(io.StringIO("\n".join(lines)), delimiter="\t" if tabs else ",")
    rows = [dict(zip(KEYS, line, strict=False)) for line in cells]
    if rows and [str(cell).strip().lower() for cell in rows[0].values()] == list(KEYS):
        rows = rows[1:]  # the header was copied too
    return rows_of(rows)


def _cell(text: str) -> list[str]:
    """The answers in a cell. A space before a word belongs to it, one after it does not."""
    parts = [part.rstrip() for part in text.split(BETWEEN) if part.strip()]
    return parts if len(parts) > 1 else [text]
