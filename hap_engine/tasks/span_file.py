"""A file that names the spans of a task's prompts, as TOML (or JSON of the same form)::

    task = "ioi"
    rest = "elsewhere"            # what no span names; without it every token must be in one

    [[span]]
    name = "opening"
    tokens = [1, "2-3"]           # numbers from 1, ranges ("4-": to the end), -2 for the second from the end

    [[span]]
    name = "names"
    roles = ["IO", "S1"]          # roles of the task

    [[span]]
    name = "place"
    words = ["the store", "park"] # wherever they stand in the clean prompt

The scored token is the span ``END`` by itself, and ``4-`` ends before it. A span may lack some prompts, not all.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from hap_engine.errors import TaskError
from hap_engine.graph.graph import NAME
from hap_engine.tasks.marking.braces import END, Part, covered
from hap_engine.tasks.pair import EncodedPair, token_text
from hap_engine.tasks.rows import refuse
from hap_engine.words import say

KINDS = ("tokens", "roles", "words")
NUMBERS = re.compile(r"-?[1-9]\d*|[1-9]\d*-([1-9]\d*)?")


@dataclass(frozen=True)
class NamedSpan:
    """A span by the numbers of its tokens, by roles, by words, or by several of them."""

    name: str
    tokens: tuple[str, ...] = ()
    roles: tuple[str, ...] = ()
    words: tuple[str, ...] = ()


@dataclass(frozen=True)
class SpanFile:
    """The spans of the prompts of `task`; `rest` is the one of all tokens that no other names, empty for none."""

    task: str
    span: tuple[NamedSpan, ...]
    rest: str = ""

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> SpanFile:
        """The inverse of `to_dict`.

        Raises:
            TaskError: for what is no such file.
        """
        rows = data.get("span")
        if not isinstance(rows, list) or not rows or not isinstance(data.get("task"), str):
            raise TaskError(say("tasks.span_file", data=str(dict(data))[:80]))
        spans = tuple(map(_span, rows))
        names = [END, *(span.name for span in spans), *([rest] if (rest := data.get("rest")) else [])]
        for name in names:
            if not isinstance(name, str) or not NAME.fullmatch(name) or names.count(name) > 1:
                raise TaskError(say("tasks.span_name", name=str(name)[:60]))
        if unknown := data.keys() - {"task", "rest", "span"}:
            raise TaskError(say("tasks.span_key", key=min(unknown), known="task, rest, span"))
        return cls(data["task"], spans, rest or "")

    def to_dict(self) -> dict[str, Any]:
        """As a run file keeps it."""
        kinds = [{kind: list(items) for kind in KINDS if (items := getattr(span, kind))} for span in self.span]
        rows = [{"name": span.name, **lists} for span, lists in zip(self.span, kinds, strict=True)]
        return {"task": self.task, "rest": self.rest, "span": rows}


def _span(row: Any) -> NamedSpan:
    if not isinstance(row, Mapping) or not isinstance(row.get("name"), str):
        raise TaskError(say("tasks.span_row", row=str(row)[:80]))
    if unknown := row.keys() - {"name", *KINDS}:
        raise TaskError(say("tasks.span_key", key=min(unknown), known=", ".join(("name", *KINDS))))
    items = [row.get(kind, []) for kind in KINDS]
    tokens, *texts = [tuple(some if isinstance(some, list) else [some]) for some in items]
    numbers = tuple(map(str, tokens))
    named = all(isinstance(text, str) and text.strip() for text in sum(texts, ()))
    if not named or not all(map(NUMBERS.fullmatch, numbers)) or not (tokens or any(texts)):
        raise TaskError(say("tasks.span_row", row=str(dict(row))[:80]))
    return NamedSpan(row["name"], numbers, *texts)


def read_span_file(path: Path) -> SpanFile:
    """The spans that a file names: TOML, JSON, or a run file that was made with one.

    Raises:
        TaskError: if it cannot be read, with the remedy.
    """
    try:
        text = path.read_text(encoding="utf-8")
        data = tomllib.loads(text) if path.suffix.lower() == ".toml" else json.loads(text)
    except (OSError, ValueError) as error:
        raise TaskError(say("tasks.span_unread", path=path, why=error)) from None
    if isinstance(data, dict) and data.get("format") == "hap-run":
        data = data.get("settings", {}).get("spans")
    if not isinstance(data, dict):
        raise TaskError(say("tasks.span_file", data=text[:80]))
    return SpanFile.from_dict(data)


def names_by_file(file: SpanFile, tokenizer: Tokenizer, pairs: Sequence[EncodedPair]) -> list[list[str]]:
    """The span of each token of each prompt.

    Raises:
        TaskError: naming the rows with a token in two spans or in none, with words that cut a token, or with fewer
            tokens than spans; or a span that no prompt has.
    """
    named = [_names(file, tokenizer, pair) for pair in pairs]
    refuse([(row, names) for row, names in enumerate(named, 1) if isinstance(names, str)], len(pairs))
    if absent := [span.name for span in file.span if not any(span.name in names for names in named)]:
        raise TaskError(say("tasks.span_absent", name=absent[0]))
    return [list(names) for names in named]


def _names(file: SpanFile, tokenizer: Tokenizer, pair: EncodedPair) -> list[str] | str:
    """The span of each token of a prompt, or what is wrong."""
    length, found = len(pair.clean_ids), dict[int, str]()
    if len(file.span) >= length:
        return say("tasks.span_many", spans=len(file.span) + 1, tokens=length, pair=pair.pair)
    for span in file.span:
        try:
            places = _places(span, tokenizer, pair)
        except TaskError as error:
            return str(error)
        for at in sorted(places):
            other = END if at == length - 1 else found.setdefault(at, span.name)
            if other != span.name:
                text = token_text(tokenizer, pair.clean_ids[at])
                return say("tasks.span_twice", at=at + 1, text=text, one=other, two=span.name)
    for at in range(length - 1):
        if not found.setdefault(at, file.rest):
            return say("tasks.span_missed", at=at + 1, text=token_text(tokenizer, pair.clean_ids[at]))
    return [*(found[at] for at in range(length - 1)), END]


def _places(span: NamedSpan, tokenizer: Tokenizer, pair: EncodedPair) -> set[int]:
    """The tokens of a span in a prompt, from 0."""
    length, text = len(pair.clean_ids), pair.pair.clean
    places = {pair.roles[role] for role in span.roles if role in pair.roles}
    for item in span.tokens:
        low, dash, high = item.removeprefix("-").partition("-")
        last = int(high or length - 1) if dash else int(low)
        places |= {length - int(low)} if item.startswith("-") else set(range(int(low) - 1, last))
    if span.words:
        offsets = tokenizer.encode(text, add_special_tokens=False).offsets
        first = length - len(offsets)  # a beginning-of-text token has no place in the text
        words = "|".join(map(re.escape, sorted(span.words, key=len, reverse=True)))
        for match in re.finditer(rf"(?<!\w)(?:{words})(?!\w)", text):
            places |= {first + at for at in covered(text, offsets, Part(span.name, *match.span()))}
    return {at for at in places if 0 <= at < length}
