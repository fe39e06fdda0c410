"""Share and export: a link, pictures, an interactive page, data, code, a handout to print."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import streamlit as st

from app import url
from app.export.svg import Which, svg
from app.words import say, widget
from hap_engine.picture import scene
from hap_engine.picture.palette import palette
from hap_engine.report.titles import circuit_title
from hap_engine.runs.record import Run
from hap_engine.runs.run_file import dumps
from hap_engine.words import beside

SIZE = (640, 760)

_files = {part: beside(__file__, f"../export/web/picture.{part}") for part in ("html", "css", "js")}
_picture = st.components.v2.component("hap_picture", **_files, isolate_styles=False)


def show(run: Run, left: str, right: str) -> None:
    """Draw the panel; files are made when their button is pressed."""
    picture, data, print_, code = st.tabs(say.parts("share.tabs"))
    _link(run)
    with picture:
        _pictures(run, left, right)
    with data:
        _data(run)
    with print_:
        _pages(run, left, right)
    with code:
        _code(run)


def file_name(run: Run, *parts: str) -> str:
    """A name that any file system takes: model, task, id and what it is."""
    words = "-".join((str(run.model["name"]), str(run.task["name"]), run.id[:8], *parts))
    return re.sub(r"[^\w.-]+", "-", words, flags=re.ASCII).strip("-.")[:100]


def _link(run: Run) -> None:
    st.markdown("**Link to this view**")
    st.code(url.address(run), language=None)
    st.caption(say("share.link"))


def _pictures(run: Run, left: str, right: str) -> None:
    titles = {"left": circuit_title(left), "right": circuit_title(right), "overlay": say("share.overlay")}
    a, b = st.columns(2, vertical_alignment="bottom")
    shown = titles.__getitem__
    which: Any = a.selectbox(**widget("share.which"), options=list(titles), index=1, format_func=shown)
    themes = ["light", "dark"]
    theme = b.segmented_control(**widget("share.theme"), options=themes, default="light", format_func=str.capitalize)
    asked = url.link()
    text = _drawn(run.fingerprint, left, right, which, theme or "light", asked.fold, asked.drawn or None, run)
    name = file_name(run, left if which == "left" else right if which == "right" else f"{left}-{right}")
    _picture(key=f"picture-{run.id}", data=[{"svg": text, "name": name, "width": SIZE[0], "height": SIZE[1]}])


@st.cache_data(max_entries=12, show_spinner=False)
def _drawn(key: str, left: str, right: str, which: Which, theme: str, fold: bool, drawn: int | None, _run: Run) -> str:
    built = scene.build(_run, left, right, fold=fold, strongest=drawn)
    return svg(built, which, palette(theme), SIZE)


def _data(run: Run) -> None:
    from app.export import graphs, tables

    names = list(run.circuits)
    words, first = widget("share.circuit"), names.index(run.main)
    name = st.selectbox(**words, options=names, index=first, format_func=circuit_title)
    with st.container(horizontal=True):
        _download("json", lambda: dumps(run), f"{run.id}.json")
        _download("edges", lambda: tables.edges_csv(run), f"{file_name(run, 'edges')}.csv")
        _download("heads", lambda: tables.heads_csv(run), f"{file_name(run, 'heads')}.csv")
        _download("graphml", lambda: graphs.graphml(run, name), f"{file_name(run, name)}.graphml")
        _download("dot", lambda: graphs.dot(run, name), f"{file_name(run, name)}.dot")


def _pages(run: Run, left: str, right: str) -> None:
    asked = url.link().valid(run)

    def interactive() -> str:
        from hap_engine.picture.standalone import standalone

        return standalone(
            run, left, right, asked.pins, view=asked.view or "sentence", fold=asked.fold, strongest=asked.drawn or None
        )

    def handout() -> str:
        from app.export.handout import handout

        return handout(run, left, right)

    with st.container(horizontal=True):
        _download("interactive", interactive, f"{file_name(run, 'interactive')}.html")
        _download("handout", handout, f"{file_name(run, 'handout')}.html")


def _code(run: Run) -> None:
    from app.export import snippets

    st.markdown(say("share.terminal"))
    st.code(run.command, language=None)
    st.markdown("In Python:")
    st.code(snippets.python(run), language="python")


def _download(name: str, make: Callable[[], str], file: str) -> None:
    words = widget(f"share.{name}") | {"icon": ":material/download:", "on_click": "ignore"}
    st.download_button(**words, data=make, file_name=file, key=f"download-{words['label']}")
