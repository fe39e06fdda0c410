"""Plain text in places that read Markdown."""

from __future__ import annotations

import re

SIGNS = str.maketrans({" ": "␣", "\n": "↵", "\t": "⇥", "\u00a0": "⍽", "\u3000": "␣␣"})
MARKS = frozenset("\\`*_[]<>$~:#|!")
ADDRESS = re.compile(r"https?:(?=//)|www(?=\.)|@(?=\w)", re.IGNORECASE)
JOINER = "\u2060"  # nobody sees it; no escape keeps Streamlit from making a link of an address


def plain(text: str) -> str:
    """`text` so that Streamlit's Markdown shows it letter by letter, an address too."""
    line = ADDRESS.sub(rf"\g<0>{JOINER}", " ".join(text.splitlines()))
    return "".join(f"\\{c}" if c in MARKS else c for c in line)


def visible(text: str) -> str:
    """`text` with signs for its white space, which decides about tokens."""
    return text.translate(SIGNS)
