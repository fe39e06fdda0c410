"""How it works: the method in a page, the words, and what a teacher needs."""

from __future__ import annotations

import tomllib
from base64 import b64encode
from collections.abc import Mapping
from html import escape
from typing import Any

import streamlit as st

from app import glossary
from hap_engine.files import assets
from hap_engine.tasks.builtin import TASKS
from hap_engine.words import beside

STYLE = "<style>.hap-drawing { display: block; width: min(100%, 760px); margin: 12px 0; }</style>"
TEXTS: Mapping[str, Any] = tomllib.loads(beside(__file__, "about.toml"))


def _picture(part: Mapping[str, str]) -> str:
    """A drawing from the bundled run, made by docs/generate/method_pictures.py."""
    if "picture" not in part:
        return ""
    data = b64encode((assets() / "pictures" / f"{part['picture']}.svg").read_bytes()).decode()
    return f'{STYLE}<img class="hap-drawing" alt="{escape(part["alt"])}" src="data:image/svg+xml;base64,{data}">'


def page(pages: Mapping[str, Any]) -> None:
    st.title("How it works", anchor=False)
    for part in TEXTS["method"]:
        st.html(glossary.rich(part["text"]) + _picture(part))
    if "lesson" in pages:
        st.page_link(pages["lesson"], label="Take the lesson: seven steps on a real run", icon=":material/school:")
    st.header("The picture", anchor=False)
    st.html(glossary.rich(TEXTS["picture"]))
    st.header("The tasks", anchor=False)
    for task in TASKS.values():
        st.markdown(f"**{task.title}.** {task.summary}")
    st.header("Words", anchor=False)
    terms = sorted(glossary.TERMS.items(), key=lambda item: item[0].lower())
    items = "".join(f"<dt>{escape(name)}</dt><dd>{escape(text)}</dd>" for name, text in terms)
    st.html(f'{TEXTS["words"]}<dl class="hap-words">{items}</dl>')
    st.header("For a class", anchor=False)
    st.html(glossary.rich(TEXTS["teaching"].replace("\n  ", " ")))
    st.header("Sources", anchor=False)
    st.markdown(TEXTS["sources"])
