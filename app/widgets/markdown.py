"""Plain text in places that read Markdown."""

from __future__ import annotations

MARKS = frozenset("\\`*_[]<>$~:#|!")


def plain(text: str) -> str:
    """`text` so that Streamlit's Markdown shows it letter by letter."""
    return "".join(f"\\{c}" if c in MARKS else c for c in " ".join(text.splitlines()))
