"""Every term the pages use, defined once (no Streamlit here).

`define` gives the text for a widget's help; `rich` turns a short text with marked terms into HTML in
which each term explains itself under the pointer or the keyboard's focus. Its marks: ``[[term]]`` or
``[[term|words shown]]``, ``**bold**``, ``*italic*``, ```code```, blank lines between paragraphs,
``- `` for lists. Everything else is text and stays text.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from html import escape

from hap_engine.errors import UnknownNameError
from hap_engine.words import beside

_FOUND = tomllib.loads(beside(__file__, "glossary.toml"))
TERMS: Mapping[str, str] = _FOUND["terms"]
ALIASES: Mapping[str, str] = _FOUND["aliases"]
MARK = re.compile(
    r"\[\[(?P<term>[^\]|]+)(?:\|(?P<shown>[^\]]+))?\]\]|\*\*(?P<bold>[^*]+)\*\*|\*(?P<italic>[^*]+)\*|`(?P<code>[^`]+)`"
)
CSS = beside(__file__, "glossary.html")


def term(name: str) -> str:
    """The name under which a term is defined. Raises UnknownNameError."""
    for known in (name, ALIASES.get(name, ""), name[:1].lower() + name[1:]):
        if known in TERMS:
            return known
    raise UnknownNameError("term", name, TERMS)


def define(name: str) -> str:
    """What a term means, in a sentence or two. Raises UnknownNameError."""
    return TERMS[term(name)]


def rich(text: str) -> str:
    """Marked text as HTML; see the module's docstring for the marks. Raises UnknownNameError."""
    blocks = [block.strip() for block in re.split(r"\n\s*\n", text.strip())]
    return f'{CSS}<div class="hap-text">{"".join(map(_block, blocks))}</div>'


def _block(block: str) -> str:
    lines = block.splitlines()
    if all(line.lstrip().startswith("- ") for line in lines):
        items = "".join(f"<li>{_inline(line.lstrip()[2:])}</li>" for line in lines)
        return f"<ul>{items}</ul>"
    return f"<p>{_inline(' '.join(line.strip() for line in lines))}</p>"


def _inline(text: str) -> str:
    return MARK.sub(_marked, escape(text))


def _marked(match: re.Match[str]) -> str:
    """What a mark in an escaped text becomes."""
    for mark, tag in (("bold", "strong"), ("italic", "em"), ("code", "code")):
        if match[mark]:
            return f"<{tag}>{match[mark]}</{tag}>"
    meaning = escape(define(match["term"]))
    return f'<dfn tabindex="0">{match["shown"] or match["term"]}<span role="tooltip">{meaning}</span></dfn>'
