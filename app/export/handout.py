"""One page to print: the question, both circuits, the numbers, and how to read them.

Plain HTML without scripts; the pictures are inline SVG. It fits one A4 or Letter page, in colour or
in grey (status is also dash and outline).
"""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Any

from app.export.svg import svg
from hap_engine.picture import page, scene
from hap_engine.report.titles import circuit_title
from hap_engine.runs.record import Run

DRAWN = 400  # edges of each circuit: more is a grey mass on paper
CSS = """
@page { size: A4; margin: 11mm; }
* { box-sizing: border-box; }
body { font: 10px/1.35 system-ui, 'Segoe UI', 'Liberation Sans', Arial, sans-serif; color: #0f1720;
  background: #fff; max-width: 190mm; margin: 0 auto; padding: 0;
  -webkit-print-color-adjust: exact; print-color-adjust: exact; }
h1 { font-size: 17px; margin: 0 0 1mm; } h2 { font-size: 12.5px; margin: 2.5mm 0 .5mm; }
p { margin: 0 0 1.5mm; }
.lead { font-size: 12px; }
.two { display: grid; grid-template-columns: 1fr 1fr; gap: 5mm; }
.two svg { width: 100%; height: auto; display: block; border: 1px solid #d5dbe3; border-radius: 2mm; }
table { border-collapse: collapse; width: 100%; } th, td { text-align: left; padding: .3mm 1.5mm;
  border-bottom: 1px solid #d5dbe3; vertical-align: top; }
td + td { font-variant-numeric: tabular-nums; }
mark { background: #dcebf6; color: inherit; border-radius: 2px; padding: 0 1px; }
code { font-size: 9px; overflow-wrap: anywhere; }
.ask { border: 1px solid #68727f; border-radius: 2mm; padding: 1.5mm 3mm 0; margin-top: 3mm; break-inside: avoid; }
.ask li { margin-bottom: 4mm; } .ask ol { margin: 1mm 0 0; padding-left: 5mm; }
footer { color: #4d5866; font-size: 9px; margin-top: 2mm; }
@media screen { body { padding: 8mm; } }
@media screen and (max-width: 560px) {
  body { padding: 4mm; } .two { grid-template-columns: 1fr; } table { display: block; overflow-x: auto; }
}
"""
READ = (
    "Read each picture from bottom to top: the prompt enters below, the prediction leaves above. "
    "Squares are attention heads (row = layer, column = head), bars are MLPs, lines are the edges that "
    "the circuit keeps; every other edge carries what it would carry on the corrupted prompt. Grey: in "
    "both circuits. Dashed: only in the left one. Blue: only in the right one. A double ring marks an "
    "S-inhibition head."
)


def handout(run: Run, left: str, right: str) -> str:
    """The page as HTML text."""
    built = scene.build(run, left, right, strongest=DRAWN)
    size = (640, 640)  # squatter than on screen: one sheet holds all
    roles = page.roles_table(run, left, right)
    parts = [
        "<!DOCTYPE html>",
        f'<html lang="en"><head><meta charset="utf-8"><title>{escape(run.title)}</title>',
        f"<style>{CSS}</style></head><body>",
        f"<h1>{escape(run.title)}</h1>",
        f'<p class="lead">{escape(page.sentence(run, left, right))}</p>',
        _example(run),
        f'<div class="two">{svg(built, "left", size=size)}{svg(built, "right", size=size)}</div>',
        f"<p>{escape(READ)}</p>",
        "<h2>How close is each circuit to the whole model?</h2>",
        page.metrics_table(run),
        f"<p>{escape(page.conditions(run))} KL: 0 = predicts like the model. Faithfulness: "
        "0 = everything corrupted, 1 = the full model; it can exceed 1.</p>",
        f"<h2>Which roles do they keep?</h2>{roles}" if roles else "",
        _questions(run, left, right),
        f"<footer>Run {escape(run.id)}, computed {escape(run.created[:10])}. Again: "
        f"<code>{escape(run.command)}</code><br>Made with HAP Explorer (arXiv 2510.03282).</footer>",
        "</body></html>",
    ]
    return "\n".join(filter(None, parts))


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
        f"<b>Corrupted:</b> {corrupt} …</p>"
    )


def _questions(run: Run, left: str, right: str) -> str:
    """Three questions that the page lets one answer, with room to write."""
    a, b = circuit_title(left), circuit_title(right)
    asked = [
        "Which of the two circuits predicts more like the whole model, and which number says so?",
        f"Name one head that {b} keeps and {a} does not (or the reverse). What might it do?",
        "Random circuits of the same size are in the table. Why are they there?",
    ]
    items = "".join(f"<li>{escape(text)}</li>" for text in asked)
    return f'<div class="ask"><b>Think it through</b><ol>{items}</ol></div>'
