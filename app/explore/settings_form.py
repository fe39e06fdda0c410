"""The settings of a run: widgets in, a frozen `DiscoveryConfig` out."""

from __future__ import annotations

from collections.abc import Sequence
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
from hap_engine.tasks.custom import get_task
from hap_engine.tasks.reader import BOS

EFFORTS = {
    "quick": "Quick: a fifth of the steps, a first look",
    "standard": "Standard: the quality quoted in the README",
    "thorough": "Thorough: twice the steps",
}

METHOD_TEXTS = {"hap": "HAP: EAP, then Edge Pruning", "eap": "EAP alone", "ep": "Edge Pruning on all edges"}


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
    preset, corruptions = PRESETS[effort], get_task(task).corruptions
    with st.expander("Advanced"):
        return {
            "method": _select(
                "Method",
                METHODS,
                "method",
                "\n\n".join(f"{name}: {define(name)}" for name in ("EAP", "EP", "HAP")),
                format_func=METHOD_TEXTS.__getitem__,
            ),
            "corruption": _select(
                "Corrupted prompt",
                list(corruptions),
                f"corruption-{task}",
                f"What the edges that are cut carry. {define('corrupted prompt')}",
                format_func=lambda name: f"{name}: {corruptions[name]}",
            ),
            "scorer": _select(
                "Scorer of the candidates",
                SCORERS,
                "scorer",
                f"Picks the loose set. {define('EAP-IG')} The EAP side always uses plain EAP.",
                index=SCORERS.index(DiscoveryConfig().scorer),
            ),
            "keep": _keep(),
            "pruning": replace(
                preset,
                steps=int(_number("Steps", 1, 10_000, preset.steps, f"steps-{effort}", "Steps of Edge Pruning.")),
                budget=_select(
                    "Budget method",
                    BUDGETS,
                    "budget",
                    "projection holds the number of edges exactly at every step; lagrangian is the published recipe, "
                    "which needs thousands of steps.",
                ),
            ),
            "bos": _select(
                "Beginning-of-text token",
                BOS,
                "bos",
                "Whether prompts begin with the model's own token for the beginning of a text. auto does what the "
                "model's tokenizer does: with it for Llama 3, Gemma and Mistral, without for GPT-2 and Pythia.",
            ),
            "seed": st.number_input(
                "Seed",
                0,
                2**31 - 1,
                0,
                key="seed",
                bind="query-params",
                help="Decides prompts, names and noise. Equal seeds give equal runs.",
            ),
            "dtype": _select(
                "Training precision",
                (AUTO, *DTYPES),
                "dtype",
                "bfloat16 is faster where the processor multiplies it natively; auto takes it where this machine, "
                "measured once, would save a fifth of the time. Results are always evaluated in float32.",
            ),
            "device": _device(),
            "memory": _number(
                "Memory limit (GB)",
                0.0,
                1000.0,
                0.0,
                "memory",
                "Within a limit, batches are visited in parts: slower, the same result. 0: no limit.",
            )
            or None,
        }


def _select(label: str, options: Sequence[str], key: str, explained: str, **more: Any) -> str:
    """A select box whose choice outlives a visit to another page."""
    return str(st.selectbox(label, options, key=key, persist_state="session", help=explained, **more))


def _number(label: str, low: float, high: float, first: float, key: str, explained: str) -> float:
    return st.number_input(label, low, high, first, key=key, persist_state="session", help=explained)


def _keep() -> float | None:
    """The share of edges left to Edge Pruning; None: the engine chooses."""
    explained = "max(10 %, 4 x the edges to keep) of all edges go on to Edge Pruning."
    if st.toggle("Choose the loose set's size", True, key="automatic", persist_state="session", help=explained):
        return None
    title, explained = "Edges left to Edge Pruning (%)", "EAP keeps this share."
    return st.slider(title, 1, 100, 10, key="keep", persist_state="session", help=explained) / 100


def _device() -> str:
    """Where the run computes; there is a choice where the machine has a GPU."""
    here = speed.known()
    if here is None or not here.gpu:
        return "cpu"
    names = {here.gpu: f"GPU: {here.gpu_name}", "cpu": "Processor"}
    explained = "On an NVIDIA GPU a pruning step takes a small part of what it takes on the processor."
    return _select("Compute on", list(names), "device", explained, format_func=names.__getitem__)


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
