"""Other seeds of a run: those that are on this machine, and the settings for one more (no Streamlit here)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

from app.shelf import Listed
from hap_engine.errors import HapError
from hap_engine.runs import Run
from hap_engine.settings import DiscoveryConfig, PruningConfig
from hap_engine.tasks import SplitSizes


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
    reference = run.model.get("reference")
    if not isinstance(reference, str) or run.settings.get("prompts"):
        return None  # own prompts are known by their hash alone
    given: dict[str, Any] = {
        key: value for key, value in run.settings.items() if key not in ("seed", "prompts")
    }
    try:
        given["pruning"] = PruningConfig(**_known(PruningConfig, given.get("pruning")))
        given["sizes"] = SplitSizes(**_known(SplitSizes, given.get("sizes")))
        return DiscoveryConfig(
            **{**_known(DiscoveryConfig, given), "model": reference, "seed": seed}
        )
    except (HapError, TypeError, ValueError):  # settings of another version, or a damaged file
        return None


def _known(cls: Any, given: Any) -> dict[str, Any]:
    names = {field.name for field in fields(cls)}
    return (
        {key: value for key, value in given.items() if key in names}
        if isinstance(given, Mapping)
        else {}
    )
