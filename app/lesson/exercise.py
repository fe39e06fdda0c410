"""The exercise at the end of the lesson: find a head; the answer is checked against the run."""

from __future__ import annotations

import re
from dataclasses import dataclass

from app.lesson.steps import TEXTS, role_of
from hap_engine.runs.record import Run

CLOSE = 0.05  # attention nearer than this to the largest counts as the largest: a fair answer


@dataclass(frozen=True)
class Marked:
    """What the exercise says to an answer."""

    right: bool
    words: str


def exercise(run: Run) -> tuple[str, str] | None:
    """What to find, as (words, the attention it is about); None if the run measured no attention."""
    pairs = {key for head in run.heads.values() for key in head.get("attention") or {} if key.count("->") == 1}
    for key in ("END->IO", "END->S2", *sorted(pairs)):
        if key in pairs:
            source, target = key.split("->")
            return TEXTS("exercise.find", source=source, target=target), key
    return None


def check(run: Run, answer: str) -> Marked:
    """Mark an answer to the exercise against the run."""
    asked = exercise(run)
    if asked is None:
        return Marked(False, TEXTS("exercise.nothing"))
    head = parse_head(answer)
    attention = {
        name: float(record["attention"][asked[1]])
        for name, record in run.heads.items()
        if asked[1] in (record.get("attention") or {})
    }
    if head is None:
        return Marked(False, TEXTS("exercise.unread"))
    if head not in attention:
        return Marked(False, TEXTS("exercise.absent", head=head, last=run.graph.heads[-1]))
    best = max(attention, key=attention.__getitem__)
    shown = asked[1].replace("->", " to ")
    mine = f"{head} attends {attention[head]:.2f} from {shown}"
    if attention[best] - attention[head] <= CLOSE:
        more = "" if head == best else f" ({best} is as good: {attention[best]:.2f})"
        return Marked(True, f"Yes: {mine}{more}{role_of(run, head, ', measured as ')}.")
    place = sorted(attention.values(), reverse=True).index(attention[head]) + 1
    more = f"Some head attends more than {attention[best] - CLOSE:.2f}."
    return Marked(False, f"Not yet: {mine}, place {place} of {len(attention)}. {more}")


def parse_head(text: str) -> str | None:
    """``3.1``, ``a3.h1``, ``L3H1`` or ``head 3.1`` as ``a3.h1``."""
    match = re.fullmatch(r"\s*(?:head\s*)?[al]?(\d{1,4})\s*[.,]?\s*h?(\d{1,4})\s*", text, re.IGNORECASE)
    if not match or not re.search(r"[.,h\s]", text.strip().lower().removeprefix("head").strip()):
        return None
    return f"a{int(match[1])}.h{int(match[2])}"
