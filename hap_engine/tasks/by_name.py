"""A task by its name, your own prompts included."""

from __future__ import annotations

from collections.abc import Sequence

from hap_engine.errors import UnknownNameError
from hap_engine.tasks.builtin import TASKS
from hap_engine.tasks.custom import NAME as CUSTOM
from hap_engine.tasks.custom import custom_task
from hap_engine.tasks.pair import PromptPair
from hap_engine.tasks.task import Task


def get_task(name: str, prompts: Sequence[PromptPair] = ()) -> Task:
    """The task of that name; ``custom`` is made of `prompts`.

    Raises:
        UnknownNameError: with the nearest known name.
    """
    if name == CUSTOM:
        return custom_task(prompts)
    if name not in TASKS:
        raise UnknownNameError("task", name, [*TASKS, CUSTOM])
    return TASKS[name]
