"""What the pages say, from ``words.toml``: `say` gives a text, `widget` a widget's arguments (no Streamlit here).

A text may quote the glossary: ``{define[gate]}``.
"""

from __future__ import annotations

from collections.abc import Mapping

from app.glossary import TERMS
from hap_engine.words import Words

say = Words(__file__, "words.toml", define=TERMS)
widget = say.parts
HELP: Mapping[str, str] = say.parts("metrics")
