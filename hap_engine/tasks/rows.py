"""Rows of one's own prompts, from a file or the editor: what holds for any tokenizer.

What cannot be used is refused, each row with its remedy. What depends on a model is checked in
`hap_engine.tasks.reader`.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Sequence

from hap_engine.errors import TaskError
from hap_engine.tasks.marking.braces import misread
from hap_engine.tasks.pair import KEYS, PromptPair
from hap_engine.words import say

MIN_ROWS, MAX_ROWS = 10, 1_000
SPELLED_OUT = 10  # problems that a message tells; of other rows the numbers will do
LISTED = 8  # row numbers in a line
LOST = "\ufffd"  # what stands for a character that could not be read
# Invisible characters that reorder, break or hide text. (Right-to-left letters and the joiner of emoji are fine.)
HIDDEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u061c\u180e\u200b\u200e\u200f\u202a-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\ud800-\udfff]"
)


def complaint(pair: PromptPair) -> str:
    """What is wrong with a pair for any tokenizer, or nothing."""
    answers = () if pair.answer_ids else pair.answers  # ids say what is meant, texts only name it
    distractors = () if pair.distractor_ids else pair.distractors
    for key, texts in zip(KEYS, ((pair.clean,), (pair.corrupt,), answers, distractors), strict=True):
        for text in texts:
            if not text.strip():
                return f"{key} is empty. Write a text or delete the row."
            if LOST in text:
                return say("tasks.lost", key=key, text=text[:40])
            if hidden := HIDDEN.search(text):
                name = unicodedata.name(hidden[0], "a control character").lower()
                return say("tasks.hidden", key=key, code=ord(hidden[0]), name=name)
    if pair.clean == pair.corrupt:
        return f"clean and corrupt are the same ({pair.clean!r}). Change the words that carry what the task asks for."
    if both := set(answers) & set(distractors):
        return say("tasks.both", both=min(both))
    marks = zip(KEYS, (pair.clean, pair.corrupt), pair.marked, strict=False)
    return next(filter(None, (misread(key, text, marked) for key, text, marked in marks)), "")


def check_rows(rows: Sequence[PromptPair | str]) -> tuple[PromptPair, ...]:
    """The rows as pairs, if every one of them can be used.

    Args:
        rows: a text stands for a row that cannot be read, and says why.

    Raises:
        TaskError: with every row that cannot be used and the remedy.
    """
    check_count(len(rows))
    checked, wrong = sift(rows)
    refuse(wrong, len(rows))
    return checked


def sift(
    rows: Sequence[PromptPair | str], look: Callable[[PromptPair], str] = complaint
) -> tuple[tuple[PromptPair, ...], list[tuple[int, str]]]:
    """The rows that can be used, and what is wrong with each other one (from 1).

    Args:
        look: says what is wrong with a pair, or nothing.
    """
    first: dict[tuple[str, str], int] = {}
    good: list[PromptPair] = []
    wrong: list[tuple[int, str]] = []
    for number, row in enumerate(rows, 1):
        if isinstance(row, str):
            wrong.append((number, row))
        elif message := look(row) or _repeats(row, number, first):
            wrong.append((number, message))
        else:
            good.append(row)
    return tuple(good), wrong


def _repeats(pair: PromptPair, number: int, first: dict[tuple[str, str], int]) -> str:
    if (row := first.setdefault((pair.clean, pair.corrupt), number)) == number:
        return ""
    return say("tasks.repeats", row=row, pair=pair)


def refuse(wrong: Sequence[tuple[int, str]], total: int) -> None:
    """Raise TaskError for rows (numbered from 1) that cannot be used, if there are any."""
    if wrong:
        raise TaskError(told(wrong, total))


def told(wrong: Sequence[tuple[int, str]], total: int) -> str:
    """Rows (numbered from 1) that cannot be used: equal reasons once, the first of them in words."""
    rows: dict[str, list[int]] = {}
    for number, message in wrong:
        rows.setdefault(message, []).append(number)
    lines = [f"{_row(numbers)}: {message}" for message, numbers in rows.items()]
    if others := [number for numbers in list(rows.values())[SPELLED_OUT:] for number in numbers]:
        lines[SPELLED_OUT:] = [f"Look at {_row(sorted(others)).lower()} too."]
    if len(wrong) > 1:
        lines.insert(0, f"{len(wrong):,} of {total:,} rows cannot be used.")
    return "\n".join(lines)


def _row(numbers: Sequence[int]) -> str:
    listed = ", ".join(map(str, numbers[:LISTED])) + (", …" if len(numbers) > LISTED else "")
    return f"Row{'s' if len(numbers) > 1 else ''} {listed}"


def check_count(rows: int) -> None:
    """Raises TaskError for too few or too many rows."""
    if rows > MAX_ROWS:
        raise TaskError(say("tasks.most_rows", most=MAX_ROWS, rows=rows))
    if rows < MIN_ROWS:
        raise TaskError(say("tasks.least_rows", least=MIN_ROWS, rows=rows))
