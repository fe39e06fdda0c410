"""Prompts files that tests read: antonyms, plural agreement, and pairs for the tiny models."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from functools import partial
from random import Random
from typing import Any

from tokenizers import Tokenizer

from hap_engine.tasks.pair import PromptPair
from hap_engine.tasks.prompts_file import parse_rows
from hap_engine.tasks.reader import Reader, problem
from hap_engine.tasks.rows import check_rows, sift

OPPOSITES = """
    hot cold/big small/old new/good bad/high low/long short/fast slow/hard soft/rich poor/dark light/
    early late/happy sad/strong weak/clean dirty/full empty/open closed/right wrong/true false/up down/
    inside outside/first last/wet dry/love hate/war peace
"""
PAIRS = [tuple(entry.split()) for entry in OPPOSITES.split("/")]
ANTONYMS = [
    {
        "clean": f"The opposite of {one} is",
        "corrupt": f"The opposite of {two} is",
        "answer": f" {other}",
        "distractor": f" {another}",
    }
    for index, (one, other) in enumerate(PAIRS)
    for two, another in [PAIRS[index ^ 1]]  # by twos: a chain of all rows could not be split
]
SUBJECTS = ["dog", "cat", "boy", "girl", "king", "teacher", "bird", "friend", "brother", "student", "car", "tree"]
PLURALS = [
    {"clean": f"I know that the {noun}s", "corrupt": f"I know that the {noun}", "answer": "are", "distractor": "is"}
    for noun in SUBJECTS
]


def jsonl(rows: list[Any]) -> bytes:
    return "\n".join(json.dumps(row, ensure_ascii=False) for row in rows).encode()


def as_csv(rows: list[dict[str, str]], delimiter: str = ",") -> bytes:
    out = io.StringIO()
    writer = csv.DictWriter(out, list(rows[0]), delimiter=delimiter)
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue().encode()


def changed(row: int, **changes: Any) -> bytes:
    """The antonyms with one row (counted from 1) changed; a value of None takes the key away."""
    rows: list[dict[str, Any]] = [dict(each) for each in ANTONYMS]
    rows[row - 1].update(changes)
    rows[row - 1] = {key: value for key, value in rows[row - 1].items() if value is not None}
    return jsonl(rows)


def parse_prompts(data: bytes, name: str = "prompts.jsonl") -> tuple[PromptPair, ...]:
    """The pairs in a file's content, every one of which must be usable."""
    return check_rows(parse_rows(data, name).rows)


def problems(tokenizer: Tokenizer, pairs: Sequence[PromptPair]) -> list[tuple[int, str]]:
    """Every row (from 1) that cannot be used with this tokenizer, with what to do about it."""
    return sift(pairs, partial(problem, Reader(tokenizer)))[1]


def toy_rows(count: int = 12) -> list[dict[str, str]]:
    """Pairs for the tiny test models, whose vocabulary is that of IOI."""
    words = ["Aaron", "Adam", "Ahmed", "Alan", "Albert", "Alex", "Alice", "Amy", "Andrew", "Angela"]
    rows = []
    for index in range(count):
        one, two, three = Random(index).sample(words, 3)
        rows.append(
            {
                "clean": f"{one} and {two} walked to",
                "corrupt": f"{three} and {two} walked to",
                "answer": f" {one}",
                "distractor": f" {three}",
            }
        )
    return list({row["clean"] + row["corrupt"]: row for row in rows}.values())
