"""The studies of Edge Pruning: descents are kept and read again, pages say what the data say."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from benchmarks.studies import scorers, sizes
from benchmarks.studies.pruning import descents
from benchmarks.studies.pruning.circuits import Found, chained, everything, spread
from benchmarks.studies.pruning.descents import Descent, Workbench, made
from benchmarks.studies.pruning.page import PAGE, page
from hap_engine.settings import PruningConfig


def test_the_pages_are_made_of_the_data() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(everything())
    assert scorers.PAGE.read_text(encoding="utf-8") == scorers.page(scorers.kept())


def test_a_scorer_is_computed_again_and_the_others_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scorers, "STEPS", PruningConfig(steps=2))
    before = (scorers.DATA / "hap-mini.0.json").read_text(encoding="utf-8")
    (tmp_path / "hap-mini.0.json").write_text(before, encoding="utf-8")
    monkeypatch.setattr(scorers, "DATA", tmp_path)
    assert scorers.made("hap-mini", 0).read_text(encoding="utf-8") == before
    after = json.loads(scorers.made("hap-mini", 0, ["eap-gim"]).read_text(encoding="utf-8"))
    old = json.loads(before)
    assert list(after["rows"]) == list(old["rows"])
    changed = {name for name, row in after["rows"].items() if row != old["rows"][name]}
    assert changed == {"eap-gim hap"}, "of two steps; the rest is found again to the last digit"


def test_every_plot_of_the_page_is_there() -> None:
    for line in PAGE.read_text(encoding="utf-8").splitlines():
        if line.startswith("!["):
            assert (PAGE.parent / line.split("](")[1].rstrip(")")).is_file()


def test_a_descent_is_computed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(descents, "DATA", tmp_path)
    bench = Workbench("hap-mini", 0, "float32")
    wanted = Descent("ep", (0.9, 0.95), (2, 2), start="random")
    path = made(bench, wanted)
    record = json.loads(path.read_text())
    assert Descent(**{k: _plain(v) for k, v in record["descent"].items()}) == wanted
    loose, tight = record["points"]
    assert (loose["sparsity"], tight["sparsity"]) == (0.9, 0.95)
    assert set(tight["edges"]) < set(loose["edges"]), "each goes on from the one before"
    assert len(tight["edges"]) == tight["live"] <= 75
    assert tight["kl"] >= 0
    monkeypatch.setattr(descents, "circuits", None)  # a second look computes nothing
    assert made(bench, wanted) == path
    other = replace(wanted, seed=1)
    assert descents.path_of("hap-mini", "x", other) != descents.path_of("hap-mini", "x", wanted)


def test_a_descent_that_was_stopped_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(descents, "SAVE_STEPS", 3)
    bench = Workbench("hap-mini", 0, "float32")
    wanted = Descent("ep", (0.9, 0.95), (4, 4), start="equal")
    monkeypatch.setattr(descents, "DATA", tmp_path / "whole")
    whole = json.loads(made(bench, wanted).read_text())["points"]
    monkeypatch.setattr(descents, "DATA", tmp_path / "pieces")
    keep = descents.save_file

    def once(*args: Any) -> None:
        keep(*args)
        monkeypatch.setattr(descents, "save_file", keep)
        raise KeyboardInterrupt

    monkeypatch.setattr(descents, "save_file", once)
    with pytest.raises(KeyboardInterrupt):
        made(bench, wanted)
    (left,) = tmp_path.glob("pieces/*/*.new")
    left.rename(left.with_suffix(".safetensors"))  # as the run would have, a moment later
    path = made(bench, wanted)
    pieces = json.loads(path.read_text())["points"]
    assert [p["edges"] for p in pieces] == [p["edges"] for p in whole]
    assert list(path.parent.iterdir()) == [path], "the states are gone"


def test_seeds_are_averaged() -> None:
    assert spread([]) == ""
    assert spread([0.5]) == "0.500"
    assert spread([0.4, 0.6], 2) == "0.50 (0.40-0.60)"


def test_the_verdict_counts_where_hap_is_worse() -> None:
    def found(method: str, sparsity: float, kl: float) -> Found:
        values = {
            "kl": kl,
            "live": 10,
            "faithfulness": 1.0,
            "seconds": 1.0,
            "edges": [1],
            "roles": {"s_inhibition": [1, 2]},
        }
        steps = (9, 9) if method in ("hap", "ep") else ()
        return Found("toy", Descent(method, (0.9, 0.98), steps), sparsity, values)

    shown = page([found("hap", 0.9, 0.2), found("hap", 0.98, 0.3), found("eap", 0.9, 0.1), found("eap", 0.98, 0.9)])
    assert "below EAP's at 1 of 2 sizes (not at 90.0%)" in shown
    assert "HAP: 1 seed." in shown
    assert "50%" in shown
    assert chained([found("hap", 0.9, 0.2)])


def _plain(value: object) -> object:
    return tuple(value) if isinstance(value, list) else value


def test_the_page_of_every_size_is_made_of_its_data() -> None:
    records = [json.loads(path.read_text(encoding="utf-8")) for path in sizes.KEPT.glob("*.json")]
    mini = sorted((r for r in records if r["model"] == "hap-mini"), key=lambda r: int(r["seed"]))
    assert [record["seed"] for record in mini] == [*sizes.SEEDS, *sizes.UNSEEN]
    text, count = sizes.PAGE.read_text(encoding="utf-8"), len(sizes.SEEDS)
    assert sizes.section(mini[:count], sizes.MINI) in text
    assert sizes.table(mini[count:], sizes.MINI) in text
    real = sorted((r for r in records if r["model"] != "hap-mini"), key=lambda r: int(r["seed"]))
    assert sizes.section(real, sizes.REAL) in text
