"""The runs page: what is kept on this machine, to open, rename, compare, delete or import."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

import streamlit as st

from app import classroom, url
from app.stored import saved_runs
from app.stored.saved_runs import Listed
from app.widgets.markdown import plain
from app.words import say, widget
from hap_engine.crash_report import explain
from hap_engine.errors import HapError
from hap_engine.picture.palette import palette
from hap_engine.report.titles import circuit_title
from hap_engine.runs.run_file import MAX_BYTES
from hap_engine.words import beside

STYLE = beside(__file__, "runs.html")
AT_ONCE = 20  # runs shown before "Show more": a class can collect hundreds


def page(pages: Mapping[str, Any]) -> None:
    """Draw the page; `pages` maps ``explore`` and ``compare`` to their `st.Page`."""
    st.title("Runs", anchor=False)
    st.caption(say("runs.about"))
    _say_what_happened()
    runs, damaged = saved_runs.listed()
    for message in damaged:
        st.warning(plain(message), icon=":material/broken_image:")
    if classroom.rules() is None:
        _import()
    cards(_filtered(runs), pages)


def cards(shown: list[Listed], pages: Mapping[str, Any]) -> None:
    """A card for each run: its circuits small, what it found, what can be done with it."""
    count = st.session_state.get("runs-shown", AT_ONCE)
    for run in shown[:count]:
        _card(run, pages)
    if len(shown) > count and st.button(f"Show {min(AT_ONCE, len(shown) - count)} more"):
        st.session_state["runs-shown"] = count + AT_ONCE
        st.rerun()


def _filtered(runs: list[Listed]) -> list[Listed]:
    if not runs:
        st.info(**widget("runs.none"))
        return []
    if len(runs) < 4:
        return runs
    asked = st.text_input(**widget("runs.find"))
    words = asked.lower().split()
    matching = [run for run in runs if all(word in _searched(run) for word in words)]
    if not matching:
        st.info(**widget("runs.unmatched", asked=plain(asked)))
    return matching


def _searched(run: Listed) -> str:
    return f"{run.title} {run.model} {run.task} seed {run.seed} {run.id} {run.method} {run.created[:10]}".lower()


def _card(run: Listed, pages: Mapping[str, Any]) -> None:
    with st.container(border=True, key=f"run-{run.id}"):
        picture, words, buttons = st.columns([2, 6, 4], vertical_alignment="center")
        picture.html(f"{STYLE}{_picture(run)}")
        with words:
            badge = say(f"runs.badges.{'shipped' if run.shipped else 'copied'}") if run.shipped or run.copied else ""
            st.markdown(f"**{plain(run.title)}** {badge}".strip())
            st.html(f'<div class="hap-card-told">{run.told}</div>')
            st.caption(" · ".join(map(plain, _facts(run))))
        with buttons.container(horizontal=True, horizontal_alignment="right"):
            _buttons(run, pages)
        match st.session_state.get("asked"):
            case ("rename", run.id, seen):
                _rename(run, seen)
            case ("delete", run.id, _) if not run.shipped:
                _delete(run)


def _picture(run: Listed) -> str:
    """The thumbnail as an image, which is all of SVG that Streamlit lets into a page."""
    colours = palette(st.context.theme.type)
    fills = f"rect{{fill:{colours.both}}}.left{{fill:{colours.left}}}.right{{fill:{colours.right}}}"
    svg = run.thumbnail.replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1)
    data = b64encode(svg.replace(">", f"><style>{fills}</style>", 1).encode()).decode()
    return f'<img class="hap-card-picture" alt="{say("runs.picture")}" src="data:image/svg+xml;base64,{data}">'


def _facts(run: Listed) -> list[str]:
    method = circuit_title(run.method)
    facts = [run.model, run.task] if run.named else []
    facts += [f"{method}, {run.edges:,} edges", f"seed {run.seed}", _date(run.created)]
    return facts


def _date(created: str) -> str:
    try:
        return f"{datetime.fromisoformat(created):%d %b %Y, %H:%M}"
    except ValueError:
        return created[:16]


def _buttons(run: Listed, pages: Mapping[str, Any]) -> None:
    """What can be done with a run. Each button's help names the run, for those who hear the page."""
    named = {"run": run.id, "title": plain(run.title)}
    if st.button(**widget("runs.open", **named)):
        st.switch_page(pages["explore"], query_params={"run": run.id})
    if st.button(**widget("runs.compare", **named)):
        st.switch_page(pages["compare"], query_params={"run": run.id})
    if classroom.rules() is not None:  # in a class nobody changes what others see
        return
    st.button(**widget("runs.rename", **named), on_click=_ask, args=("rename", run))
    stays = {"help": say("runs.stays")} if run.shipped else {}
    st.button(**(widget("runs.delete", **named) | stays), on_click=_ask, args=("delete", run), disabled=run.shipped)


def _ask(action: str, run: Listed) -> None:
    """Button callback: open the form of an action in a run's card, or close it again.

    The name of that moment is kept, so that a change by another tab meanwhile is noticed.
    """
    now = st.session_state.get("asked")
    opened = now is not None and now[:2] == (action, run.id)
    st.session_state["asked"] = None if opened else (action, run.id, _own_name(run))


def _own_name(run: Listed) -> str:
    return run.title if run.named else ""


def _rename(run: Listed, seen: str) -> None:
    with st.form(f"rename-form-{run.id}", border=False):
        words = widget("runs.name", run=run.id)
        st.text_input(**words, value=seen, placeholder=run.title, max_chars=saved_runs.LONGEST_NAME)
        save = url.with_choice(f"name-{run.id}", lambda name: _do(lambda: _save_name(run.id, name, seen)))
        st.form_submit_button(**widget("runs.save", run=run.id), on_click=save)


def _save_name(run_id: str, name: str, seen: str) -> str:
    name = saved_runs.rename(run_id, name, seen)
    return f"Renamed to “{name}”." if name else "The run has its own title again."


def _deleted(run: Listed) -> str:
    return say("runs.back" if run.copied else "runs.deleted", title=saved_runs.delete(run.id))


def _delete(run: Listed) -> None:
    st.warning(**widget("runs.restoring" if run.copied else "runs.warning"))
    with st.container(horizontal=True):
        st.button(**widget("runs.sure", run=run.id), on_click=_do, args=(lambda: _deleted(run),))
        st.button(**widget("runs.keep", run=run.id), on_click=_ask, args=("delete", run))


def _do(action: Callable[[], str]) -> None:
    """Button callback: change a saved run, and say on the drawing that follows how it went.

    A callback runs even if the card that held its button is gone, because another tab deleted it.
    """
    try:
        message = ("success", action())
    except Exception as error:  # a locked file, too
        message = ("error", explain(error, "the Runs page"))
    st.session_state["runs-message"] = message
    st.session_state["asked"] = None


def _say_what_happened() -> None:
    kind, words = st.session_state.pop("runs-message", (None, ""))
    if kind == "error":
        st.error(plain(words), icon=":material/error:")
    elif kind:
        st.success(plain(words), icon=":material/check:")


def _import() -> None:
    with st.expander(**widget("runs.import")):
        file = st.file_uploader(**widget("runs.file"), max_upload_size=MAX_BYTES >> 20)
        if file is None or st.session_state.get("imported") == file.file_id:
            return
        try:
            _, what = saved_runs.import_run(file.getvalue())
        except HapError as error:
            st.error(plain(str(error)), icon=":material/error:")
            return
        st.session_state["imported"] = file.file_id
        st.session_state["runs-message"] = ("success", say("runs.imported", what=what))
        st.rerun()
