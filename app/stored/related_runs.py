"""Runs that go on from each other to tighter budgets, and the sizes that one more could have (no Streamlit here)."""

from __future__ import annotations

from collections.abc import Sequence

from app.stored.saved_runs import Listed
from hap_engine.errors import HapError
from hap_engine.graph.ranking import edge_budget
from hap_engine.runs import continue_run as rerun
from hap_engine.runs.continue_run import further
from hap_engine.runs.record import Run
from hap_engine.settings import DiscoveryConfig

SIZES = (0.1, 0.2, 0.5, 1.0, 2.0, 3.0, 4.0, 6.0, 10.0, 20.0)  # per cent of edges that runs may keep


def chain(run: Run, listed: Sequence[Listed]) -> list[Listed]:
    """The run, those that it goes on from, and those that go on from any of them; loosest first."""
    known = {item.id: item for item in listed}
    members = {run.id}
    before = str(run.settings.get("continues") or "")
    while before in known and before not in members:  # a damaged file might lead in a circle
        members.add(before)
        before = known[before].continues
    while more := {o.id for o in listed if o.continues in members} - members:
        members |= more
    return sorted(
        (known[key] for key in members & known.keys()), key=lambda item: (item.sparsity, item.created, item.id)
    )


def sizes(run: Run) -> list[float]:
    """Per cent of the edges that Edge Pruning could go on to, largest first.

    Raises:
        HapError: if this run cannot be continued.
    """
    further(run, (1 + run.sparsity) / 2)
    return [share for share in reversed(SIZES) if sparsity_of(share) > run.sparsity and _path(run, share)]


def sparsity_of(per_cent: float) -> float:
    """The sparsity that keeps so many per cent."""
    return round(1 - per_cent / 100, 6)


def _path(run: Run, per_cent: float) -> bool:
    """Whether so many edges could make a path through the model."""
    try:
        return edge_budget(run.graph, sparsity_of(per_cent)) > 0
    except HapError:
        return False


def siblings(run: Run, listed: Sequence[Listed]) -> list[Listed]:
    """Runs that differ from `run` in their seed, one for each other seed, smallest first."""
    by_seed: dict[int, Listed] = {}
    for other in listed:
        same = (other.model, other.task, other.method) == (str(run.model["name"]), str(run.task["title"]), run.main)
        if same and other.sparsity == run.sparsity and other.seed != run.seed:
            by_seed.setdefault(other.seed, other)
    return [by_seed[seed] for seed in sorted(by_seed)]


def again(run: Run, seed: int) -> DiscoveryConfig | None:
    """The run's settings with another seed; None where its file does not hold them all."""
    try:
        return rerun.again(run, seed=seed)
    except HapError:  # own prompts, settings of another version, or a damaged file
        return None
