"""Read prompts from a file: JSONL or CSV, one clean/corrupt pair a row, or a run file.

    {"clean": "The opposite of hot is", "corrupt": "The opposite of big is", "answer": " cold", "distractor": " small"}

``answer`` may be a list of right answers, and ``distractor`` one of wrong ones. CSV needs a header with the
four names. A run file holds its prompts, so a run can be repeated from it.

Two things are put right without asking, for they are never meant: a space at the end of both prompts is
moved to the answers, and an answer that is a word gets the space that separates it from the prompt.
Everything else that cannot be used is refused, with the row and the remedy. What depends on a tokenizer
is checked in `hap_engine.tasks.custom`.
"""

from __future__ import annotations

import csv
import io
import json
import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from hap_engine.errors import TaskError
from hap_engine.tasks.base import PromptPair

KEYS = ("clean", "corrupt", "answer", "distractor")
MIN_ROWS, MAX_ROWS = 10, 1_000
MAX_BYTES = 4 * 2**20  # 1,000 pairs of 128 tokens are about 1.5 MB
# Invisible characters that reorder or hide text. (Right-to-left letters and the joiner of emoji are fine.)
HIDDEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f\u200b\u200e\u200f\u202a-\u202e\u2060\u2066-\u2069\ufeff\ud800-\udfff]"
)


def read_prompts(path: Path) -> tuple[PromptPair, ...]:
    """The pairs of a ``.jsonl``, ``.csv`` or run file.

    Raises:
        TaskError: with the row and the remedy.
    """
    try:
        if path.stat().st_size > 5 * MAX_BYTES:  # a run file is larger than its prompts
            raise TaskError(_too_large(path.stat().st_size))
        data = path.read_bytes()
    except OSError as error:
        raise TaskError(
            f"The prompts file {path} cannot be read ({error.strerror}). Check its path."
        ) from None
    return parse_prompts(data, path.name)


