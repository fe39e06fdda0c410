"""The tasks that come with HAP Explorer, in the order in which they are listed."""

from __future__ import annotations

from hap_engine.tasks.task import Task
from hap_engine.tasks.templates.agreement import AGREEMENT
from hap_engine.tasks.templates.arithmetic import ARITHMETIC
from hap_engine.tasks.templates.capital import CAPITAL
from hap_engine.tasks.templates.choices import CHOICES
from hap_engine.tasks.templates.docstring import DOCSTRING
from hap_engine.tasks.templates.greater_than import GREATER_THAN
from hap_engine.tasks.templates.induction import INDUCTION
from hap_engine.tasks.templates.ioi import IOI
from hap_engine.tasks.templates.pronoun import PRONOUN
from hap_engine.tasks.templates.sentiment import SENTIMENT

# Their prompts are made here, from words.
MADE = (IOI, GREATER_THAN, PRONOUN, AGREEMENT, CAPITAL, INDUCTION, SENTIMENT, ARITHMETIC, DOCSTRING)
TASKS: dict[str, Task] = {task.name: task for task in (*MADE, *CHOICES)}


def ready() -> list[Task]:
    """The tasks whose prompts need no download, or no more."""
    return [task for task in TASKS.values() if task.data is None or task.data.here]


def word_pools() -> dict[str, tuple[str, ...]]:
    """Every task's words by kind ("names", "places", …): material for corrupting a prompt."""
    return {kind: words for task in TASKS.values() for kind, words in task.pools.items()}
