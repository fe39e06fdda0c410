"""The opened model behind a run's page: opened once, in the background, when it is first needed.

Views ask for a `bench` of some of the run's test prompts; torch is imported by the thread that opens the model,
never by a page that only shows a stored run.
"""

from __future__ import annotations

import hashlib
from collections.abc import Generator
from typing import TYPE_CHECKING, Any

import streamlit as st

from app.classroom import check_change, rules
from app.widgets.markdown import plain
from app.work import discoveries, heavy_imports, workers
from app.work.discoveries import Opening
from app.work.worker import Begin, Worker
from hap_engine.errors import HapError
from hap_engine.files import short_hash
from hap_engine.graph.circuit import Circuit
from hap_engine.models.locate import identity_of, locate
from hap_engine.progress import Progress
from hap_engine.runs.record import Run
from hap_engine.settings import DiscoveryConfig

if TYPE_CHECKING:
    from hap_engine.explain.what_if import Bench, Reading
    from hap_engine.masked.masked_pass import MaskedModel

FEW = range(8)  # test prompts beside the chosen one: 0.7 s for a SmolLM2 circuit on one core


@st.cache_resource
def _given() -> dict[str, str]:
    """Paths that users gave for models, by identity, as long as the process lives."""
    return {}


def remedy(run: Run) -> str:
    """Why nothing can be computed live for this run and what to do; empty if it can."""
    try:
        locate(run.model, given(run))
    except HapError as error:
        return str(error)
    return ""


def given(run: Run) -> str:
    """The path that a user gave for the run's weights; empty if none."""
    return _given().get(identity_of(run.model), "")


def give(run: Run, path: str) -> str:
    """Take a path for the run's weights; returns what is wrong with it, or nothing."""
    try:
        check_change()  # in a class no visitor reaches the host's files
        locate(run.model, path)
    except HapError as error:
        return str(error)
    _given()[identity_of(run.model)] = path
    return ""


def opened(run: Run) -> MaskedModel | None:
    """The run's model if it is open already."""
    work = workers.models().get(_model_key(run))
    return work.result if work is not None and work.state == "done" else None


def _model_of(run: Run, where: str) -> MaskedModel | None:
    """The run's model, opened if need be."""
    workers.models().start(_model_key(run), steps_to_open(run))
    return result(_model_key(run), workers.models(), where)


def steps_to_open(run: Run) -> Begin:
    """The work of opening the run's model, for use inside other work; at once if it is open."""
    masked = opened(run)
    if masked is None:
        return _anew(run)

    def begin() -> Generator[Progress, None, Any]:
        yield Progress("load", 1, 1, "The model is open")
        return masked

    return begin


def start_run(run: Run, config: DiscoveryConfig) -> str:
    """Start another run on the weights of `run`; returns the job's id.

    It opens the model for itself, for the page may ask its own copy something meanwhile.

    Raises:
        HapError: if the weights cannot be found or the queue is full.
    """
    if config.device != "cpu":  # the page's way opens models on the processor
        return discoveries.submit(workers.runs(), config, owner=workers.visitor())
    locate(run.model, given(run))
    opening = Opening(identity_of(run.model), _anew(run))
    return discoveries.submit(workers.runs(), config, opening, owner=workers.visitor())


def _anew(run: Run) -> Begin:
    path = given(run)

    def begin() -> Generator[Progress, None, Any]:
        yield Progress("load", 0, 1, "Loading PyTorch and TransformerLens")
        heavy_imports.load()
        from hap_engine.masked.opening import on_graph_of, open_run_model

        masked = yield from open_run_model(locate(run.model, path), run.model)
        return on_graph_of(masked, run)

    return begin


def result(key: str, worker: Worker | None = None, where: str = "") -> Any:
    """What came of background work; None while it runs, when it failed or was never begun.

    Draws a progress bar, with a Stop button for work other than opening a model, or the error with
    a way to dismiss it.
    """
    worker = worker or workers.short_work()
    work = worker.get(key)
    if work is None or work.state == "done":
        return work.result if work else None
    if work.state == "error":
        st.error(plain(work.error), icon=":material/error:")
        if st.button("Try again", key=f"again-{key}-{where}"):
            worker.forget(key)
            st.rerun()
    else:
        _watch(key, worker)
    return None