def parse_prompts(data: bytes, name: str = "prompts.jsonl") -> tuple[PromptPair, ...]:
    """The pairs in a file's content, checked as far as that goes without a tokenizer.

    Args:
        name: the file's name; ``.csv`` decides that it is CSV.

    Raises:
        TaskError: with the row and the remedy.
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
    return check_rows([_pair(number, row) for number, row in enumerate(rows, 1)])


def check_rows(pairs: Sequence[PromptPair]) -> tuple[PromptPair, ...]:
    """Pairs with their spaces put right; what holds for any tokenizer is checked.

    Raises:
        TaskError: with the row and the remedy.
    """
    _check_count(len(pairs))
    seen: dict[tuple[str, str], int] = {}
    checked = []
    for number, pair in enumerate(pairs, 1):
        good = with_spaces(pair)
        if wrong := complaint(good):
            raise TaskError(f"Row {number}: {wrong}")
        first = seen.setdefault((good.clean, good.corrupt), number)
        if first != number:
            raise TaskError(
                f"Row {number} repeats row {first} ({good.clean!r}). Remove one of them: the same prompt "
                "must not count twice, nor be learned from and tested on."
            )
        checked.append(good)
    return tuple(checked)


def with_spaces(pair: PromptPair) -> PromptPair:
    """Move a space from the end of both prompts to the answers; put one before a word."""
    clean, corrupt = pair.clean.rstrip(" "), pair.corrupt.rstrip(" ")
    moved = clean != pair.clean and corrupt != pair.corrupt

    def spaced(text: str) -> str:
        if moved and text and not text.startswith(" "):
            return f" {text}"
        if re.match("[A-Za-z]", text) and re.search(r"[\w,;:!?]$", clean):
            return f" {text}"
        return text

    return replace(
        pair,
        clean=clean if moved else pair.clean,
        corrupt=corrupt if moved else pair.corrupt,
        answer=spaced(pair.answer),
        distractor=spaced(pair.distractor),
        more_answers=tuple(map(spaced, pair.more_answers)),
        more_distractors=tuple(map(spaced, pair.more_distractors)),
    )


def _decode(data: bytes) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        row = data[: error.start].count(b"\n") + 1
        guess = " (it looks like UTF-16)" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else ""
        raise TaskError(
            f"Line {row} of the file is not UTF-8 text{guess}. Save the file again with the encoding UTF-8."
        ) from None


def _json_rows(text: str) -> Iterator[dict[str, Any]]:
    lines = re.split(r"\r?\n", text.rstrip())
    _check_count(len(lines) if text.strip() else 0)
    for number, line in enumerate(lines, 1):
        if not line.strip():
            raise TaskError(f"Row {number} is empty. Delete the line.")
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            reason = getattr(error, "msg", "nested too deeply")
            hint = (
                " (a file with one list of objects is JSON, not JSONL)"
                if line.strip() == "["
                else ""
            )
            raise TaskError(
                f"Row {number} is not JSON: {reason}{hint}. Expected one object a line: "
                '{"clean": "…", "corrupt": "…", "answer": " …", "distractor": " …"}.'
            ) from None
        if not isinstance(row, dict):
            raise TaskError(
                f"Row {number}: expected an object with the keys {', '.join(KEYS)}, got "
                f"{type(row).__name__}. Write one object a line."
            )
        yield row


def _csv_rows(text: str) -> Iterator[dict[str, Any]]:
    header = text.split("\n", 1)[0]
    delimiter = max(",;\t", key=header.count)
    reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter)
    try:
        names = [str(name).strip().lower() for name in reader.fieldnames or ()]
        missing = [key for key in KEYS if key not in names]
        if missing:
            raise TaskError(
                f"The first line of a CSV file must name the columns {', '.join(KEYS)}; "
                f"{', '.join(missing)} is missing. Add the header."
            )
        reader.fieldnames = names
        for number, row in enumerate(reader, 1):
            if number > MAX_ROWS:
                _check_count(number + sum(1 for _ in reader))
            if None in row:
                raise TaskError(
                    f"Row {number} (below the header) has more cells than the header. Put quotation marks "
                    "around texts that hold a comma."
                )
            for key in KEYS:
                if re.match(r"[=@\t]|[+-](?!\s*[\d.])", row[key] or ""):
                    raise TaskError(
                        f"Row {number} (below the header): {key} begins with {row[key][0]!r}, which a "
                        "spreadsheet runs as a formula. Begin with another character, or use JSONL, "
                        "where a text is only text."
                    )
            yield dict(row)
    except csv.Error as error:
        raise TaskError(
            f"Line {reader.line_num} cannot be read as CSV ({error}). Save the file as CSV again, or use JSONL."
        ) from None


def _run_prompts(text: str) -> list[dict[str, Any]] | None:
    """The prompts of a run file; None for any other text."""
    if not re.match(r"\s*\{\s*\"", text) or '"hap-run"' not in text[:2000]:
        return None
    try:
        prompts = json.loads(text)["prompts"]
        return [dict(row) for split in prompts.values() for row in split]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None


def _pair(number: int, row: Mapping[str, Any]) -> PromptPair:
    """A row as a pair. Raises TaskError for missing keys and wrong types."""
    for key in KEYS:
        value = row.get(key)
        if key not in row or value is None:
            raise TaskError(
                f"Row {number} has no {key!r}. Every row needs the keys {', '.join(KEYS)}."
            )
        several = key in ("answer", "distractor") and isinstance(value, list) and value
        if not all(isinstance(text, str) for text in (value if several else [value])):
            raise TaskError(
                f"Row {number}: expected {key!r} as text in quotation marks, got {str(value)[:40]}."
            )
    texts = {key: row[key] if isinstance(row[key], list) else [row[key]] for key in KEYS}
    for key, more in (("answer", "more_answers"), ("distractor", "more_distractors")):
        if isinstance(row.get(more), list):  # as a run file keeps them
            texts[key] = [*texts[key], *map(str, row[more])]
    return PromptPair(
        row["clean"], row["corrupt"], texts["answer"][0], texts["distractor"][0],
        more_answers=tuple(texts["answer"][1:]), more_distractors=tuple(texts["distractor"][1:]),
    )  # fmt: skip


def _check_count(rows: int) -> None:
    if rows > MAX_ROWS:
        raise TaskError(
            f"Expected at most {MAX_ROWS:,} rows, got {rows:,}. Keep a random {MAX_ROWS:,} of them: more "
            "prompts would cost time and change the circuit little."
        )
    if rows < MIN_ROWS:
        raise TaskError(
            f"Expected at least {MIN_ROWS} rows, got {rows}. Add pairs: a circuit that is learned from "
            "fewer says nothing about other prompts."
        )


def _too_large(size: int) -> str:
    return (
        f"Expected a file of at most {MAX_BYTES / 2**20:.0f} MB, got {size / 2**20:.1f} MB. Keep at most "
        f"{MAX_ROWS:,} short pairs."
    )


def complaint(pair: PromptPair) -> str:
    """What is wrong with a pair for any tokenizer, or nothing."""
    for key, texts in zip(
        KEYS, ((pair.clean,), (pair.corrupt,), pair.answers, pair.distractors), strict=True
    ):
        for text in texts:
            if not text.strip():
                return f"{key} is empty. Write a text or delete the row."
            hidden = HIDDEN.search(text) or re.search(
                r"[\x00-\x08\x0b-\x1f\x7f\ud800-\udfff]", text
            )
            if hidden:
                name = unicodedata.name(hidden[0], "a control character").lower()
                return (
                    f"{key} holds an invisible character (U+{ord(hidden[0]):04X}, {name}). "
                    "Delete it, or type the text anew."
                )
    if pair.clean == pair.corrupt:
        return (
            f"clean and corrupt are the same ({pair.clean!r}). Change the words that carry what the "
            "task asks for."
        )
    if both := set(pair.answers) & set(pair.distractors):
        return f"{min(both)!r} is both answer and distractor. Choose a distractor that is wrong."
    return ""
