"""The model and the task of a run: two lists that say what is here, what must be downloaded, what works."""

from __future__ import annotations

from functools import partial

import streamlit as st

from app import classroom, url
from app.explore import offered as offered_models
from app.own_prompts import drafts
from app.stored import recent_models, task_answers
from app.widgets.markdown import plain
from app.words import say, widget
from app.work import opened_models, workers
from hap_engine.errors import HapError
from hap_engine.models.catalog import BUNDLED, HUB_MODELS, Source, resolve
from hap_engine.models.hub import cached, cached_models
from hap_engine.tasks.builtin import TASKS
from hap_engine.tasks.custom import NAME as CUSTOM
from hap_engine.tasks.pair import PromptPair
from hap_engine.tasks.rows import check_rows

OTHER = "other"


def model() -> Source | None:
    """The chosen model; None while nothing usable is chosen."""
    local, hub = recent_models.remembered(), _on_machine()
    offered = [*BUNDLED, *local, *hub, *(name for name in HUB_MODELS if name not in hub)]
    rules = classroom.rules()
    options = list(rules.models) if rules else [*dict.fromkeys([*offered, *_named()]), OTHER]

    def label(name: str) -> str:
        if name == OTHER:
            return say("model.other")
        if name in BUNDLED:
            return f"{name} · bundled"
        if name in local or name in hub:
            return say("model.here", name=name)
        size = f", {HUB_MODELS[name].gigabytes:g} GB" if name in HUB_MODELS else ""
        return f"{name} · to download{size}"

    asked = st.query_params.get("model")
    if asked and asked not in options:
        st.warning(**widget("model.absent", name=plain(repr(asked[:80]))))
    chosen = url.select("model", options, label)
    if not rules:
        offered_models.compare()
    if chosen in local:
        return local[chosen]
    if chosen != OTHER:
        if chosen in HUB_MODELS:
            st.caption(offered_models.about(HUB_MODELS[chosen]))
        return resolve(chosen)
    return _other()


def _other() -> Source | None:
    reference = st.text_input(
        **widget("model.path"), persist_state="session", on_change=url.with_choice("reference", _remember)
    )
    if not reference:
        st.caption("Type a path or a name.")
        return None
    try:
        return resolve(reference)
    except HapError as error:
        st.error(plain(str(error)), icon=":material/error:")
        return None


def _remember(reference: str) -> None:
    """Callback: a model that can be found joins the list and is chosen there."""
    try:
        source = resolve(reference)
    except HapError:
        return
    recent_models.remember(source)
    name = source.reference if source.kind == "hub" else source.name
    if source.kind == "hub" or name in recent_models.remembered():
        st.query_params["model"] = name


def _named() -> list[str]:
    """A Hub model that the URL names: links may lead to any."""
    name = st.query_params.get("model", "")
    try:
        return [name] if name and name != OTHER and resolve(name).kind == "hub" else []
    except HapError:
        return []


@st.cache_data(ttl=30, show_spinner=False)
def _on_machine() -> list[str]:
    """Hub models in the cache, those that the list offers anyway first."""
    offered = [name for name in HUB_MODELS if cached(name)]
    return [*offered, *(name for name in cached_models() if name not in offered)]


def task(source: Source | None) -> str:
    """The chosen task, with its paragraph for a student and what is known of the model on it."""
    tasks = list(TASKS) if classroom.rules() else [*TASKS, CUSTOM]
    answers = task_answers.known(source) if source else {}

    def label(name: str) -> str:
        if name == CUSTOM:
            return "Your own prompts"
        failed = name in answers and not task_answers.usable(answers[name])
        data = TASKS[name].data
        absent = f" · to download, {data.megabytes:g} MB" if data and not data.here else ""
        return TASKS[name].title + (" · not this model" if failed else absent)

    chosen = url.select("task", tasks, label)
    if chosen == CUSTOM:
        pages = st.session_state.get("pages", {})
        if "own" in pages:
            st.page_link(pages["own"], **widget("task.write"))
        return CUSTOM
    answer = answers.get(chosen)
    if answer is not None and not task_answers.usable(answer):
        st.warning(plain(str(answer.get("sentence", ""))), icon=":material/block:")
    with st.popover(**widget("task.what")):
        st.markdown(f"**{plain(TASKS[chosen].title)}**")
        st.markdown(plain(TASKS[chosen].summary))
        for name, text in TASKS[chosen].corruptions.items():
            st.caption(f"Corrupted prompt *{plain(name)}*: {plain(text)}")
        if answer is not None and task_answers.usable(answer):
            st.success(plain(str(answer["sentence"])), icon=":material/check:")
        if source is not None and source.path is not None and not classroom.rules():
            _try_all(source, tried=answer is not None)
    return chosen


def _try_all(source: Source, tried: bool) -> None:
    """A button that asks the model about every task, in the background."""
    key = f"try-{source.reference}"
    work = workers.short_work().get(key)
    if work is not None and work.state != "done":
        opened_models.result(key)
    elif st.button(**(widget("task.try") | ({"label": "Try every task again"} if tried else {}))):
        workers.short_work().forget(key)
        workers.short_work().start(key, partial(task_answers.trying, source))
        st.rerun()


def own_prompts(chosen: str) -> tuple[PromptPair, ...]:
    """What was written on the other page, for the task *Your own prompts*.

    Raises:
        TaskError: with the row and the remedy.
    """
    if chosen != CUSTOM:
        return ()
    return check_rows([drafts.pair_of(row) for row in drafts.load()])
