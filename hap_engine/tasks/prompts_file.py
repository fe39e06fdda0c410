"""Read prompts from a file: JSONL, JSON, CSV or TSV, one clean/corrupt pair a row, or a run file.

    {"clean": "The opposite of hot is", "corrupt": "The opposite of big is", "answer": " cold", "distractor": " small"}

``answer`` may be a list of right answers, and ``distractor`` one of wrong ones. ``spans`` is the clean prompt with its
spans in braces, or a list of both prompts so; ``"spans": "marked"`` says that they are so themselves. CSV needs a
header with the four names, or with those that published data have (`NAMES`). A run file holds its prompts, so a run can
be repeated from it.

The rule of `hap_engine.tasks.spaces` is applied here; what the rows must be like is checked in `hap_engine.tasks.rows`.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hap_engine.errors import TaskError
from hap_engine.files import Pairs, parse_json, twice
from hap_engine.tasks.marking.braces import read_marks
from hap_engine.tasks.pair import KEYS, PromptPair
from hap_engine.tasks.rows import MAX_ROWS, check_count
from hap_engine.tasks.spaces import AS_WRITTEN, with_spaces
from hap_engine.words import say

MAX_BYTES = 4 * 2**20  # 1,000 pairs of 128 tokens are about 1.5 MB
MAX_RUN = 5 * MAX_BYTES  # a run file is larger than its prompts
RUN = b'"hap-run"'
MARKED = "marked"  # what `spans` says where the braces in the prompts are marks
COMMON = {"spaces", "spans"}  # what may be said once for all rows
NUMBER = r"[+-]\s*\d[\d.,]*\s*$"  # the only text with such a sign in front that a spreadsheet shows as it is
EXAMPLE = '{"clean": "…", "corrupt": "…", "answer": " …", "distractor": " …"}'
Row = dict[str, Any] | str  # as read, or why it cannot be
ID = re.compile(r"-?\d{1,12}(\.0)?")  # some tables write whole numbers with a point
FORMULA = re.compile(rf"[=@\t\r]|(?!{NUMBER})[+-]")
# What others call a column: auto-circuit's JSON, and EAP-IG's CSV for IOI, facts, gender and hypernyms.
NAMES = {
    "corrupt": "corrupted",
    "answer": "answers",
    "distractor": "distractors wrong_answers",
    "answer_ids": "answer_id correct_idx country_idx clean_answer_idx answers_idx",
    "distractor_ids": "distractor_id incorrect_idx corrupted_country_idx corrupted_answer_idx corrupted_answers_idx",
}
OURS = {theirs: ours for ours, others in NAMES.items() for theirs in others.split()}
OTHERS = {
    b"PK": "a workbook (or another zip file). Save it as CSV with the encoding UTF-8",
    b"PAR1": 'a Parquet file. Write it as JSON (pandas: to_json("pairs.jsonl", orient="records", lines=True))',
    b"\x1f\x8b": "a compressed file. Unpack it first",
}
LABELS = ("label", "correct_idx")  # alone: the two digits of a year


@dataclass(frozen=True)
class PromptRows:
    """What a file holds.

    Attributes:
        rows: pairs as they will be scored; a text stands for a row that cannot be read, and says why.
        spaced: how many rows had a space put before an answer, or moved to it.
    """

    rows: tuple[PromptPair | str, ...]
    spaced: int = 0


def read_rows(path: Path) -> PromptRows:
    """The rows of a prompts file or run file, as `parse_rows` gives them.

    Raises:
        TaskError: for a file of which no row can be read.
    """
    try:
        _check_size(path.stat().st_size, MAX_RUN)
        if not path.is_file():  # a pipe would be waited for
            raise TaskError(f"Expected a prompts file, got {path}, which is no file. Check its path.")
        data = path.read_bytes()
    except OSError as error:
        raise TaskError(f"The prompts file {path} cannot be read ({error.strerror}). Check its path.") from None
    return parse_rows(data, path.name)


def parse_rows(data: bytes, name: str = "prompts.jsonl") -> PromptRows:
    """Each row in a file's content: a pair, or what keeps it from being one and the remedy.

    Args:
        name: the file's name; ``.csv`` and ``.tsv`` decide that it is a table.

    Raises:
        TaskError: for a file of which no row can be read.
    """
    _check_size(len(data), MAX_RUN if RUN in data[:2000] else MAX_BYTES)
    text = _decode(data)
    if name.lower().endswith((".csv", ".tsv")):
        rows = list(_csv_rows(text))
    elif (run := _run_prompts(text)) is not None:
        rows = run
    else:
        rows = list(_json_rows(text))
    typed = [row if isinstance(row, str) else _pair(row) for row in rows]
    scored = [
        pair if isinstance(pair, str) or isinstance(row, str) or row.get("spaces") == AS_WRITTEN else with_spaces(pair)
        for pair, row in zip(typed, rows, strict=True)
    ]
    return PromptRows(tuple(scored), sum(pair != was for pair, was in zip(scored, typed, strict=True)))


def to_jsonl(pairs: Iterable[PromptPair]) -> str:
    """A prompts file from which exactly these pairs are read."""
    lines = []
    for pair in pairs:
        plain, exact = pair.to_dict(), {} if with_spaces(pair) == pair else {"spaces": AS_WRITTEN}
        spans = {"spans": plain.pop("marked")} if pair.marked else {}
        lines.append(json.dumps({**plain, **spans, **exact}, ensure_ascii=False) + "\n")
    return "".join(lines)


def _decode(data: bytes) -> str:
    for begins, advice in OTHERS.items():
        if data.startswith(begins):
            raise TaskError(f"Expected a prompts file as text, got {advice}.")
    marked = data[:2] in (b"\xff\xfe", b"\xfe\xff")  # what a spreadsheet calls Unicode text
    start = 0
    try:
        if marked:
            return data.decode("utf-16")
        if b"\0" not in data[:4]:
            return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        start = error.start
    line, guess = data[:start].count(b"\n") + 1, " (it looks like UTF-16)" if marked or b"\0" in data[:4] else ""
    raise TaskError(f"Line {line} of the file is not UTF-8 text{guess}. Save the file again with the encoding UTF-8.")


# --- JSON ------------------------------------------------------------------------------------------


def _json_rows(text: str) -> Iterator[Row]:
    """The rows of a list, of ``{"prompts": […]}``, or of JSON lines."""
    try:
        whole = _loads(text)
    except ValueError as error:
        if re.match(r"\s*\[|\s*\{\s*\n", text):  # no line of its own holds a row
            line = getattr(error, "lineno", 1)
            raise TaskError(say("tasks.json", reason=_reason(error), line=line, example=EXAMPLE)) from None
        whole = None  # several lines
    common: dict[str, Any] = {}
    if isinstance(whole, dict) and isinstance(whole.get("prompts"), list):
        common, whole = {key: whole[key] for key in whole.keys() & COMMON}, whole["prompts"]
    if isinstance(whole, list):
        check_count(len(whole))
        yield from (_with_common(row, common) for row in whole)
        return
    lines = re.split(r"\r?\n", text.rstrip()) if text.strip() else []
    first = _json_row(lines[0]) if lines else ""
    if isinstance(first, dict) and first and set(first) <= COMMON:
        common = first
        lines = lines[1:]
    check_count(len(lines))
    yield from (row if isinstance(row := _json_row(line), str) else _with_common(row, common) for line in lines)


def _json_row(line: str) -> Any:
    """What a line holds; a text that says why it cannot be read."""
    if not line.strip():
        return "it is empty. Delete the line."
    try:
        row = _loads(line)
    except ValueError as error:
        return f"it is not JSON: {_reason(error)}. Expected one object a line: {EXAMPLE}."
    return _not_a_row(row) if isinstance(row, str) else row


@dataclass(frozen=True)
class _Twice:
    """An object that names a key twice: whoever reads JSON takes the last, without a word."""

    key: str


def _loads(text: str) -> Any:
    def once(pairs: Pairs) -> Any:
        name = twice(pairs)
        return dict(pairs) if name is None else _Twice(name)

    return parse_json(text, once, constant=float)


def _reason(error: ValueError) -> str:
    return str(getattr(error, "msg", error))


def _with_common(row: Any, common: Mapping[str, Any]) -> Row:
    return {**common, **row} if isinstance(row, dict) else _not_a_row(row)


def _not_a_row(row: Any) -> str:
    if isinstance(row, _Twice):
        return f"it names {row.key!r} twice. Keep one of them."
    return f"expected an object with the keys {', '.join(KEYS)}, got {type(row).__name__}. Write one object a row."


def _run_prompts(text: str) -> list[Row] | None:
    """The prompts of a run file, as they were scored; None for any other text."""
    if not re.match(r"\s*\{\s*\"", text) or RUN.decode() not in text[:2000]:
        return None
    try:
        prompts = parse_json(text)["prompts"]
        return [
            {**row, "spaces": AS_WRITTEN, "spans": row.get("marked")} for split in prompts.values() for row in split
        ]
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


# --- Tables ----------------------------------------------------------------------------------------


def _csv_rows(text: str) -> Iterator[Row]:
    text = text.replace("\r\n", "\n").rstrip("\n")
    said = re.match(r"sep=(.)\n", text)  # a first line that Excel writes
    text = text[said.end() :] if said else text
    delimiter = said[1] if said else max(",;\t", key=text.split("\n", 1)[0].count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    line = 1
    try:
        names = [OURS.get(name, name) for name in (cell.strip().lower() for cell in next(reader, []))]
        _check_header(names, text)
        line = reader.line_num + 1
        for number, cells in enumerate(reader, 1):
            if number > MAX_ROWS:
                check_count(number + sum(1 for _ in reader))
            yield _csv_row(names, cells)
            line = reader.line_num + 1
    except csv.Error as error:
        raise TaskError(say("tasks.csv", line=line, error=error)) from None


def _check_header(names: list[str], text: str) -> None:
    """Raises TaskError unless all columns are there, each once."""
    missing = [key for key in KEYS if key not in names and f"{key}_ids" not in names]
    header = text.split("\n", 1)[0][:200]
    if missing:
        year = any(name in header for name in LABELS) and "distractor" in missing
        way = say("tasks.years") if year else "Add the header."
        raise TaskError(
            say("tasks.header", columns=", ".join(KEYS), missing=", ".join(missing), header=header, way=way)
        )
    if twice := [name for name in (*KEYS, "answer_ids", "distractor_ids") if names.count(name) > 1]:
        raise TaskError(f"The first line names {twice[0]!r} twice ({header!r}). Keep one of these columns.")


def _csv_row(names: list[str], cells: list[str]) -> Row:
    if not cells:
        return "it is empty. Delete the line."
    if len(cells) > len(names):
        return "it has more cells than the header. Put quotation marks around texts that hold a comma."
    row: dict[str, Any] = dict(zip(names, cells, strict=False))
    for key in KEYS:
        if re.fullmatch(r'\s+".*"\s*', row.get(key, ""), re.DOTALL):
            return say("tasks.spaced_quote", key=key)
        if FORMULA.match(row.get(key, "")):
            return say("tasks.formula", key=key, sign=row[key][0])
    for key in ("answer_ids", "distractor_ids", *COMMON):
        if key in row and not row[key].strip():
            del row[key]
        elif key in row and key not in COMMON:
            ids = re.split(r"[\s,]+", row[key].strip(" []"))
            if all(map(ID.fullmatch, ids)):
                row[key] = [int(token.removesuffix(".0")) for token in ids]
    return row


# --- A row -----------------------------------------------------------------------------------------


def _pair(row: Mapping[str, Any]) -> PromptPair | str:
    """A row as it was typed, or what is wrong with its keys."""
    for ours, others in NAMES.items():
        there = [name for name in (ours, *others.split()) if row.get(name) is not None]
        if len(there) > 1:
            return f"it has {there[0]!r} and {there[1]!r}, which mean the same. Keep one of them."
        row = {**row, ours: row[there[0]]} if there else row
    if row.get("spaces") not in (None, AS_WRITTEN):
        return f'expected "spaces" as "{AS_WRITTEN}" or not at all, got {str(row["spaces"])[:40]!r}.'
    found: dict[str, Any] = {}
    for key in KEYS:
        given, value = row.get(f"{key}_ids"), row.get(key)
        if given is not None and key in ("answer", "distractor"):
            several = given if isinstance(given, list) else [given]
            if not several or not all(type(token) is int for token in several):
                return f"expected '{key}_ids' as the number of a token or a list of them, got {str(given)[:40]}."
            found[f"{key}_ids"], value = several, "" if value is None else value
        if value is None:
            return f"it has no {key!r}. Every row needs the keys {', '.join(KEYS)}; this one has {_listed(row)}."
        texts = value if key in ("answer", "distractor") and isinstance(value, list) and value else [value]
        if not all(isinstance(text, str) for text in texts):
            return f"expected {key!r} as text in quotation marks, got {str(value)[:40]}."
        if isinstance(more := row.get(f"more_{key}s"), list):  # as a run file keeps them
            texts = [*texts, *more]
        found |= {key: texts[0], f"more_{key}s": texts[1:]}
    try:
        return PromptPair.from_dict(_with_spans(found, row.get("spans")))
    except TaskError as error:
        return str(error)


def _with_spans(row: dict[str, Any], spans: Any) -> dict[str, Any]:
    """The row with its prompts as they are and as they are marked. Raises TaskError for spans that are no text."""
    if spans is None:
        return row
    if spans != MARKED:
        marked = spans if isinstance(spans, list) else [spans]
        if len(marked) not in (1, 2) or not all(isinstance(text, str) for text in marked):
            raise TaskError(say("tasks.spans", spans=str(spans)[:60]))
        return row | {"marked": marked}
    sides = {key: row[key] for key in ("clean", "corrupt")}
    plain = {key: read_marks(text) for key, text in sides.items()}
    both = sides.values() if plain["corrupt"][1] else [sides["clean"]]
    return row | {key: text for key, (text, _) in plain.items()} | {"marked": list(both)}


def _listed(row: Mapping[str, Any]) -> str:
    return ", ".join(str(key) for key in list(row)[:8])[:100] or "none"


def _check_size(size: int, most: int) -> None:
    if size > most:
        raise TaskError(say("tasks.file_size", most=MAX_BYTES / 2**20, size=size / 2**20, rows=MAX_ROWS))