@st.fragment(run_every=1)
def _watch(key: str, worker: Worker) -> None:
    work = worker.get(key)
    if work is None or not work.live:
        st.rerun()  # in full, once: the result takes this line's place
        return
    record = work.progress
    bar, stop = st.columns([6, 1], vertical_alignment="center")
    bar.progress(min(1.0, record.step / max(1, record.total)), text=f"{record.message} …")
    stoppable = worker is not workers.models() and rules() is None  # a class shares it
    if stoppable and stop.button("Stop", key=f"stop-{key}", icon=":material/stop:"):
        worker.forget(key)
        st.rerun()


def bench(run: Run, prompts: range, where: str = "") -> Bench | None:
    """The run's model on some of its test prompts; None while it opens or where it cannot (a line says so).

    Args:
        where: names the panel that asks; several on a page may wait for one model.
    """
    masked = _model_of(run, where)
    if masked is None:
        return None
    try:
        return _bench(run.fingerprint, prompts, masked, run)
    except HapError as error:
        st.error(plain(str(error)), icon=":material/error:")
        return None


def bench_on_demand(run: Run, prompts: range, name: str, what: str) -> Bench | None:
    """`bench` where the model is open or was asked for; else a button that asks for it. `name` is the node shown."""
    return bench(run, prompts, f"{what}-{name}") if _wanted(run, name, what) else None


def model_on_demand(run: Run, name: str, what: str) -> MaskedModel | None:
    """The run's model, in the same way."""
    return _model_of(run, f"{what}-{name}") if _wanted(run, name, what) else None


def want(run: Run) -> None:
    """Have the model opened for what shows a node."""
    st.session_state[f"want-model-{run.id}"] = True


def _wanted(run: Run, name: str, what: str) -> bool:
    """Whether the model is open or was asked for; draws the button that asks for it."""
    if opened(run) is not None or st.session_state.get(f"want-model-{run.id}"):
        return True
    if button(run, f"Open the model to see {what}", key=f"{what}-{name}", icon=":material/play_arrow:"):
        want(run)
        st.rerun()
    return False


@st.cache_resource(max_entries=12, show_spinner=False)
def free_bench(run_key: str, clean: str, corrupt: str, _masked: MaskedModel) -> Bench:
    """A bench of a typed pair. Raises TaskError, whose words say what to change."""
    from hap_engine.explain.free_prompt import free_bench

    return free_bench(_masked, clean, corrupt)


def button(run: Run, label: str, key: str, *, disabled: bool = False, **look: Any) -> bool:
    """A button whose work needs the run's model: without the weights it is off and says why."""
    why = remedy(run)
    told = look | ({"help": plain(why)} if why else {})
    return st.button(label, key=key, disabled=disabled or bool(why), **told)


def reading(run: Run, bench: Bench, circuit: Circuit) -> Reading:
    """What a circuit predicts on a bench: one masked pass, remembered by prompts and mask."""
    prompts = short_hash([[pair.clean_ids, pair.corrupt_ids] for pair in bench.pairs])
    mask = hashlib.sha256(circuit.live.kept.tobytes()).hexdigest()
    return _reading(f"{run.fingerprint}-{prompts}-{mask}", bench, circuit)


@st.cache_resource(max_entries=128, show_spinner="One masked pass …")
def _reading(key: str, _bench: Bench, _circuit: Circuit) -> Reading:
    return _bench.read(_circuit)


@st.cache_resource(max_entries=12, show_spinner=False)
def _bench(run_key: str, prompts: range, _masked: MaskedModel, _run: Run) -> Bench:
    from hap_engine.evaluation.stored_prompts import bos_of, encode_prompts
    from hap_engine.explain.what_if import Bench

    chosen = _run.prompts.get("test", [])[prompts.start : prompts.stop]
    if not chosen:
        raise HapError("This run file holds no test prompts. Compute the run again.")
    return Bench(_masked, encode_prompts(_masked, chosen, bos_of(_run)))


def _model_key(run: Run) -> str:
    """Weights and graph: a run file that claims another graph is checked for itself, and refused."""
    return f"model-{identity_of(run.model) or run.id}-{short_hash(run.graph.to_dict())}"
