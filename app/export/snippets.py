"""Code that makes a run again: for a terminal, and for a Python script or notebook."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from hap_engine.runs.record import Run
from hap_engine.settings import DiscoveryConfig, PruningConfig
from hap_engine.tasks.task import SplitSizes

ALWAYS = ("model", "task", "sparsity")  # said even where they are the default: what a reader looks for
NESTED = {"pruning": PruningConfig, "sizes": SplitSizes}


def terminal(run: Run) -> str:
    """The command that was recorded with the run."""
    return run.command


def python(run: Run) -> str:
    """A script that makes the run again and prints how good its circuit is."""
    used = [cls.__name__ for key, cls in NESTED.items() if _changed(cls, run.settings.get(key))]
    settings = [name for name in ("DiscoveryConfig", "PruningConfig") if name == "DiscoveryConfig" or name in used]
    sizes = ["from hap_engine.tasks.task import SplitSizes"] if "SplitSizes" in used else []
    lines = [
        f'"""{_comment(run.title)}, run {run.id}. Start it from the folder of HAP Explorer."""',
        "",
        "from pathlib import Path",
        "",
        "from hap_engine.workflows.discover import discover",
        "from hap_engine.runs.run_file import save",
        f"from hap_engine.settings import {', '.join(settings)}",
        *sizes,
        "",
        f"config = {config(run)}",
        "",
        "work = discover(config)  # a generator of progress records that returns the run",
        "while True:",
        "    try:",
        "        print(next(work).message)",
        "    except StopIteration as end:",
        "        run = end.value",
        "        break",
        'save(run, Path(f"{run.id}.json"))',
        "print(run.metrics[run.main])",
        "",
    ]
    return "\n".join(lines)


def config(run: Run) -> str:
    """The `DiscoveryConfig` of a run as an expression; settings at their default are left out.

    The weights are not in a run: ``model`` is the name or path under which the run knew them.
    """
    given = {"model": run.model.get("reference") or run.model["name"], **run.settings, "seed": run.seed}
    return _call(DiscoveryConfig, given)


def _call(cls: Any, given: Mapping[str, Any]) -> str:
    changed = _changed(cls, given)
    words = [f"{key}={_call(NESTED[key], value) if key in NESTED else repr(value)}" for key, value in changed.items()]
    return f"{cls.__name__}({', '.join(words)})"


def _changed(cls: Any, given: Any) -> dict[str, Any]:
    """The known settings among `given` that are not the default."""
    if not isinstance(given, Mapping):
        return {}
    default = cls()
    out = {}
    for field in fields(cls):
        if field.name not in given:
            continue
        value = given[field.name]
        if field.name in NESTED:
            if _changed(NESTED[field.name], value):
                out[field.name] = value
        elif value != getattr(default, field.name) or field.name in ALWAYS:
            out[field.name] = value
    return out


def _comment(text: str) -> str:
    """Text that can neither end a docstring nor start an escape."""
    return " ".join(text.replace("\\", "/").replace('"', "'").split())
