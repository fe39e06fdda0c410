"""What is known of the models that are offered: download, memory, time, licence, tasks. Nothing is fetched for it."""

from __future__ import annotations

import streamlit as st

from app.widgets.tables import Column, table
from app.words import say, widget
from hap_engine.machine import speed
from hap_engine.machine.estimate import duration, estimate
from hap_engine.models.catalog import HUB_MODELS, HubModel
from hap_engine.models.shape import Shape
from hap_engine.settings import DiscoveryConfig
from hap_engine.tasks.builtin import TASKS


def about(offered: HubModel) -> str:
    """A model in a few sentences."""
    licence = say("model.licence", licence=offered.licence) if offered.licence else ""
    return f"{offered.text}. {say('model.tasks', tasks=_tasks(offered))} {licence}".rstrip()


def compare() -> None:
    """All of them side by side, with what a usual run takes on this machine."""
    with st.popover(**widget("model.compare")):
        columns = [Column(**told) for told in widget("model.columns").values()]
        table(columns, [_row(name, offered) for name, offered in HUB_MODELS.items()], caption=say("model.caption"))


def _row(name: str, offered: HubModel) -> list[str]:
    shape, machine = Shape.of(offered.config), speed.known()
    took = ["–", "–"]
    if shape is not None and machine is not None:
        cost = estimate(DiscoveryConfig(model=name), shape, machine)
        took = [f"{cost.bytes / 1e9:.1f} GB", duration(cost.total)]
    return [name, f"{offered.gigabytes:g} GB", *took, offered.licence or say("model.free"), _tasks(offered)]


def _tasks(offered: HubModel) -> str:
    known = [f"{TASKS[task].title} ({where})" for task, where in offered.tasks.items()]
    return ", ".join(known) or say("model.unmeasured")
