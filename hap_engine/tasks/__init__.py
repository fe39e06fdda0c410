"""The tasks by name; `get_task` suggests the nearest name when there is none."""

from __future__ import annotations

from collections.abc import Sequence

from hap_engine.errors import UnknownNameError
from hap_engine.tasks.base import (
    EncodedPair,
    PromptPair,
    PromptSets,
    SplitSizes,
    Task,
    encode_pair,
)
from hap_engine.tasks.builtin import TASKS
from hap_engine.tasks.custom import NAME as CUSTOM
from hap_engine.tasks.custom import custom_task

__all__ = [
    "CUSTOM",
    "TASKS",
    "EncodedPair",
    "PromptPair",
    "PromptSets",
    "SplitSizes",
    "Task",
    "encode_pair",
    "get_task",
]


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
