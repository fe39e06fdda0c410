"""Class mode: one explorer for a whole class on the local network, with locked settings (no Streamlit).

It is on only when the environment says so (``HAP_CLASS=1``; ``python -m app.serve --class`` sets it and
opens the port to the network). Everyone can look, predict, cut, compare, export, and start runs of the
bundled model with the presets. Nobody can open files of the host, download models, or rename, delete,
import or change runs that others look at. The checks sit where the work starts, not in the page: a
URL cannot get around them.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

from app.words import say
from hap_engine.errors import HapError
from hap_engine.models.catalog import BUNDLED
from hap_engine.settings import DiscoveryConfig, with_preset
from hap_engine.tasks.builtin import TASKS

VARIABLE = "HAP_CLASS"
LIMIT = "HAP_CLASS_JOBS"


class ClassroomError(HapError):
    """Something that class mode does not allow."""


@dataclass(frozen=True)
class ClassRules:
    """What a class may start."""

    models: tuple[str, ...] = tuple(BUNDLED)  # seconds a run, and nothing to download
    efforts: tuple[str, ...] = ("quick", "standard")  # thorough would hold up the queue
    jobs: int = 6  # running and waiting, of all visitors: about a minute's queue


def rules() -> ClassRules | None:
    """The rules, or None when this is not a class."""
    if os.environ.get(VARIABLE, "") not in ("1", "true", "yes"):
        return None
    limit = os.environ.get(LIMIT, "")
    return ClassRules(jobs=min(100, int(limit))) if limit.isdigit() and int(limit) else ClassRules()


def check_job(config: DiscoveryConfig, live: int) -> None:
    """Raise ClassroomError for a run that a class may not start; `live` runs go on already."""
    now = rules()
    if now is None:
        return
    locked = DiscoveryConfig(model=config.model, task=config.task, sparsity=config.sparsity, seed=config.seed)
    if config.model not in now.models or config.task not in TASKS:
        raise ClassroomError(say("class.models", models=", ".join(now.models)))
    if config not in [with_preset(locked, effort) for effort in now.efforts]:
        raise ClassroomError(say("class.settings", efforts=" or ".join(now.efforts)))
    if live >= now.jobs:
        raise ClassroomError(say("class.queue", live=live, jobs=now.jobs))


def check_cancel(owner: str, visitor: str) -> None:
    """Raise ClassroomError where a visitor would stop a run of somebody else; the host's `visitor` is empty."""
    if rules() is not None and visitor not in ("", owner):
        raise ClassroomError(say("class.cancel"))


def check_change() -> None:
    """Raise ClassroomError where a visitor would change what others see, or reach the host's files."""
    if rules() is not None:
        raise ClassroomError(say("class.change"))
