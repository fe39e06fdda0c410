"""What a run will take, shown beside the button that starts it."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import streamlit as st

from app.widgets.markdown import plain
from app.words import say
from hap_engine.errors import HapError, SettingsError
from hap_engine.files import PROGRAM
from hap_engine.graph.graph import Graph
from hap_engine.machine import speed
from hap_engine.machine.estimate import duration, estimate, tokens_of
from hap_engine.models.catalog import Source, config_of, graph_of, tokenizer_file
from hap_engine.models.reader import reader_of
from hap_engine.models.shape import Shape
from hap_engine.models.supported import check_config, check_scorer
from hap_engine.settings import DiscoveryConfig
from hap_engine.workflows.run_prompts import graph_at_spans

BUSY = 1.5  # times longer; less is within what the estimate is off anyway


def show(source: Source | None, config: DiscoveryConfig | None) -> None:
    """One line, or nothing while the model's sizes are unknown."""
    sizes = config_of(source) if source else None
    if source is None or config is None or sizes is None:
        return
    try:
        check_config(sizes, source.name)
        check_scorer(sizes, source.name, config.scorer)
    except HapError as error:
        st.warning(plain(str(error)), icon=":material/block:")
        return
    shape = Shape.of(sizes)
    if shape is None:
        return
    speeds = speed.known()
    if speeds is None:
        _wait()
        return
    if config.device != "cpu":
        st.caption("Computed on the GPU. Only the processor's time is estimated.")
        return
    path = tokenizer_file(source)
    tokens = _tokens(path, path.stat().st_mtime_ns if path else 0, prompts_key(config), config, source)
    cost = estimate(config, shape, speeds, tokens, speed.free_memory())
    parts = ", ".join(f"{name} {duration(seconds)}" for name, seconds in cost.seconds.items())
    if cost.fits:
        st.caption(cost.sentence, help=f"On this machine, when nothing else runs: {parts}.")
        if (slower := _slower()) >= BUSY:
            st.caption(say("settings.busy", time=duration(slower * cost.total)))
    else:
        st.warning(cost.sentence, icon=":material/memory:")


def _slower() -> float:
    """How many times longer a run takes beside what computes on this machine now: programs share its cores."""
    cores = os.cpu_count() or 1
    return (os.getloadavg()[0] + cores) / cores if hasattr(os, "getloadavg") else 1.0


def prompts_key(config: DiscoveryConfig) -> str:
    """What decides the prompts of a run, beside the seed and the tokenizer."""
    settings = config.to_dict()
    return f"{config.task} {settings['corruption']} {settings.get('prompts', '')} {config.bos}"


@st.cache_data(show_spinner=False, max_entries=64)
def _tokens(path: Path | None, modified: int, told: str, _config: DiscoveryConfig, _source: Source) -> float:
    return tokens_of(_config, _source)


def graph(source: Source, config: DiscoveryConfig | None) -> Graph | None:
    """The graph whose edges a run keeps, at their spans if it asks where; None while that is not known.

    Raises:
        TaskError: if the prompts cannot be divided so.
    """
    whole = graph_of(source)
    if whole is None or config is None or not config.positional:
        return whole
    path = tokenizer_file(source)
    told = f"{prompts_key(config)} {config.seed} {config.positions}"
    return _at_spans(path, path.stat().st_mtime_ns, told, config, source, whole) if path else None


@st.cache_resource(show_spinner=False, max_entries=16)
def _at_spans(
    path: Path, modified: int, told: str, _config: DiscoveryConfig, _source: Source, _whole: Graph
) -> Graph | None:
    reader = reader_of(_source)
    with suppress(SettingsError):  # asked for a token that it has not: the run will say so
        return graph_at_spans(_config, _whole, reader) if reader else None
    return None


@st.fragment(run_every=2)  # a number: for "2s" Streamlit imports pandas
def _wait() -> None:
    """Measure this machine in a process of its own: it needs torch, which this one may not load."""
    at_work = None  # not in the first script run: the picture comes first
    if "machine-waits" in st.session_state:
        at_work = _measuring(str(speed.home().absolute())).poll() is None
    if at_work is False and speed.known() is None:
        st.warning(plain(say("torch.unmeasured", python=sys.executable)), icon=":material/build:")
        return
    st.caption("Measuring this machine once, for an estimate of time and memory …")
    st.session_state["machine-waits"] = True
    if speed.known() is not None:
        st.rerun()


@st.cache_resource(show_spinner=False)
def _measuring(home: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "hap_engine.workflows.measure_machine"],
        cwd=PROGRAM,
        env=os.environ | {"HAP_HOME": home},
        stdout=subprocess.DEVNULL,
    )
