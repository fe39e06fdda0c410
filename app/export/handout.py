"""One page to print: the question, both circuits, the numbers, and how to read them.

Plain HTML without scripts; the pictures are inline SVG. It fits one A4 or Letter page, in colour or
in grey (status is also dash and outline).
"""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from string import Template
from typing import Any

from app.export.svg import svg
from hap_engine.picture import page, scene
from hap_engine.report.titles import attention_ways, circuit_title
from hap_engine.runs.record import Run
from hap_engine.words import beside

DRAWN = 400  # edges of each circuit: more is a grey mass on paper
PAGE = Template(beside(__file__, "handout.html").rstrip())


def handout(run: Run, left: str, right: str) -> str:
    """The page as HTML text."""
    built = scene.build(run, left, right, strongest=DRAWN)
    size = (640, 480)  # squatter than on screen: one sheet holds all
    texts = {
        "title": run.title,
        "sentence": page.sentence(run, left, right),
        "conditions": page.conditions(run),
        "a": circuit_title(left),
        "b": circuit_title(right),
        "run": run.id,
        "date": run.created[:10],
        "command": run.command,
        "ways": attention_ways(run.model),
    }
    return PAGE.substitute(
        {name: escape(text) for name, text in texts.items()},
        example=_example(run),
        left=svg(built, "left", size=size),
        right=svg(built, "right", size=size),
        metrics=page.metrics_table(run),
        sizes=page.sizes_table(run),
        roles=page.roles_part(run, left, right),
    )


def _example(run: Run) -> str:
    """One test prompt beside its corrupted twin."""
    tests = run.prompts.get("test", ())
    if not tests:
        return ""
    prompt: Mapping[str, Any] = tests[0]
    clean, corrupt, answer, wrong = (
        escape(str(prompt.get(key, "")).strip()) for key in ("clean", "corrupt", "answer", "distractor")
    )
    other = f" and not <mark>{wrong}</mark>" if wrong else ""
    return (
        f"<p><b>Clean:</b> {clean} … (the model should say <mark>{answer}</mark>{other})<br>"
        f"<b>Corrupted:</b> {corrupt} …</p>\n"
    )
