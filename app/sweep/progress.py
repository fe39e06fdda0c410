"""How far a sweep is: what is done, running, waiting and failed, with the errors, and how long the rest takes."""

from __future__ import annotations

from pathlib import Path

import streamlit as st

from app.widgets.markdown import plain
from app.widgets.tables import Column, table
from app.words import say
from hap_engine.machine.estimate import duration
from hap_engine.sweeps.drive import title
from hap_engine.sweeps.folder import Status

SHOWN = 20  # cells told one by one: a cluster that fails fails often


def show(status: Status, path: Path) -> None:
    done, running, failed, waiting = map(len, (status.done, status.running, status.failed, status.waiting))
    count = done + running + failed + waiting
    said = say("sweep.status", done=done, count=count, running=running, failed=failed, waiting=waiting)
    if status.left is not None:
        said += say("sweep.left", time=duration(status.left))
    st.progress(done / max(1, count), text=said)
    if waiting and not status.driven:
        st.caption(plain(say("sweep.nobody", path=path)))
    if running:
        st.caption(plain(say("sweep.running", cells="; ".join(map(title, status.running[:SHOWN])))))
    if failed:
        rows = [[title(cell), why] for cell, why in status.failed[:SHOWN]]
        table([Column("Failed"), Column("Why", words=True)], rows, caption=say("sweep.failed"))
    if failed > SHOWN:
        st.caption(say("sweep.more_failed", count=failed - SHOWN))
