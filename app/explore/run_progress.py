"""A run in progress: phases, time left, curves, the shrinking circuit, and Cancel."""

from __future__ import annotations

import time
from collections.abc import Mapping

import streamlit as st

from app import url
from app.classroom import rules
from app.diagram.component import comparison
from app.stored import saved_runs, task_answers
from app.widgets.charts import curve_figure, preview_figure
from app.widgets.markdown import plain
from app.words import say, widget
from app.work import discoveries, workers
from app.work.worker import Snapshot
from hap_engine.errors import HapError
from hap_engine.findings import CircuitRecord
from hap_engine.picture.at_sizes import so_far
from hap_engine.picture.palette import palette
from hap_engine.picture.scene import Scene, compare
from hap_engine.runs.run_file import runs_folder
from hap_engine.runs.unfinished import forget, interrupted, worked_on
from hap_engine.settings import DiscoveryConfig

PHASES: Mapping[str, str] = say.parts("progress.phases")


def show(job_id: str) -> bool:
    """Draw the job's panel; False if there is nothing to watch (unknown, or just finished)."""
    job = workers.runs().get(job_id)
    if job is not None and job.live:
        with st.container():
            _panel(job_id)
        return True
    st.empty()  # takes the panel away at once: else it stays until the page below is drawn, a second picture
    if job is None:
        return _offer_to_go_on(job_id, "interrupted") or _ended(job_id)
    if job.state == "done":
        url.go_to_run(job.result)
        return False
    if job.state == "error":
        st.error(plain(job.error), icon=":material/error:")
        _dismiss()
        return False
    if job.state == "cancelled" and "sizes" in job.latest:
        st.info(say("progress.stopped", step=len(job.history)), icon=":material/stop:")
        _sizes(job)
        if not _offer_to_go_on(job_id):
            _dismiss()
        return True
    return _offer_to_go_on(job_id, "cancelled") or _instead(say("progress.cancelled"))


def _offer_to_go_on(job_id: str, how: str = "") -> bool:
    """Offer to go on with a run that was interrupted, and say that if told how; False if nothing is kept of it."""
    try:
        left = interrupted(runs_folder(), job_id)
        if left is None:
            return False
        if worked_on(runs_folder(), job_id):
            st.info(say("progress.elsewhere"), icon=":material/sync:")
            return True
        if how:
            st.info(
                plain(say(f"progress.kept_{how}", title=_title(left.config), told=left.told)), icon=":material/pause:"
            )
        with st.container(horizontal=True):
            go_on = st.button(**widget("progress.go_on"))
            unwanted = rules() is None and st.button(**widget("progress.forget"))
            _dismiss()
        if go_on:
            st.query_params["job"] = discoveries.go_on(workers.runs(), left, workers.visitor())
            st.rerun()
        if unwanted:
            forget(runs_folder(), job_id)
            _instead(say("progress.forgotten"))
            st.rerun()
    except HapError as error:
        st.error(plain(str(error)), icon=":material/error:")
    return True


def _ended(job_id: str) -> bool:
    """Show the run of a job that ended elsewhere or before a restart, or say that there is none."""
    try:
        saved_runs.find(job_id)
    except HapError:
        return _instead(say("progress.unknown"))
    url.go_to_run(job_id)
    return False


def _instead(message: str) -> bool:
    """Say what became of the job; the page goes on with the run that was there before."""
    st.query_params.pop("job", None)
    url.keep_saying("job", [message])
    return False


def _dismiss() -> None:
    if st.button("Close this message"):
        st.query_params.pop("job", None)
        st.rerun()


@st.fragment(run_every=1)
def _panel(job_id: str) -> None:
    job = workers.runs().get(job_id)
    if job is None or not job.live:
        st.rerun()  # once, in full: the finished run takes this panel's place
        return
    title, cancel = st.container(key="running").columns([5, 1], vertical_alignment="bottom")
    title.header(plain(_title(job.about)))
    words, ending = widget("progress.cancel"), job.state == "cancelling"
    if cancel.button(**(words | {"label": "Cancelling …"} if ending else words), disabled=ending):
        try:
            discoveries.cancel(workers.runs(), job_id, workers.visitor())
        except HapError as error:
            st.info(plain(str(error)), icon=":material/groups:")
        else:
            st.rerun(scope="fragment")
    st.progress(min(1.0, job.progress.step / max(1, job.progress.total)), text=plain(_status(job)))
    st.markdown(_phases(job))
    for told in filter(None, map(job.latest.get, ("resumed", "spans"))):
        st.caption(plain(str(told)))
    check, circuit = job.latest.get("check") or {}, job.latest.get("circuit")
    if check and not task_answers.usable(check):
        st.warning(plain(str(check["sentence"])), icon=":material/block:")
    if check.get("doubts"):
        st.warning(plain(str(check["doubts"])), icon=":material/rule:")
    if check.get("scored"):
        st.caption(plain(str(check["scored"])))
    if "sizes" in job.latest:
        _sizes(job)
        return
    colours = palette(st.context.theme.type)
    left, right = st.columns([3, 2])
    if job.history:
        left.plotly_chart(curve_figure(job.history, colours), **widget("progress.curves"))
    else:
        left.caption(say("progress.soon"))
    if circuit is not None:
        right.plotly_chart(preview_figure(circuit, colours), **widget("progress.preview"))


def _sizes(job: Snapshot) -> None:
    """Both circuits at the sizes that are known so far, with the curves below them."""
    drawn = _scene(job.key, job.latest.get("ordered", 0), job)
    comparison(drawn, key=f"live-{job.key}", height="340px")


@st.cache_resource(max_entries=4, show_spinner=False)
def _scene(job_id: str, steps: int, _job: Snapshot) -> Scene:
    latest, method = _job.latest, _job.about.method
    found = so_far(latest["graph"], latest["sizes"], latest.get("order"), _job.history[:steps], method)
    sides = [(name, order.circuit(found.own)) for name, order in zip(("eap", method), found.orders, strict=True)]
    left, right = ((name, CircuitRecord(circuit, len(circuit))) for name, circuit in sides)
    return compare(latest["graph"], left, right, sizes=found)


def _title(config: DiscoveryConfig) -> str:
    model, task = config.model.split("/")[-1], config.find_task().title
    return say("progress.title", model=model, task=task, share=1 - config.sparsity)


def _status(job: Snapshot) -> str:
    if job.state == "queued":
        return "Waiting for the run before it"
    if job.state == "cancelling":
        return "Stopping after this step"
    now = job.progress
    text = now.message
    if now.total > 1:
        if now.phase != "load":  # a download tells its megabytes
            text += f" · {now.step} of {now.total}"
        took = time.time() - job.phase_started
        if (steps := now.step - job.phase_step) > 0 and now.step < now.total and took > 1:
            text += f" · about {_duration(took / steps * (now.total - now.step))} left"
    if job.history and now.phase == "prune":
        last = job.history[-1]
        text += f" · KL {last['kl']:.2f} with {last['expected']:,.0f} gates open"
    return text


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"


def _phases(job: Snapshot) -> str:
    names = list(PHASES)
    here = names.index(job.progress.phase) if job.progress.phase in names else 0
    marks = [
        ("✓ " if i < here else "**● " if i == here else "○ ") + PHASES[name] + ("**" if i == here else "")
        for i, name in enumerate(names)
    ]
    return " &nbsp; ".join(marks)
