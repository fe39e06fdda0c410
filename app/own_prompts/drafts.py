"""The prompts that somebody is writing: rows of texts, kept on disk at every change (no Streamlit here).

A draft may be half finished, so nothing is refused here. Several right answers stand in one cell, with ``|`` between
them; a bar that belongs to an answer is written ``\\|``. Two tabs may write one draft: no row of either is lost.
"""

from __future__ import annotations

import re
import threading
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from app.classroom import check_change
from app.stored import json_files
from hap_engine.errors import TaskError
from hap_engine.tasks.marking.braces import Part, read_marks, with_marks
from hap_engine.tasks.pair import PromptPair
from hap_engine.tasks.prompts_file import OURS
from hap_engine.tasks.rows import KEYS
from hap_engine.tasks.spaces import AS_WRITTEN, with_spaces

Row = dict[str, str]  # those of `KEYS`, and of `EXACT` those that are set
IDS = ("answer_ids", "distractor_ids")
EXACT = ("spaces", "spans", *IDS)
BY_RULE = "by the rule"  # of the column for spaces: what an unset one is
FILE = ("prompts", "draft.json")
BETWEEN = "|"  # of several answers in one cell
BARS = re.compile(r"(?<!\\)(\\*+)\|")  # backslashes count only before a bar
PARTS = re.compile(rf"(?<![|\\])\|\|(?!\|)|{BARS.pattern}")  # two bars are an answer: an empty one is never meant
COLUMNS = {*KEYS, *EXACT}
_saving = threading.Lock()  # reading and writing belong together


def load() -> list[Row]:
    """The draft as it was left; nothing if there is none or it cannot be read."""
    return _read() or []


def save(rows: Sequence[Row], seen: Sequence[Row]) -> list[Row]:
    """Keep the draft, with what another tab did to it since `seen`; returns what is kept. Raises DiskError."""
    check_change()
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
    return tuple(row.get(key, "") for key in (*KEYS, *EXACT))


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
        texts = {key: cells[key] if isinstance(cells.get(key), str) else "" for key in (*KEYS, *EXACT)}
        row = {key: text for key, text in texts.items() if key in KEYS or text not in ("", BY_RULE)}
        if any(row[key].strip() for key in KEYS):
            rows.append(row)
    return rows


def pair_of(row: Row) -> PromptPair:
    """A row as it is scored: with the rule's spaces, unless it says otherwise."""
    answers, distractors = _cell(row["answer"]), _cell(row["distractor"])
    answer_ids, distractor_ids = (tuple(map(_id, row.get(key, "").split())) for key in IDS)
    pair = PromptPair(
        row["clean"],
        row["corrupt"],
        answers[0],
        distractors[0],
        more_answers=tuple(answers[1:]),
        more_distractors=tuple(distractors[1:]),
        answer_ids=answer_ids,
        distractor_ids=distractor_ids,
        marked=tuple(_cell(row["spans"])) if "spans" in row else (),
    )
    return pair if row.get("spaces") == AS_WRITTEN else with_spaces(pair)


def row_of(pair: PromptPair) -> Row:
    """A pair as a row of the editor, from which `pair_of` makes the same pair."""
    exact = {
        "spaces": "" if with_spaces(pair) == pair else AS_WRITTEN,
        "spans": _joined(pair.marked) if pair.marked else "",
        "answer_ids": " ".join(map(str, pair.answer_ids)),
        "distractor_ids": " ".join(map(str, pair.distractor_ids)),
    }
    return {
        "clean": pair.clean,
        "corrupt": pair.corrupt,
        "answer": _joined(pair.answers),
        "distractor": _joined(pair.distractors),
        **{key: text for key, text in exact.items() if text},
    }


def parts_of(row: Row) -> tuple[Part, ...]:
    """The marked spans of a row's clean prompt; none where they are not those of its text."""
    try:
        text, parts = read_marks(_cell(row.get("spans", ""))[0])
    except TaskError:
        return ()
    return parts if text.rstrip() == row["clean"].rstrip() else ()


def with_span(row: Row, name: str, stretches: Sequence[tuple[int, int]]) -> Row:
    """The row with parts of its clean prompt marked as a span, in place of what was marked there."""
    new = [Part(name or "part 1", start, end) for start, end in stretches]
    kept = [part for part in parts_of(row) if not any(part.start < at.end and at.start < part.end for at in new)]
    return {**row, "spans": _joined([with_marks(row["clean"], [*kept, *new])])}


def pasted(text: str) -> list[Row]:
    """Rows from text copied out of a spreadsheet (tabs) or typed (commas): four cells a line, or those of a header.

    Quotation marks belong to the text, but for those that a spreadsheet puts around a cell of several lines, and
    between commas those that stand around a cell, as in a CSV file. A comma with a space after it belongs to the text
    where the others alone give the right number of cells.
    """
    text = re.sub(r"\r\n?", "\n", text)
    first = [name.strip().lower() for name in re.split("\t" if "\t" in text else ",", text.split("\n", 1)[0])]
    header = [OURS.get(name, name) for name in first]
    names = header if {*header} <= COLUMNS else list(KEYS)
    if "\t" in text:
        lines, between = _lines(text, "\t", "\t"), "\t"  # no tab is typed into a text area
    else:
        lines, between = [_commas(line, len(names)) for line in text.split("\n")], ","
    last = len(names) - 1
    rows = [dict(zip(names, [*cells[:last], between.join(cells[last:])], strict=False)) for cells in lines]
    return rows_of(rows[1:] if names is header else rows)  # nothing is lost


def _commas(line: str, count: int) -> list[str]:
    (close,), (wide,) = _lines(line, ",(?! )", "\n"), _lines(line, ",", "\n")
    return close if len(close) == count else wide


def _lines(text: str, between: str, inner: str) -> list[list[str]]:
    """The cells of each line; `between` is a pattern of one character, `inner` is not in quoted cells."""
    cell = re.compile(rf'"((?:[^"{inner}]|"")*)"(?={between}|\n|$)|(?:(?!{between})[^\n])*')
    lines: list[list[str]] = [[]]
    at = 0
    while at <= len(text) and (found := cell.match(text, at)):  # it matches anywhere
        inside = found[1]
        quoted = inside is not None and (inner == "\n" or "\n" in inside)
        lines[-1].append(inside.replace('""', '"') if quoted else found[0])
        if text[found.end() : found.end() + 1] == "\n":
            lines.append([])
        at = found.end() + 1
    return lines


def _id(word: str) -> int:
    """The number of a token; -1, which no model has, for what is none."""
    return int(word) if word.isdecimal() and len(word) <= 10 else -1


def _cell(text: str) -> list[str]:
    """The answers in a cell, letter by letter: spaces beside a bar belong to them."""
    parts, end = [""], 0
    for bar in PARTS.finditer(text):
        if bar[1] is None:
            continue
        backslashes, escaped = divmod(len(bar[1]), 2)
        parts[-1] += text[end : bar.start()] + "\\" * backslashes + BETWEEN * escaped
        parts += [] if escaped else [""]
        end = bar.end()
    parts[-1] += text[end:]
    return parts


def _joined(answers: Sequence[str]) -> str:
    """The cell from which `_cell` reads these answers."""
    *others, last = (BARS.sub(lambda bar: bar[1] * 2 + "\\|", answer) for answer in answers)
    return BETWEEN.join([*(re.sub(r"(?<!\\)(\\++)$", r"\1\1", answer) for answer in others), last])
