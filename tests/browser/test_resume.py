"""A server that is killed: after its restart the page of the run offers to go on, and the circuit is the same.

With a model of one's own, by a quick run (SmolLM2 takes about ten minutes)::

    HAP_RESUME_MODEL=path/to/SmolLM2.gguf python -m pytest tests/browser/test_resume.py
"""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from hap_engine.runs.run_file import load
from hap_engine.runs.unfinished import interrupted
from hap_engine.workflows.discover import discover
from tests.builders.tiny_models import finish

pytestmark = pytest.mark.browser
APP = Path(__file__).with_name("eager_app.py")
PRUNING = re.compile(r"Pruning edges · \d+ of \d+")
OWN = os.environ.get("HAP_RESUME_MODEL", "")
PATIENT = 1_500_000 if OWN else 240_000  # milliseconds


def test_a_killed_server_goes_on_with_its_run(start_server: Any, visit: Any, tmp_path: Path) -> None:
    (tmp_path / "models.json").write_text(json.dumps([OWN] if OWN else []))
    asked = f"model={Path(OWN).name}&effort=quick&kept=2.0" if OWN else "effort=standard&kept=4.0"
    server, address = start_server(APP, tmp_path)
    killed = visit(f"{address}/?new=1&{asked}")
    page = killed.page
    page.get_by_role("button", name="Find the circuit").click(timeout=90_000)
    page.get_by_text(PRUNING).wait_for(timeout=PATIENT)
    server.kill()
    server.wait()
    (job,) = parse_qs(urlsplit(page.url).query)["job"]
    page.close()
    killed.errors[:] = [error for error in killed.errors if "net::ERR_" not in error]  # refused, or cut off
    left = interrupted(tmp_path / "runs", job)
    assert left is not None
    assert left.told.startswith("pruning, step ")

    _, address = start_server(APP, tmp_path)
    page = visit(f"{address}/?job={job}").page
    page.get_by_text("this run was interrupted while pruning, step ").wait_for(timeout=90_000)
    page.get_by_role("button", name="Go on").click()
    page.get_by_text("It goes on from there").first.wait_for(timeout=PATIENT)
    page.get_by_text("Computed on this machine").wait_for(timeout=PATIENT)
    assert f"run={job}" in page.url
    assert not list((tmp_path / "runs").glob("*.state"))
    found, whole = load(tmp_path / "runs" / f"{job}.json"), finish(discover(left.config))
    assert found.circuits["hap"].circuit == whole.circuits["hap"].circuit
    assert found.metrics["hap"]["kl"] == whole.metrics["hap"]["kl"]
    assert found.orders["hap"].cells.tolist() == whole.orders["hap"].cells.tolist()
