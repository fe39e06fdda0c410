"""The settings of a run: widgets in, a frozen `DiscoveryConfig` out."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import streamlit as st

from app import classroom, url
from app.explore import cost, model_and_task
from app.glossary import define
from app.stored.related_runs import SIZES, sparsity_of
from app.widgets.markdown import plain
from app.work import discoveries, workers
from hap_engine.errors import HapError
from hap_engine.graph.ranking import edge_budget
from hap_engine.machine import speed
from hap_engine.machine.estimate import AUTO, faster_dtype
from hap_engine.models.catalog import Source, graph_of
from hap_engine.settings import BUDGETS, DTYPES, METHODS, PRESETS, SCORERS, DiscoveryConfig
from hap_engine.tasks.by_name import get_task

EFFORTS = {
    "quick": "Quick: a fifth of the steps, a first look",
    "standard": "Standard: the quality quoted in the README",
    "thorough": "Thorough: twice the steps",
}


def show() -> None:
    """Draw the settings; pressing the button starts a job and puts it in the URL."""
    st.subheader("Find a circuit", anchor=False)
    source = model_and_task.model()
    task = model_and_task.task(source)
    share = st.select_slider(
        "Edges to keep",
        SIZES,
        url.from_url("kept", SIZES, 2.0),
        format_func=lambda share: f"{share:g} %",
        key="kept",
        on_change=url.to_url,
        args=("kept", 2.0),
        help=f"Circuit: {define('circuit')} Fewer edges are easier to read and harder to find: this is "
        "where EAP alone starts to lose heads that work together.",
    )
    sparsity = sparsity_of(share)
    _explain_size(source, sparsity)
    rules = classroom.rules()
    efforts = list(rules.efforts if rules else EFFORTS)
    effort = st.segmented_control(
        "Effort",
        efforts,
        default=url.from_url("effort", efforts, "standard"),
        format_func=str.capitalize,
        key="effort",
        on_change=url.to_url,
        args=("effort", "standard"),
        help="How long Edge Pruning learns. " + ". ".join(EFFORTS.values()) + ".",
        required=True,
        width="stretch",
    )
    advanced = {"pruning": PRESETS[effort]} if rules else _advanced(task, effort)
    config = _config(source, task, sparsity, advanced)
    if st.button(
        "Find the circuit",
        type="primary",
        width="stretch",
        icon=":material/play_arrow:",
        disabled=config is None,
        help="Runs EAP, then Edge Pruning, on this machine. You can watch, reload or leave the page.",
    ):
        assert config is not None
        _start(config)
    cost.show(source, config)
    if st.button("See the prompts", icon=":material/chat:", width="stretch"):
        from app.explore import prompts  # tables need pandas, which a first visit need not load

        prompts.preview(source, task, config)
    _waiting()


def _explain_size(source: Source | None, sparsity: float) -> None:
    graph = graph_of(source) if source else None
    if graph is None:
        st.caption(f"Sparsity {sparsity:.1%}: that share of the edges is removed.")
        return
    try:
        budget = edge_budget(graph, sparsity)
    except HapError as error:
        st.warning(str(error))
        return
    st.caption(f"**{budget:,}** of {graph.n_edges:,} edges · sparsity {sparsity:.1%}")


def _advanced(task: str, effort: str) -> dict[str, Any]:
    preset = PRESETS[effort]
    with st.expander("Advanced"):
        method = st.selectbox(
            "Method",
            METHODS,
            key="method",
            persist_state="session",
            format_func={
                "hap": "HAP: EAP, then Edge Pruning",
                "eap": "EAP alone",
                "ep": "Edge Pruning on all edges",
            }.__getitem__,
            help="\n\n".join(f"{name}: {define(name)}" for name in ("EAP", "EP", "HAP")),
        )
        corruptions = get_task(task).corruptions
        corruption = st.selectbox(
            "Corrupted prompt",
            list(corruptions),
            key="corruption",
            persist_state="session",
            format_func=lambda name: f"{name}: {corruptions[name]}",
            help=f"What the edges that are cut carry. {define('corrupted prompt')}",
        )
        scorer = st.selectbox(
            "Scorer of the candidates",
            SCORERS,
            key="scorer",
            persist_state="session",
            index=SCORERS.index(DiscoveryConfig().scorer),
            help=f"Picks the loose set. {define('EAP-IG')} The EAP side always uses plain EAP.",
        )
        automatic = st.toggle(
            "Choose the loose set's size",
            key="automatic",
            persist_state="session",
            value=True,
            help="max(10 %, 4 x the edges to keep) of all edges go on to Edge Pruning.",
        )
        keep = (
            None
            if automatic
            else st.slider(
                "Edges left to Edge Pruning (%)",
                1,
                100,
                10,
                key="keep",
                persist_state="session",
                help="EAP keeps this share.",
            )
            / 100
        )
        steps = st.number_input(
            "Steps",
            1,
            10_000,
            preset.steps,
            key=f"steps-{effort}",
            persist_state="session",
            help="Steps of Edge Pruning.",
        )
        budget = st.selectbox(
            "Budget method",
            BUDGETS,
            key="budget",
            persist_state="session",
            help="projection holds the number of edges exactly at every step; lagrangian is the "
            "published recipe, which needs thousands of steps.",
        )
        seed = st.number_input(
            "Seed",
            0,
            2**31 - 1,
            0,
            key="seed",
            bind="query-params",
            help="Decides prompts, names and noise. Equal seeds give equal runs.",
        )
        dtype = st.selectbox(
            "Training precision",
            (AUTO, *DTYPES),
            key="dtype",
            persist_state="session",
            help="bfloat16 is faster where the processor multiplies it natively; auto takes it where this "
            "machine, measured once, would save a fifth of the time. Results are always evaluated in "
            "float32.",
        )
        device = _device()
        memory = st.number_input(
            "Memory limit (GB)",
            0.0,
            1000.0,
            0.0,
            key="memory",
            persist_state="session",
            help="Within a limit, batches are visited in parts: slower, the same result. 0: no limit.",
        )
    return {
        "method": method,
        "corruption": corruption,
        "scorer": scorer,
        "keep": keep,
        "seed": int(seed),
        "dtype": dtype,
        "device": device,
        "memory": memory or None,
        "pruning": replace(preset, steps=int(steps), budget=budget),
    }


def _device() -> str:
    """Where the run computes; there is a choice where the machine has a GPU."""
    here = speed.known()
    if here is None or not here.gpu:
        return "cpu"
    names = {here.gpu: f"GPU: {here.gpu_name}", "cpu": "Processor"}
    return str(
        st.selectbox(
            "Compute on",
            list(names),
            key="device",
            persist_state="session",
            format_func=names.__getitem__,
            help="On an NVIDIA GPU a pruning step takes a small part of what it takes on the processor.",
        )
    )


def _config(source: Source | None, task: str, sparsity: float, advanced: dict[str, Any]) -> DiscoveryConfig | None:
    if source is None:
        return None
    try:
        prompts = model_and_task.own_prompts(task)
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
        job = discoveries.submit(workers.runs(), config)
    except HapError as error:
        st.error(str(error), icon=":material/error:")
        return
    st.query_params["job"] = job  # the run on the page stays in the address: a cancelled job leads back
    st.rerun()


def _waiting() -> None:
    """Links to runs that go on in the background."""
    here = st.query_params.get("job")
    for job in workers.runs().live():
        if job.key != here:
            label = f"{job.about.model.split('/')[-1]} · {job.progress.phase}"
            if st.button(f"Watch: {label}", key=f"watch-{job.key}", width="stretch"):
                st.query_params["job"] = job.key
                st.rerun()
