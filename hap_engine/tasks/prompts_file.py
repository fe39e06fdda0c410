"""Read prompts from a file: JSONL or CSV, one clean/corrupt pair a row, or a run file.

    {"clean": "The opposite of hot is", "corrupt": "The opposite of big is", "answer": " cold", "distractor": " small"}

``answer`` may be a list of right answers, and ``distractor`` one of wrong ones. CSV needs a header with the
four names. A run file holds its prompts, so a run can be repeated from it.

What the rows must be like is checked in `hap_engine.tasks.rows`.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from hap_engine.errors import TaskError
from hap_engine.tasks.pair import PromptPair
from hap_engine.tasks.rows import KEYS, MAX_ROWS, check_count, check_rows

MAX_BYTES = 4 * 2**20  # 1,000 pairs of 128 tokens are about 1.5 MB
NUMBER = r"[+-]\s*\d[\d.,]*\s*$"  # the only text with such a sign in front that a spreadsheet shows as it is
EXAMPLE = '{"clean": "…", "corrupt": "…", "answer": " …", "distractor": " …"}'
Row = dict[str, Any] | str  # as read, or why it cannot be
FORMULA = re.compile(rf"[=@\t\r]|(?!{NUMBER})[+-]")


def read_prompts(path: Path) -> tuple[PromptPair, ...]:
    """The pairs of a ``.jsonl``, ``.csv`` or run file.

    Raises:
        TaskError: with every row that cannot be used and the remedy.
    """
    return check_rows(read_rows(path))


def read_rows(path: Path) -> list[PromptPair | str]:
    """The rows of a ``.jsonl``, ``.csv`` or run file, as `parse_rows` gives them.

    Raises:
        TaskError: for a file of which no row can be read.
    """
    try:
        if path.stat().st_size > 5 * MAX_BYTES:  # a run file is larger than its prompts
            raise TaskError(_too_large(path.stat().st_size))
        data = path.read_bytes()
    except OSError as error:
        raise TaskError(f"The prompts file {path} cannot be read ({error.strerror}). Check its path.") from None
    return parse_rows(data, path.name)


def parse_rows(data: bytes, name: str = "prompts.jsonl") -> list[PromptPair | str]:
    """Each row in a file's content: a pair, or what keeps it from being one and the remedy.

    Args:
        name: the file's name; ``.csv`` decides that it is CSV.

    Raises:
        TaskError: for a file of which no row can be read.
    """
    text = _decode(data)
    if name.lower().endswith(".csv"):
        rows = list(_csv_rows(text))
    elif (run := _run_prompts(text)) is not None:
        rows = run
    elif len(data) > MAX_BYTES:
        raise TaskError(_too_large(len(data)))
    else:
        rows = list(_json_rows(text))
    return [row if isinstance(row, str) else _pair(row) for row in rows]


def _decode(data: bytes) -> str:
    utf16 = data[:2] in (b"\xff\xfe", b"\xfe\xff") or b"\0" in data[:4]  # its mark, or plain letters
    start = 0
    try:
        if not utf16:
            return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        start = error.start
    line, guess = data[:start].count(b"\n") + 1, " (it looks like UTF-16)" if utf16 else ""
    raise TaskError(f"Line {line} of the file is not UTF-8 text{guess}. Save the file again with the encoding UTF-8.")


def _json_rows(text: str) -> Iterator[Row]:
    lines = re.split(r"\r?\n", text.rstrip())
    check_count(len(lines) if text.strip() else 0)
    if lines[0].strip() == "[":
        raise TaskError(f"The file is one list, which is JSON, not JSONL. Write one object a line: {EXAMPLE}.")
    return map(_json_row, lines)


def _json_row(line: str) -> Row:
    if not line.strip():
        return "it is empty. Delete the line."
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        reason = getattr(error, "msg", "nested too deeply")
        return f"it is not JSON: {reason}. Expected one object a line: {EXAMPLE}."
    if not isinstance(row, dict):
        return f"expected an object with the keys {', '.join(KEYS)}, got {type(row).__name__}. Write one object a line."
    return row


def _csv_rows(text: str) -> Iterator[Row]:
    delimiter = max(",;\t", key=text.split("\n", 1)[0].count)
    reader = csv.reader(io.StringIO(text.rstrip("\r\n"), newline=""), delimiter=delimiter)
    try:
        names = [name.strip().lower() for name in next(reader, [])]
        missing = [key for key in KEYS if key not in names]
        if missing:
            raise TaskError(
                f"The first line of a CSV file must name the columns {', '.join(KEYS)}; "
                f"{', '.join(missing)} is missing. Add the header."
            )
        for number, cells in enumerate(reader, 1):
            if number > MAX_ROWS:
                check_count(number + sum(1 for _ in reader))
            yield _csv_row(names, cells)
    except csv.Error as error:
        raise TaskError(
            f"Line {reader.line_num} cannot be read as CSV ({error}). Save the file as CSV again, or use JSONL."
        ) from None


def _csv_row(names: list[str], cells: list[str]) -> Row:
    if not cells:
        return "it is empty. Delete the line."
    if len(cells) > len(names):
        return "it has more cells than the header. Put quotation marks around texts that hold a comma."
    row = dict(zip(names, cells, strict=False))
    for key in KEYS:
        if FORMULA.match(row.get(key, "")):
            return (
                f"{key} begins with {row[key][0]!r}, which a spreadsheet runs as a formula. Begin with "
                "another character, or use JSONL, where a text is only text."
            )
    return row


def _run_prompts(text: str) -> list[Row] | None:
    """The prompts of a run file; None for any other text."""
    if not re.match(r"\s*\{\s*\"", text) or '"hap-run"' not in text[:2000]:
        return None
    try:
        prompts = json.loads(text)["prompts"]
        return [dict(row) for split in prompts.values() for row in split]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None


def _pair(row: Mapping[str, Any]) -> PromptPair | str:
    """A row as a pair, or what is wrong with its keys."""
    for key in KEYS:
        value = row.get(key)
        if key not in row or value is None:
            return f"it has no {key!r}. Every row needs the keys {', '.join(KEYS)}."
        several = key in ("answer", "distractor") and isinstance(value, list) and value
        if not all(isinstance(text, str) for text in (value if several else [value])):
            return f"expected {key!r} as text in quotation marks, got {str(value)[:40]}."
    texts = {key: row[key] if isinstance(row[key], list) else [row[key]] for key in KEYS}
    for key, more in (("answer", "more_answers"), ("distractor", "more_distractors")):
        if isinstance(row.get(more), list):  # as a run file keeps them
            texts[key] = [*texts[key], *map(str, row[more])]
    return PromptPair(
        row["clean"],
        row["corrupt"],
        texts["answer"][0],
        texts["distractor"][0],
        more_answers=tuple(texts["answer"][1:]),
        more_distractors=tuple(texts["distractor"][1:]),
    )


def _too_large(size: int) -> str:
    return (
        f"Expected a file of at most {MAX_BYTES / 2**20:.0f} MB, got {size / 2**20:.1f} MB. Keep at most "
        f"{MAX_ROWS:,} short pairs."
    )
