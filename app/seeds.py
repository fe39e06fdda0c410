"""Other seeds of a run: those that are on this machine, and the settings for one more (no Streamlit here)."""

from __future__ import annotations

from collections.abc import Sequence

from app.shelf import Listed
from hap_engine import rerun
from hap_engine.errors import HapError
from hap_engine.runs import Run
from hap_engine.settings import DiscoveryConfig


def siblings(run: Run, listed: Sequence[Listed]) -> list[Listed]:
    """Runs that differ from `run` in their seed, one for each other seed, smallest first."""
    found: dict[int, Listed] = {}
    for one in listed:
        same = (one.model, one.task, one.method) == (
            str(run.model["name"]),
            str(run.task["title"]),
            run.main,
        )
        if same and one.sparsity == run.sparsity and one.seed != run.seed:
            found.setdefault(one.seed, one)
    return [found[seed] for seed in sorted(found)]


def again(run: Run, seed: int) -> DiscoveryConfig | None:
    """The run's settings with another seed; None where its file does not hold them all."""
    try:
        return rerun.again(run, seed=seed)
    except HapError:  # own prompts, settings of another version, or a damaged file
        return None
