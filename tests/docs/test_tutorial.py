"""docs/tutorial.ipynb: it runs from the first cell to the last, and what is kept of its outputs is safe to read."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import nbformat
import pytest

import hap_engine as hap
from docs.generate.tutorial import TUTORIAL, executed


@pytest.fixture(scope="module")
def kept() -> Any:
    return nbformat.read(TUTORIAL, as_version=4)


def said(cell: Any) -> str:
    """What a cell printed."""
    return "".join(output.text for output in cell.outputs if output.output_type == "stream")


def test_it_is_fifteen_cells_and_the_first_installs_and_opens_with_a_picture(kept: Any) -> None:
    nbformat.validate(kept)
    assert len(kept.cells) == 15
    first = kept.cells[0]
    assert "%pip install" in first.source
    assert "image/png" in first.outputs[-1].data


def test_what_is_kept_is_small_and_holds_no_frame_script_or_place(kept: Any) -> None:
    assert TUTORIAL.stat().st_size < 1_000_000
    outputs = [output for cell in kept.cells if cell.cell_type == "code" for output in cell.outputs]
    assert not [output for output in outputs if output.output_type == "error"]
    markup = "".join(output.get("data", {}).get("text/html", "") for output in outputs)
    assert not re.search(r"<(?:iframe|script|img)|https?:", markup)
    assert str(Path.home()) not in TUTORIAL.read_text(encoding="utf-8")
    assert all(cell.outputs for cell in kept.cells if cell.cell_type == "code"), "python -m docs.generate.tutorial"


def with_few_prompts(notebook: Any) -> Any:
    """The same cells; the run is found in fewer steps on fewer prompts, which is nothing that a cell could notice."""
    found = notebook.cells[4]
    usual = "PruningConfig(steps=60)"
    assert found.source.count(usual) == 1
    found.source = found.source.replace(usual, "PruningConfig(steps=12), sizes=hap.SplitSizes(64, 16, 32)")
    return notebook


def test_every_cell_runs(tmp_path: Path) -> None:
    cells = executed(with_few_prompts(nbformat.read(TUTORIAL, as_version=4)), tmp_path).cells
    frames = [o for cell in cells if cell.cell_type == "code" for o in cell.outputs if "text/html" in o.get("data", {})]
    assert sum('class="hap-run"' in output.data["text/html"] for output in frames) == 3
    run = hap.load(tmp_path / "my-first-run.json")
    assert hap.verdict(run).sentence in said(cells[6])
    for head in hap.missed_heads(run, "eap", "hap"):
        assert f"\n{head}: " in said(cells[8])
    assert "mean (abc" in said(cells[12])
    assert run.command in said(cells[14])
    bars = [o for o in cells[4].outputs if "application/vnd.jupyter.widget-view+json" in o.get("data", {})]
    phases = [bar.data["text/plain"].split()[0] for bar in bars]
    assert phases == ["load", "prompts", "score", "prune", "evaluate", "roles"]
