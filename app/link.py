"""A link: all that decides what a page shows, as plain data and as the query of a URL.

Opening the same link in another browser shows the same view. A URL is typed and cut off by people,
so reading one never fails: a value that cannot be right is left out, and `problems` says in plain
words which of the rest this run does not have. Names, settings and the reader's own words go into a URL, never data.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace

from app.words import say
from hap_engine.picture.at_sizes import reach
from hap_engine.picture.wire import MAX_PINS, VIEWS
from hap_engine.runs.record import Run

MAX_WORDS = 16  # notes, and groups, in a link
WORDS = re.compile(r"[^\x00-\x1f\x7f]{3,400}")  # a note, or a group with its heads
NAME = re.compile(r"[\w.<>@+/\- ]{1,64}")  # run ids, nodes, circuits, views: nothing else is a name here


@dataclass(frozen=True)
class Link:
    """One view of one run. An empty field means the page's default."""

    run: str = ""  # the run on screen
    other: str = ""  # the run that it is compared with
    pins: tuple[str, ...] = ()  # nodes, the last one is shown in detail
    left: str = ""  # circuit on the left, by its name in the run
    right: str = ""
    view: str = ""  # how both are drawn: one of VIEWS
    drawn: int = 0  # edges drawn of each circuit, 0: all
    size: int = 0  # edges that both circuits keep, in a run of every size; 0: those that the run found
    notes: tuple[str, ...] = ()  # on heads, as "a9.h9:text"
    groups: tuple[str, ...] = ()  # of heads, as "name:a9.h6,a9.h9"
    fold: bool = False  # layers that hold nothing are thin bands
    prompt: int = 0  # test prompt whose attention and predictions are shown
    corruption: str = ""  # what replaces the clean prompt in a live intervention
    step: int = 0  # step of the lesson
    present: bool = False  # large type, controls out of the way

    @classmethod
    def from_query(cls, query: Mapping[str, Sequence[str]]) -> Link:
        """Read a query; whatever is malformed is left at its default."""
        values: dict[str, object] = {}
        for field in fields(cls):
            shape = WORDS if field.name in ("notes", "groups") else NAME
            texts = [text for text in query.get(KEYS[field.name], ()) if shape.fullmatch(text)]
            if not texts:
                continue
            if field.default == ():
                values[field.name] = tuple(dict.fromkeys(texts))[-(MAX_PINS if field.name == "pins" else MAX_WORDS) :]
            elif isinstance(field.default, bool):
                values[field.name] = texts[-1] == "1"
            elif isinstance(field.default, int):
                if texts[-1].isascii() and texts[-1].isdigit():
                    values[field.name] = min(int(texts[-1][:9]), 10**6)
            else:
                values[field.name] = texts[-1]
        link = cls(**values)  # type: ignore[arg-type]
        return link if link.view in VIEWS else replace(link, view="")

    def query(self) -> dict[str, list[str]]:
        """The inverse of `from_query`; defaults are left out, so that links stay short."""
        out = {}
        for field in fields(self):
            value = getattr(self, field.name)
            if value == field.default:
                continue
            texts = list(value) if isinstance(value, tuple) else [str(int(value))] if value is True else [str(value)]
            out[KEYS[field.name]] = texts
        return out

    def problems(self, run: Run) -> list[str]:
        """What this link names that `run` does not have, one sentence each."""
        known = {*run.graph.writer_index, "logits"}
        unknown = [pin for pin in self.pins if pin not in known]
        said = []
        if unknown:
            model, last = run.model["name"], run.graph.heads[-1]
            said.append(say("link.pins", pins=", ".join(unknown), model=model, last=last))
        said += [
            say("link.circuit", side=side, circuits=", ".join(run.circuits))
            for side in (self.left, self.right)
            if side and side not in run.circuits
        ]
        tests = len(run.prompts.get("test", ()))
        if self.prompt and self.prompt >= tests:
            said.append(say("link.prompt", prompt=self.prompt + 1, tests=tests))
        if self.size and self.size not in (sizes := reach(run)):
            ends = {"largest": sizes[-1], "smallest": sizes[0]} if sizes else {}
            said.append(say("link.size" if sizes else "link.one_size", size=self.size, **ends))
        return said

    def valid(self, run: Run) -> Link:
        """This link without what `run` does not have."""
        known = {*run.graph.writer_index, "logits"}
        return replace(
            self,
            pins=tuple(pin for pin in self.pins if pin in known),
            left=self.left if self.left in run.circuits else "",
            right=self.right if self.right in run.circuits else "",
            size=self.size if self.size in reach(run) else 0,
            prompt=self.prompt if self.prompt < len(run.prompts.get("test", ())) else 0,
        )


# Names in the URL. Short ones, because links are read aloud in class.
KEYS = {field.name: field.name for field in fields(Link)} | {
    "pins": "pin",
    "other": "with",
    "notes": "note",
    "groups": "group",
}
