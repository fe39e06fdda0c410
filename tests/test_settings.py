"""What the torch-free settings name is what the engine has."""

from __future__ import annotations

import pytest
import torch

from app.explore import run_progress
from hap_engine import progress, settings
from hap_engine.attribution import scorers
from hap_engine.pruning import budgets


@pytest.mark.parametrize(
    ("names", "implemented"),
    [
        (settings.SCORERS, scorers.SCORERS),
        (settings.BUDGETS, budgets.BUDGETS),
        (settings.DTYPES, [name for name in settings.DTYPES if isinstance(getattr(torch, name, None), torch.dtype)]),
        (progress.PHASES, run_progress.PHASES),
    ],
    ids=["scorers", "budgets", "dtypes", "phases"],
)
def test_every_name_has_what_it_names(names: tuple[str, ...], implemented: object) -> None:
    assert names == tuple(implemented)  # type: ignore[call-overload]
