"""The tasks by name; `get_task` suggests the nearest name when there is none."""

from __future__ import annotations

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

__all__ = [
    "TASKS",
    "EncodedPair",
    "PromptPair",
    "PromptSets",
    "SplitSizes",
    "Task",
    "encode_pair",
    "get_task",
]


def get_task(name: str) -> Task:
    """The task of that name.

    Raises:
        UnknownNameError: with the nearest known name.
    """
    if name not in TASKS:
        raise UnknownNameError("task", name, TASKS)
    return TASKS[name]
