"""Typed access to the URL, which holds all that decides what a page shows (see `app.link`)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar
from urllib.parse import urlencode, urlsplit

import streamlit as st

from app.link import KEYS, Link
from app.widgets.markdown import plain
from app.words import widget
from hap_engine.runs.record import Run

# Settings of the next run, by the page that shows them: they outlive the run on screen.
SETTINGS: Mapping[str, Sequence[str]] = {"": ("model", "task", "kept", "effort", "seed"), "prompts": ("model",)}


def resume(page: str) -> None:
    """Give a page that is opened again what its address said before, and note where we are.

    A click on the navigation opens a page without a query: all of it comes back, but for large type. A link that
    names something, such as a run, shows that, with the settings as they were last, on whatever page.
    """
    if st.session_state.get("page") != page:
        asked = st.query_params.to_dict()
        before = {} if asked else _noted("addresses").get(page, {})
        settings = {key: value for key, value in _noted("settings").items() if key in SETTINGS.get(page, ())}
        lost = {key: value for key, value in {**before, **settings}.items() if key not in (*asked, KEYS["present"])}
        if lost:
            st.query_params.update(lost)
    st.session_state["page"] = page
    remember()


def remember() -> None:
    """Note the address of the page on screen, for `resume`."""
    page: str = st.session_state["page"]
    query = {key: st.query_params.get_all(key) for key in st.query_params}
    _noted("addresses")[page] = query
    for key in SETTINGS.get(page, ()):
        _noted("settings").pop(key, None)
        if key in query:
            _noted("settings")[key] = query[key]


def _noted(kind: str) -> dict[str, Any]:
    notes: dict[str, Any] = st.session_state.setdefault(f"noted-{kind}", {})
    return notes


def link() -> Link:
    """What the URL asks for; never fails."""
    return Link.from_query({key: st.query_params.get_all(key) for key in st.query_params})


def open_panel() -> None:
    """Have the panel of a new run opened; each call counts, for the visitor may have closed it meanwhile."""
    st.session_state["new-run"] = st.session_state.get("new-run", 0) + 1


def put(**changes: Any) -> None:
    """Change parts of the URL by `Link`'s field names: ``put(pins=("a9.h9",), view="overlay")``."""
    query = replace(link(), **changes).query()
    for field in changes:
        key = KEYS[field]
        if key in query:
            if st.query_params.get_all(key) != query[key]:
                st.query_params[key] = query[key]
        else:
            st.query_params.pop(key, None)


def address(run: Run) -> str:
    """The full address of what is on screen, to copy and send: the URL as it is, with the run named."""
    here = urlsplit(st.context.url or "http://localhost:8501/")
    query = {key: st.query_params.get_all(key) for key in st.query_params if key != "job"}
    query["run"] = [run.id]
    return f"{here.scheme}://{here.netloc}{here.path}?{urlencode(query, doseq=True)}"


def show_problems(run: Run) -> Link:
    """Say what the URL names that this run lacks; returns the link without it."""
    asked = link()
    valid, problems = asked.valid(run), asked.problems(run)
    if st.session_state.pop("came-from-another", "") == run.id:
        problems = []
        put(**vars(valid))
    keep_saying(run.id, problems)
    return valid


def keep_saying(about: str, problems: Sequence[str]) -> None:
    """Show what is wrong with a link until it is dismissed: the URL itself is mended at once."""
    said = st.session_state.setdefault("link-problems", {})
    if problems:
        said[about] = list(problems)
    for problem in said.get(about, ()):
        st.warning(plain(problem), icon=":material/info:")
    if said.get(about) and st.button("Dismiss", key=f"dismiss-{about}", icon=":material/close:"):
        del said[about]
        st.rerun()


T = TypeVar("T")


def from_url(key: str, options: Sequence[T], default: T) -> T:
    """The option that the URL names, else `default`. (Streamlit's own binding puts labels there.)"""
    named = st.query_params.get(key)
    return next((option for option in options if str(option) == named), default)


def select(key: str, options: Sequence[str], shown: Callable[[str], str]) -> str:
    """A select box whose choice stands in the URL under `key`; the first option is the default."""
    st.session_state[key] = from_url(key, options, options[0])
    change: dict[str, Any] = {"on_change": to_url, "args": (key, options[0])}
    return st.selectbox(**widget(f"{key}.choice"), options=options, format_func=shown, key=key, **change)


def to_url(key: str, default: object) -> None:
    """Widget callback: put the widget's value into the URL, defaults left out."""

    def write(value: object) -> None:
        if value == default or value is None:
            st.query_params.pop(key, None)
        else:
            st.query_params[key] = str(value)

    with_choice(key, write)()


def with_choice(key: str, then: Callable[[Any], None]) -> Callable[[], None]:
    """A widget callback that gets the widget's value.

    The browser may send a choice in the moment in which its page is left: the value is gone then, and nothing happens.
    """

    def changed() -> None:
        if key in st.session_state:
            then(st.session_state[key])

    return changed


def with_row(key: str, rows: Sequence[T], then: Callable[[T], None]) -> Callable[[], None]:
    """A callback of a table of `rows` that gets the one which was selected."""

    def picked(value: Any) -> None:
        for index in value.selection.rows[:1]:
            if index < len(rows):
                then(rows[index])

    return with_choice(key, picked)


def go_to_run(run_id: str) -> None:
    """Show a run; a finished job leaves the URL.

    So does the size at which another run was shown. What else was chosen there, such as pins, holds where this run has
    it: no link named the rest, and nothing is said of it.
    """
    if st.query_params.get("run") != run_id:
        st.query_params.pop("size", None)
        st.session_state["came-from-another"] = run_id
    st.query_params["run"] = run_id
    st.query_params.pop("job", None)
