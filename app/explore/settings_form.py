"""The settings of a run: widgets in, a frozen `DiscoveryConfig` out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import streamlit as st

from app import classroom, url
from app.explore import cost, model_and_task
from app.stored import task_answers
from app.stored.related_runs import SIZES, sparsity_of
from app.widgets.markdown import plain
from app.words import say, widget
from app.work import discoveries, workers
from hap_engine.errors import HapError
from hap_engine.graph.ranking import edge_budget
from hap_engine.machine import speed
from hap_engine.machine.estimate import AUTO, faster_dtype
from hap_engine.models.catalog import Source
from hap_engine.runs.run_file import runs_folder
from hap_engine.runs.unfinished import every_interrupted
from hap_engine.settings import BUDGETS, DTYPES, METHODS, PRESETS, SCORERS, DiscoveryConfig, preset_sizes
from hap_engine.tasks.custom import get_task
from hap_engine.tasks.reader import BOS
from hap_engine.tasks.spans import WAYS

EVERYWHERE = "everywhere"  # edges act, not at spans
EFFORTS = ("quick", "standard", "thorough", "one-size")


def show() -> None:
    """Draw the settings; pressing the button starts a job and puts it in the URL."""
    st.header("New run", anchor=False)
    st.caption(say("settings.another"))
    source = model_and_task.model()
    task = model_and_task.task(source)
    share = st.select_slider(
        **widget("settings.size"),
        options=SIZES,
        value=url.from_url("kept", SIZES, 2.0),
        format_func=lambda share: f"{share:g} %",
        on_change=url.to_url,
        args=("kept", 2.0),
    )
    sparsity = sparsity_of(share)
    told = st.container()  # once it is known where edges act
    rules = classroom.rules()
    efforts = list(rules.efforts if rules else EFFORTS)
    effort = st.segmented_control(
        **widget("settings.effort"),
        options=efforts,
        default=url.from_url("effort", efforts, "standard"),
        format_func=lambda name: name.capitalize().replace("-", " "),
        on_change=url.to_url,
        args=("effort", "standard"),
    )
    advanced = {"pruning": PRESETS[effort]} if rules else _advanced(task, effort)
    config = _config(source, task, sparsity, {"sizes": preset_sizes(effort), **advanced})
    with told:
        impossible = _explain_size(source, sparsity, config) or _unknown_task(source, task) or _too_few(config, share)
    if st.button(**widget("settings.find"), disabled=config is None or bool(impossible)):
        assert config is not None
        _start(config)
    if impossible:
        st.caption(plain(impossible))
    else:
        cost.show(source, config)
    if st.button(**widget("settings.see")):
        from app.explore import prompts  # tables need pandas, which a first visit need not load

        prompts.preview(source, task, config)
    _waiting()


def _unknown_task(source: Source | None, task: str) -> str:
    """Why a circuit of this task would say nothing of this model; empty where that was not measured."""
    answer = task_answers.known(source).get(task) if source else None
    return "" if answer is None or task_answers.usable(answer) else str(answer.get("sentence", ""))


def _too_few(config: DiscoveryConfig | None, share: float) -> str:
    """Why so many per cent of the edges cannot be kept of those that are left to Edge Pruning; empty if they can."""
    if config is None or config.method != "hap" or config.keep is None or 100 * config.keep >= share:
        return ""
    return say("settings.few", share=share, left=100 * config.keep)


def _explain_size(source: Source | None, sparsity: float, config: DiscoveryConfig | None) -> str:
    """Say what the size means; returns why it is impossible, if it is."""
    try:
        graph = cost.graph(source, config) if source else None
        budget = edge_budget(graph, sparsity) if graph else 0
    except HapError as error:
        return str(error)
    if graph is None:
        st.caption(say("settings.removed", share=sparsity))
    else:
        where = " at their spans" if graph.positional else ""
        st.caption(f"**{budget:,}** of {graph.n_edges:,} edges{where} · sparsity {sparsity:.1%}")
    return ""


def _advanced(task: str, effort: str) -> dict[str, Any]:
    preset, corruptions = PRESETS[effort], get_task(task).corruptions
    with st.expander("Advanced"):
        return {
            "method": _select("method", METHODS, say.parts("settings.methods").__getitem__),
            "corruption": _select(
                "corruption", list(corruptions), lambda name: f"{name}: {corruptions[name]}", task=task
            ),
            "scorer": _select("scorer", SCORERS, index=SCORERS.index(DiscoveryConfig().scorer)),
            "keep": _keep(),
            "pruning": replace(
                preset,
                steps=int(_number("steps", 1, 10_000, preset.steps, effort=effort)),
                budget=_select("budget", BUDGETS, index=BUDGETS.index(preset.budget), effort=effort),
            ),
            "positions": _positions(),
            "bos": _select("bos", BOS),
            "seed": st.number_input(**widget("settings.seed"), min_value=0, max_value=2**31 - 1, value=0),
            "dtype": _select("dtype", (AUTO, *DTYPES)),
            "device": _device(),
            "memory": _number("memory", 0.0, 1000.0, 0.0) or None,
        }


def _select(name: str, options: Sequence[str], shown: Callable[[str], str] = str, index: int = 0, **values: str) -> str:
    """A select box whose choice outlives a visit to another page."""
    words = widget(f"settings.{name}", **values)
    return str(st.selectbox(**words, options=options, index=index, format_func=shown, persist_state="session"))


def _number(name: str, low: float, high: float, first: float, **values: str) -> float:
    words = widget(f"settings.{name}", **values)
    return st.number_input(**words, min_value=low, max_value=high, value=first, persist_state="session")


def _keep() -> float | None:
    """The share of edges left to Edge Pruning; None: the engine chooses."""
    if st.toggle(**widget("settings.automatic"), value=True, persist_state="session"):
        return None
    return st.slider(**widget("settings.keep"), min_value=1, max_value=100, value=10, persist_state="session") / 100


def _positions() -> str:
    """How prompts are divided into spans; "" for not at all."""
    chosen = _select("positions", (EVERYWHERE, *WAYS), say.parts("settings.divisions").__getitem__)
    return "" if chosen == EVERYWHERE else chosen


def _device() -> str:
    """Where the run computes; there is a choice where the machine has a GPU."""
    here = speed.known()
    if here is None or not here.gpu:
        return "cpu"
    names = {here.gpu: f"GPU: {here.gpu_name}", "cpu": "Processor"}
    return _select("device", list(names), names.__getitem__)


def _config(source: Source | None, task: str, sparsity: float, advanced: dict[str, Any]) -> DiscoveryConfig | None:
    if source is None:
        return None
    try:
        prompts = model_and_task.own_prompts(task)
        if prompts:
            del advanced["sizes"]  # all of them
        chosen = advanced.pop("dtype", DTYPES[0])  # a class has one for all
        config = DiscoveryConfig(model=source.reference, task=task, sparsity=sparsity, prompts=prompts, **advanced)
        if chosen == AUTO:  # before this machine is measured nothing is known to be faster
            machine = speed.known()
            chosen = faster_dtype(config, machine) if machine else config.dtype
        return replace(config, dtype=chosen)
    except HapError as error:
        st.error(plain(str(error)), icon=":material/error:")
        return None


def _start(config: DiscoveryConfig) -> None:
    try:
        job = discoveries.submit(workers.runs(), config, owner=workers.visitor())
    except HapError as error:
        st.error(plain(str(error)), icon=":material/error:")
        return
    st.query_params["job"] = job  # the run on the page stays in the address: a cancelled job leads back
    st.rerun()


def _waiting() -> None:
    """Links to runs that go on in the background, and to those that were interrupted."""
    here = st.query_params.get("job")
    for left in every_interrupted(runs_folder()):
        words = widget("progress.left", run=left.run, model=plain(left.config.model.split("/")[-1]), told=left.told)
        if left.run != here and st.button(**words):
            st.query_params["job"] = left.run
            st.rerun()
    for job in workers.runs().live():
        if job.key != here:
            label = f"{job.about.model.split('/')[-1]} · {job.progress.phase}"
            if st.button(plain(f"Watch: {label}"), key=f"watch-{job.key}", width="stretch"):
                st.query_params["job"] = job.key
                st.rerun()
