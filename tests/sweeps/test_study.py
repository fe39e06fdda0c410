"""Which cells a study has, and that everything wrong in it is told before anything starts."""

from __future__ import annotations

from pathlib import Path

import pytest

from hap_engine.errors import SettingsError
from hap_engine.models.catalog import identity, resolve
from hap_engine.settings import DiscoveryConfig, run_id, with_preset
from hap_engine.sweeps.study import cells, of_record, read_study, to_record


def test_a_cell_is_an_ordinary_run_with_its_ordinary_id() -> None:
    found = cells({"model": ["hap-mini"], "sparsity": [0.95, 0.98], "seed": [0, 1, 2], "preset": ["quick"]})
    assert len(found) == 6
    known = identity(resolve("hap-mini")) or ""
    config = with_preset(DiscoveryConfig(sparsity=0.98, seed=2), "quick")
    assert run_id(config, known) in {cell.id for cell in found}
    assert [of_record(to_record(cell)) for cell in found] == found


def test_equal_cells_are_one_and_cells_of_a_model_stay_together() -> None:
    assert len(cells({"seed": [0, 0, 1]})) == 2
    small, bundled = "hap-mini", str(resolve("hap-mini").path)
    order = [cell.config.model for cell in cells({"seed": [0, 1], "model": [small, bundled]})]
    assert order == sorted(order)


def test_a_file_says_the_same_as_the_lists(tmp_path: Path) -> None:
    path = tmp_path / "study.toml"
    path.write_text('model = "hap-mini"\nseed = [0, 1]\nsteps = 30\n')
    assert cells(read_study(path)) == cells({"model": ["hap-mini"], "seed": [0, 1], "steps": [30]})


def test_all_that_is_wrong_is_told_at_once() -> None:
    with pytest.raises(SettingsError) as told:
        cells({"sparcity": [0.9], "seed": ["one"], "method": [], "task": ["custom"]})
    text = str(told.value)
    assert text.startswith("Nothing was started")
    assert "Did you mean sparsity?" in text
    assert "seed: expected int, got 'one'" in text
    assert "method: the list is empty" in text
    assert "Your own prompts" in text


def test_impossible_cells_are_told_at_once() -> None:
    with pytest.raises(SettingsError) as told:
        cells({"sparsity": [0.9, 1.5], "task": ["ioi", "iou"], "model": ["hap-mini", "some/where"]})
    text = str(told.value)
    assert "1.5" in text
    assert "iou" in text
    assert "some/where is not on this machine yet" in text


@pytest.mark.parametrize(("text", "why"), [("model = [", "is no TOML"), (None, "could not be read")])
def test_a_study_that_cannot_be_read_says_why(tmp_path: Path, text: str | None, why: str) -> None:
    path = tmp_path / "study.toml"
    if text is not None:
        path.write_text(text)
    with pytest.raises(SettingsError, match=why):
        read_study(path)


def test_a_typing_error_does_not_fill_a_disk() -> None:
    with pytest.raises(SettingsError, match="1 to 100,000 runs, got 1,000,000"):
        cells({"seed": list(range(1000)), "steps": list(range(1, 1001))})
