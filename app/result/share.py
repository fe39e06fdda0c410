"""Share and export: a link, pictures, an interactive page, data, code, a handout to print."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import streamlit as st

from app import url
from app.export.svg import Which, svg
from hap_engine.picture import scene
from hap_engine.picture.palette import palette
from hap_engine.report.titles import circuit_title
from hap_engine.runs.record import Run
from hap_engine.runs.run_file import dumps

WEB = Path(__file__).parent.parent / "export" / "web"
SIZE = (640, 760)

_picture = st.components.v2.component(
    "hap_picture",
    html=(WEB / "picture.html").read_text(encoding="utf-8"),
    css=(WEB / "picture.css").read_text(encoding="utf-8"),
    js=(WEB / "picture.js").read_text(encoding="utf-8"),
    isolate_styles=False,
)


def show(run: Run, left: str, right: str) -> None:
    """Draw the panel; files are made when their button is pressed."""
    picture, data, print_, code = st.tabs(
        [":material/image: Picture", ":material/table: Data", ":material/print: Pages", ":material/code: Code"]
    )
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
    st.caption(
        "It opens the same run with the same pins and view in any browser that reaches this explorer. "
        "On another machine, import the run file first."
    )


def _pictures(run: Run, left: str, right: str) -> None:
    titles = {"left": circuit_title(left), "right": circuit_title(right), "overlay": "Both, laid over each other"}
    a, b = st.columns(2, vertical_alignment="bottom")
    which: Any = a.selectbox("Circuit", list(titles), index=1, format_func=titles.__getitem__, key="picture-which")
    theme = b.segmented_control(
        "Colours",
        ["light", "dark"],
        default="light",
        format_func=str.capitalize,
        key="picture-theme",
        help="Light for paper, dark for dark slides.",
    )
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

    name = st.selectbox(
        "Circuit",
        list(run.circuits),
        index=list(run.circuits).index(run.main),
        format_func=circuit_title,
        key="export-circuit",
        help="For GraphML and DOT.",
    )
    named = file_name(run, name)
    with st.container(horizontal=True):
        for label, make, file, mime, words in (
            (
                "Run file (JSON)",
                lambda: dumps(run),
                f"{run.id}.json",
                "application/json",
                "Everything about this run; the Runs page imports it.",
            ),
            (
                "Edges (CSV)",
                lambda: tables.edges_csv(run),
                f"{file_name(run, 'edges')}.csv",
                "text/csv",
                "All edges of all circuits with EAP score, EAP rank and gate.",
            ),
            (
                "Heads (CSV)",
                lambda: tables.heads_csv(run),
                f"{file_name(run, 'heads')}.csv",
                "text/csv",
                "All heads with role, attention and direct effect.",
            ),
            (
                "GraphML",
                lambda: graphs.graphml(run, name),
                f"{named}.graphml",
                "application/xml",
                "For Gephi, Cytoscape, yEd and NetworkX.",
            ),
            ("DOT", lambda: graphs.dot(run, name), f"{named}.dot", "text/vnd.graphviz", "For Graphviz."),
        ):
            _download(label, make, file, mime, words)


def _pages(run: Run, left: str, right: str) -> None:
    asked = url.link().valid(run)

    def interactive() -> str:
        from hap_engine.picture.standalone import standalone

        return standalone(run, left, right, asked.pins, fold=asked.fold, strongest=asked.drawn or None)

    def handout() -> str:
        from app.export.handout import handout

        return handout(run, left, right)

    with st.container(horizontal=True):
        _download(
            "Interactive page",
            interactive,
            f"{file_name(run, 'interactive')}.html",
            "text/html",
            "Both circuits as on this page, in one file of about 2 MB that works without the "
            "explorer and without a network.",
        )
        _download(
            "Handout to print",
            handout,
            f"{file_name(run, 'handout')}.html",
            "text/html",
            "One sheet: both circuits, the numbers, how to read them, three questions.",
        )


def _code(run: Run) -> None:
    from app.export import snippets

    st.markdown("In a terminal, from the folder of the explorer:")
    st.code(run.command, language="bash")
    st.markdown("In Python:")
    st.code(snippets.python(run), language="python")


def _download(label: str, make: Any, name: str, mime: str, words: str) -> None:
    st.download_button(
        label,
        data=make,
        file_name=name,
        mime=mime,
        icon=":material/download:",
        on_click="ignore",
        help=words,
        key=f"download-{label}",
    )
