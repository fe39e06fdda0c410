"""A run whose edges act at spans of the sentence, as the page draws it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from hap_engine.runs.run_file import save
from hap_engine.settings import DiscoveryConfig, PruningConfig
from hap_engine.tasks.task import SplitSizes
from hap_engine.workflows.discover import discover
from tests.browser.conftest import ROOT
from tests.builders.tiny_models import finish

pytestmark = pytest.mark.browser


def test_a_positional_run_is_drawn(start_server: Any, visit: Any, tmp_path: Path) -> None:
    sizes, pruning = SplitSizes(64, 32, 32), PruningConfig(steps=20)
    run = finish(discover(DiscoveryConfig(sparsity=0.99, positions="roles", sizes=sizes, pruning=pruning)))
    save(run, tmp_path / "runs" / f"{run.id}.json")
    _, address = start_server(ROOT / "app" / "main.py", tmp_path)
    page = visit(f"{address}/?run={run.id}").page
    page.wait_for_selector(".hap-panel[data-side=right] .hap-head-box")
    page.locator(".hap-bar").get_by_role("button", name="Edges", exact=True).click()
    page.locator(".hap-panel[data-side=right] .hap-edges path").first.wait_for(state="attached")
    title = page.locator(".hap-panel[data-side=right] .hap-title")
    title.filter(has_text=re.compile(r"HAP · 8\d edges")).wait_for()  # 1 % of those at spans; without spans it is 15
