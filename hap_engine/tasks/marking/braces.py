"""Marks in a prompt of one's own, and which tokens they cover.

``{S1:Mary}`` marks a part and names it, ``{Mary}`` only marks it: such parts are ``part 1``, ``part 2``, … What stands
before the first colon is the name, so ``{:12:30}`` marks a time. ``\\{`` and ``\\}`` are braces of the text, and
backslashes count only before a brace. Parts of one name are one span.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from hap_engine.errors import TaskError
from hap_engine.graph.graph import NAME
from hap_engine.words import say

SIGN = re.compile(r"(?<!\\)(\\*+)(?:(\})|\{(?:([^{}:\\]*):)?)")
BRACES = re.compile(r"(?<!\\)(\\*+)([{}])")
END = "END"  # the span of the scored token, which is there by itself
PART = re.compile(r"part \d+")  # names of parts that are only marked


@dataclass(frozen=True)
class Part:
    """The characters of a prompt from `start` to `end`, and the span that they are."""

    name: str
    start: int
    end: int


def read_marks(marked: str) -> tuple[str, tuple[Part, ...]]:
    """A text without its marks, and the parts that they mark.

    Raises:
        TaskError: for marks that cannot be read.
    """
    text, at, parts, opened = "", 0, list[Part](), None
    while sign := SIGN.search(marked, at):
        backslashes, of_text = divmod(len(sign[1]), 2)
        text += marked[at : sign.start()] + "\\" * backslashes
        at = sign.end()
        if of_text:
            at = sign.end(1) + 1
            text += marked[at - 1]
        elif sign[2]:
            if opened is None:
                raise TaskError(say("tasks.mark_alone", marked=marked))
            unnamed = sum(bool(PART.fullmatch(part.name)) for part in parts)
            parts.append(Part(opened[0] or f"part {unnamed + 1}", opened[1], len(text)))
            opened = None
        elif opened is not None:
            raise TaskError(say("tasks.mark_inside", marked=marked))
        else:
            opened = (sign[3] or "").strip(), len(text)
            if opened[0] and not NAME.fullmatch(opened[0]):
                raise TaskError(say("tasks.mark_name", name=opened[0]))
    if opened is not None:
        raise TaskError(say("tasks.mark_open", marked=marked))
    return text + marked[at:], tuple(parts)


def with_marks(text: str, parts: Sequence[Part]) -> str:
    """The text from which `read_marks` reads these parts."""
    found, end = "", 0
    for part in sorted(parts, key=lambda part: part.start):
        name = "" if PART.fullmatch(part.name) else part.name
        before, inside = (_written(text[a:b] + "{")[:-2] for a, b in ((end, part.start), (part.start, part.end)))
        found += f"{before}{{{name}{':' * (bool(name) or ':' in inside)}{inside}}}"
        end = part.end
    return found + _written(text[end:])


def _written(text: str) -> str:
    """A text without marks, as it stands among some."""
    return BRACES.sub(lambda brace: f"{brace[1] * 2}\\{brace[2]}", text)


def misread(key: str, text: str, marked: str) -> str:
    """What is wrong with the marks of a prompt for any tokenizer, or nothing."""
    try:
        plain, parts = read_marks(marked)
    except TaskError as error:
        return str(error)
    if plain.rstrip() != text.rstrip():  # the rule moves the space at the end to the answers
        return say("tasks.mark_other", key=key, text=text, plain=plain)
    return "" if parts else say("tasks.mark_none", key=key)


def token_names(marked: str, offsets: Sequence[tuple[int, int]]) -> tuple[str, ...]:
    """The span that each token of a marked prompt is in; "" where none is marked.

    Raises:
        TaskError: if a part cuts a token, holds none, or takes the scored one.
    """
    text, parts = read_marks(marked)
    names = [""] * len(offsets)
    for part in parts:
        for at in covered(text, offsets, part):
            names[at] = part.name
    if names[-1] not in ("", END) or END in names[:-1]:
        raise TaskError(say("tasks.mark_end", text=text[offsets[-1][0] :]))
    return tuple(names)


def covered(text: str, offsets: Sequence[tuple[int, int]], part: Part) -> list[int]:
    """The tokens of a part, at least one; white space at the edges of a token does not count.

    Raises:
        TaskError: if a token is cut, or there is none.
    """
    found = []
    for at, (start, end) in enumerate(_cores(text, offsets)):
        if part.start <= start and end <= part.end and start < part.end:
            found.append(at)
        elif start < part.end and part.start < end:
            low, high = offsets[at]
            raise TaskError(say("tasks.mark_cuts", part=text[part.start : part.end], token=text[low:high], at=at + 1))
    if not found:
        raise TaskError(say("tasks.mark_empty", name=part.name))
    return found


def _cores(text: str, offsets: Sequence[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """Where the tokens are without the white space around them."""
    for start, end in offsets:
        core = text[start:end].strip()
        first = text.index(core, start)
        yield (first, first + len(core)) if core else (start, end)
