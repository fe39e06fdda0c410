"""A gallery of runs as a static site: complete in itself, whatever the runs are called."""

from __future__ import annotations

from html import escape
from pathlib import Path

from hap_engine.cli.commands import main
from hap_engine.runs.examples import SHIPPED, example
from hap_engine.runs.gallery import card, finding, write_gallery
from tests.builders.fakes import fake_run
from tests.builders.payloads import PICTURE, hostile_run


def test_the_site_has_a_card_and_a_page_for_each_run_and_asks_nothing(tmp_path: Path) -> None:
    runs = [example(), fake_run(seed=3)]
    files = write_gallery(runs, tmp_path / "site")
    index = files[0].read_text(encoding="utf-8")
    for path in files[1:]:
        assert f'href="{path.name}"' in index
        assert path.read_text(encoding="utf-8").startswith("<!DOCTYPE html>")
    assert "S-inhibition" in finding(runs[0])
    assert escape(finding(runs[0])) in index
    assert f"KL of HAP <b>{runs[0].metrics['hap']['kl']:.2f}</b>" in index
    assert len(files) == 3
    assert "http" not in index.replace("http-equiv", "")
    assert "<script" not in index
    assert index.count("<svg") == 2


def test_foreign_texts_are_text() -> None:
    inside = card(hostile_run())
    assert PICTURE in inside
    assert "<img" not in inside


def test_the_command_writes_the_named_runs(tmp_path: Path, capsys) -> None:  # type: ignore[no-untyped-def]
    path = min(SHIPPED.glob("*.json"))
    assert main(["gallery", str(tmp_path / "out"), str(path)]) == 0
    assert "pages of 1 runs" in capsys.readouterr().out
    assert (tmp_path / "out" / "index.html").exists()
    assert main(["gallery", str(tmp_path / "out"), str(tmp_path / "none.json")]) == 1
