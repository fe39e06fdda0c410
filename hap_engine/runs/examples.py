"""The runs that were computed before and ship with the project."""

from __future__ import annotations

from hap_engine.errors import UnknownNameError
from hap_engine.files import assets
from hap_engine.runs.record import Run
from hap_engine.runs.run_file import load

SHIPPED = assets() / "runs"


def example(model: str = "hap-mini", task: str = "ioi") -> Run:
    """The shipped run of a model, named by how it starts, on a task.

    Raises:
        UnknownNameError: naming those that there are.
    """
    runs = [load(path) for path in sorted(SHIPPED.glob("*.json"))]
    fitting = [run for run in runs if run.model["name"].startswith(model) and run.task["name"] == task]
    if not fitting:
        known = sorted(f"{run.model['name']} on {run.task['name']}" for run in runs)
        raise UnknownNameError("shipped run", f"{model} on {task}", known)
    return fitting[0]
