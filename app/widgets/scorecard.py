"""A scorecard: a row of ✓, ✗ or ? for each question, which opens to the prose. Plain HTML, every text escaped."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

import streamlit as st

from app.widgets import charts
from app.words import say
from hap_engine.report.metric_sentences import NO, YES, Finding
from hap_engine.words import beside

STYLE = beside(__file__, "scorecard.html")


def show(findings: Sequence[Finding]) -> None:
    """Draw the rows, closed."""
    colours = charts.colours_now()
    looks = {YES: colours.mover, NO: colours.repeat}
    rows = "".join(_row(finding, looks.get(finding.mark, colours.muted)) for finding in findings)
    st.html(f'{STYLE}<div class="hap-card">{rows}</div>')


def _row(finding: Finding, colour: str) -> str:
    mark, said = finding.mark, escape(say.parts("scorecard")[finding.mark])
    sign = f'<i role="img" aria-label="{said}" title="{said}" style="color:{colour}">{mark}</i>'
    asked = f"<span><b>{escape(finding.question)}</b> {escape(finding.answer)}</span>"
    if not finding.detail:
        return f'<div class="flat">{sign}{asked}</div>'
    return f"<details><summary>{sign}{asked}</summary><p>{escape(finding.detail)}</p></details>"
