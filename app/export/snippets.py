"""Python code that makes a run again, for a script or a notebook."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from hap_engine.runs.record import Run
from hap_engine.settings import DiscoveryConfig, PruningConfig
from hap_engine.tasks.task import SplitSizes

ALWAYS = ("model", "task", "sparsity")  # said even where they are the default: what a reader looks for
NESTED = {"pruning": PruningConfig, "sizes": SplitSizes}


def python(run: Run) -> str:
    """A script that makes the run again and prints how good its circuit is."""
    return f'''"""{_comment(run.title)}, run {run.id}."""

import hap_engine as hap

run = hap.discover({arguments(run)})
hap.save(run, f"{{run.id}}.json")
print(run.metrics[run.main])
'''


def arguments(run: Run) -> str:
    """The settings of a run as arguments of `discover` or `DiscoveryConfig`, without those at their default.

    The weights are not in a run: ``model`` is the name or path under which the run knew them.
    """
    given = {"model": run.model.get("reference") or run.model["name"], **run.settings, "seed": run.seed}
    return _written(DiscoveryConfig, given)


def _written(config: Any, given: Any) -> str:
    """The known settings among `given` that are not the default, as keyword arguments."""
    words, default = [], config()
    for name in [field.name for field in fields(config) if isinstance(given, Mapping) and field.name in given]:
        value = given[name]
        if name in NESTED:
            if inner := _written(NESTED[name], value):
                words.append(f"{name}=hap.{NESTED[name].__name__}({inner})")
        elif value != getattr(default, name) or name in ALWAYS:
            words.append(f"{name}={value!r}")
    return ", ".join(words)


def _comment(text: str) -> str:
    """Text that can neither end a docstring nor start an escape."""
    return " ".join(text.replace("\\", "/").replace('"', "'").split())
