"""What a step of the lesson is made of, and the facts about a run that several steps use."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from hap_engine.report.titles import role_title
from hap_engine.runs.record import Run


@dataclass(frozen=True)
class Question:
    """A guess to make before the answer shows. `because` says what the run measured."""

    ask: str
    options: tuple[str, ...]
    right: int
    because: str


@dataclass(frozen=True)
class Step:
    """One step: words, picture, question. `panels` is ``left``, ``right`` or ``both``."""

    title: str
    text: str
    question: Question
    look: str
    panels: str = "both"
    pins: tuple[str, ...] = ()
    cut: tuple[str, ...] = ()  # heads that the reader may switch off live
    reveal: str = ""  # words that would give the answer away; they and the pins wait for the guess


def share_question(ask: str, share: float, because: str) -> Question:
    """Guess a share; the options are ranges, whose borders do not depend on the answer."""
    options = ("below 30 %", "30 to 70 %", "70 to 95 %", "more than 95 %")
    right = 0 if share < 0.3 else 1 if share < 0.7 else 2 if share < 0.95 else 3
    return Question(ask, options, right, because)


def ordered(values: Sequence[int], right: int) -> tuple[list[int], int]:
    ordered = sorted(set(values))
    return ordered, ordered.index(right)


def first_prompt(run: Run) -> dict[str, Any]:
    tests = run.prompts.get("test") or run.prompts.get("train") or [{}]
    return dict(tests[0])


def word(prompt: dict[str, Any], key: str) -> str:
    return safe(str(prompt.get(key, "")).strip()) or "the right one"


def code(text: str) -> str:
    return f"`{safe(text)}`"


def safe(text: str) -> str:
    """Text without the marks of `glossary.rich`."""
    return re.sub(r"[`*]|\[\[|\]\]", "", text)


def busiest(run: Run) -> str:
    """The kept head with the largest direct effect on the answer, or with most edges."""
    circuit = run.circuits[run.main].circuit
    heads = [head for head in run.graph.heads if head in circuit.heads] or ["input"]
    names = [name for pair in circuit.names() for name in pair]
    return max(heads, key=lambda h: (abs(run.heads.get(h, {}).get("direct_effect") or 0.0), names.count(h)))


def role_heads(run: Run, role: str = "") -> tuple[str, ...]:
    return tuple(h for h, found in run.roles.get("heads", {}).items() if role in ("", found["role"]))


def role_of(run: Run, head: str, before: str = ", ") -> str:
    role = run.roles.get("heads", {}).get(head, {}).get("role")
    return f"{before}{role_title(role)}" if role else ""
