"""The exercise at the end of the lesson: find a head; the answer is checked against the run."""

from __future__ import annotations

import re
from dataclasses import dataclass

from app.lesson.parts import role_of
from hap_engine.runs.record import Run

CLOSE = 0.05  # attention nearer than this to the largest counts as the largest: a fair answer


@dataclass(frozen=True)
class Marked:
    """What the exercise says to an answer."""

    right: bool
    words: str


def exercise(run: Run) -> tuple[str, str] | None:
    """What to find, as (words, the attention it is about); None if the run measured no attention."""
    pairs = {key for head in run.heads.values() for key in head.get("attention") or {}}
    for key in ("END->IO", "END->S2", *sorted(pairs)):
        if key in pairs:
            source, target = key.split("->")
            return (
                (
                    f"Find the head that attends most from {source} to {target}, on average over the prompts. Click"
                    " heads in the picture, or think about what each role does. Type its name, for example 3.1."
                ),
                key,
            )
    return None


def check(run: Run, answer: str) -> Marked:
    """Mark an answer to the exercise against the run."""
    asked = exercise(run)
    if asked is None:
        return Marked(False, "This run measured no attention, so there is nothing to find.")
    head = parse_head(answer)
    attention = {
        name: float(record["attention"][asked[1]])
        for name, record in run.heads.items()
        if asked[1] in (record.get("attention") or {})
    }
    if head is None:
        return Marked(False, "Expected a head such as 3.1 or a3.h1: its layer, then its number.")
    if head not in attention:
        return Marked(False, f"This model has no head {head}. Its heads go from a0.h0 to {run.graph.heads[-1]}.")
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
