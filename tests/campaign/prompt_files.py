"""Prompts files that others wrote: what is accepted is exactly what stands in the file, and can be written back."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from random import Random
from typing import Any

from app.own_prompts import drafts
from hap_engine.errors import TaskError
from hap_engine.models.catalog import resolve
from hap_engine.models.reader import reader_of
from hap_engine.tasks.prompts_file import parse_rows, to_jsonl
from hap_engine.tasks.reader import Reader, problem
from hap_engine.tasks.rows import HIDDEN, check_count, sift
from tests.builders.mutants import JUNK, bytes_changed
from tests.builders.payloads import PAYLOAD
from tests.builders.prompt_files import ANTONYMS, as_csv
from tests.campaign.tally import Tally, counted

TEXTS = (
    PAYLOAD,
    "=1+1",
    "a\0b",
    "\u202e",
    "\ud800",
    "x" * 100_000,
    '"',
    "a,b;c\td",
    "\n",
    " ",
    "|",
    "\\|",
    "ﷺ",
    "0",
    "NaN",
)
FORMS = ("x.jsonl", "x.json", "x.csv", "x.tsv", "x.txt", "run.json")


def attack(seed: int, count: int) -> Tally:
    """`count` files: a third with cells replaced, a third with bytes changed, a third of another form or name."""
    with counted(Tally("prompts files", seed)) as tally:
        reader = reader_of(resolve("hap-mini"))
        assert reader is not None
        for name, file, data, harmful in cases(seed, count):
            tally.attempt(f"{name} of {file}", lambda d=data, f=file, n=name: _open(tally, reader, n, d, f), harmful)
    return tally


def cases(seed: int, count: int) -> Iterator[tuple[str, str, bytes, bool]]:
    """Names, files' names, contents, and whether a file must be refused."""
    chance = Random(seed)
    for number in range(count):
        form = chance.choice(FORMS)
        rows: list[Any] = copy.deepcopy(ANTONYMS)
        if number % 3 == 0:
            for _ in range(chance.randint(1, 4)):
                chance.choice(rows)[chance.choice(list(rows[0]))] = chance.choice((*TEXTS, *JUNK[1:]))
            yield "cells", form, _written(rows, form), False
        elif number % 3 == 1:
            name, data, _ = bytes_changed(_written(rows, form), chance)
            yield name, form, data, False
        else:
            data, encoding = _written(rows, form), chance.choice(("utf-16", "latin-1", "utf-8-sig", "utf-32"))
            many = data * 50  # more rows than a file may have
            text = chance.choice((many, data * 2, b"", b"[" * 50 + data, data.replace(b'"', b"'"), data[::-1]))
            yield encoding, chance.choice(FORMS), text.decode().encode(encoding, "replace"), text == many


def _written(rows: list[Any], form: str) -> bytes:
    if form.endswith(("csv", "tsv")):
        texts = [{key: str(value).encode("utf-8", "replace").decode() for key, value in row.items()} for row in rows]
        return as_csv(texts, "\t" if form == "x.tsv" else ",")
    if form == "x.json":
        return json.dumps(rows).encode()
    if form == "run.json":
        return json.dumps({"format": "hap-run", "prompts": {"train": rows}}).encode()
    return json.dumps(rows).encode() if form == "x.txt" else _lines(rows)


def _lines(rows: list[Any]) -> bytes:
    return b"\n".join(json.dumps(row).encode() for row in rows)


def _open(tally: Tally, reader: Reader, name: str, data: bytes, file: str) -> None:
    rows = parse_rows(data, file).rows
    check_count(len(rows))
    pairs, refused = sift(rows)
    for pair in pairs:
        problem(reader, pair)
        if any(HIDDEN.search(text) for text in (pair.clean, pair.corrupt)):
            tally.wrong.append(f"{name}: a hidden character is accepted")
    if pairs and parse_rows(to_jsonl(pairs).encode()).rows[: len(pairs)] != pairs and len(pairs) >= 10:
        tally.wrong.append(f"{name}: other rows after they were written and read again")
    if tuple(drafts.pair_of(drafts.row_of(pair)) for pair in pairs) != pairs:
        tally.wrong.append(f"{name}: other rows after they stood in the table")
    if refused and not pairs:
        raise TaskError("every row is refused")
