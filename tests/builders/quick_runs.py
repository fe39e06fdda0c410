"""A real run made small: what goes on from it, or finds it again, takes seconds."""

from __future__ import annotations

from dataclasses import replace

from hap_engine.runs.record import Run

FEW = 8


def quick(run: Run, run_id: str) -> Run:
    """The run with few prompts and steps. What was measured on each of the prompts that are gone goes too."""
    pruning = {**run.settings["pruning"], "steps": FEW, "batch_size": FEW}
    settings = {**run.settings, "pruning": pruning, "sizes": {"train": 32, "validation": FEW, "test": FEW}}
    prompts = {**run.prompts, "test": run.prompts["test"][:FEW]}
    metrics = {
        name: {key: value for key, value in row.items() if key != "per_prompt"} for name, row in run.metrics.items()
    }
    return replace(run, id=run_id, prompts=prompts, settings=settings, metrics=metrics)
