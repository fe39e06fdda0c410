"""Plain text in places that read Markdown."""

from __future__ import annotations

SIGNS = str.maketrans({" ": "␣", "\n": "↵", "\t": "⇥", "\u00a0": "⍽", "\u3000": "␣␣"})
MARKS = frozenset("\\`*_[]<>$~:#|!")


def plain(text: str) -> str:
    """`text` so that Streamlit's Markdown shows it letter by letter."""
    return "".join(f"\\{c}" if c in MARKS else c for c in " ".join(text.splitlines()))


def visible(text: str) -> str:
    """`text` with signs for its white space, which decides about tokens."""
    return text.translate(SIGNS)
