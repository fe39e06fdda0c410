"""The commands of the pages about many runs and one big card, on small stand-ins."""

from __future__ import annotations

import os
import re
import shlex
import stat
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import pytest

from benchmarks import scale
from hap_engine.cli.commands import main
from hap_engine.transformer import load
from tests.builders.cards import ROOM, cards

pytestmark = pytest.mark.usefixtures("own_main")
DOCS = Path(__file__).resolve().parents[2] / "docs"
STUDY = "model = 'hap-mini'\nseed = [0, 1]\nsteps = 4\ntrain = 16\nvalidation = 8\ntest = 8\n"
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.M | re.S)  # its language, and what it holds
# A cluster's head and a large model on a card become what is here.
GONE = ("--address 10.0.0.1:6379", "--device cuda", "--preset quick", "--dtype bfloat16")
FEW = "--steps 4 --dtype float32"
STUB = """#!/bin/sh
for number in 0 1; do SLURM_ARRAY_TASK_ID=$number sh "$1" || exit 1; done
echo Submitted batch job 7
"""


def commands(name: str) -> list[str]:
    """Those of the program, in the page's order, made small."""
    blocks = BLOCK.findall((DOCS / name).read_text(encoding="utf-8"))
    lines = [line for language, text in blocks if not language for line in text.splitlines()]
    found = [line for line in lines if line.startswith("hap ") and "docs/studies" not in line]
    for old, new in {**dict.fromkeys(GONE, ""), "meta-llama/Llama-3.1-8B": "hap-mini"}.items():
        found = [line.replace(old, new) for line in found]
    return [f"{line} {FEW}" if " discover " in line else line for line in found]


def opened_here(work: Callable[..., Any], *_: object) -> Generator[Any, None, Any]:
    """`hap_engine.progress.watched` without its thread."""
    yield from ()
    return work(lambda message, share: None, lambda: False)


@pytest.mark.parametrize("name", ["sweeps.md", "slurm.md", "ray.md", "scale.md"])
def test_the_commands_of_a_page_work(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if name == "ray.md":
        pytest.importorskip("ray", reason="Ray is not installed (requirements-cluster.txt)")
    (tmp_path / "names.toml").write_text(STUDY)
    stub = tmp_path / "bin" / "sbatch"
    stub.parent.mkdir()
    stub.write_text(STUB)
    stub.chmod(stub.stat().st_mode | stat.S_IEXEC)
    monkeypatch.setenv("PATH", f"{stub.parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("PYTHONPATH", str(DOCS.parent))
    monkeypatch.chdir(tmp_path)
    found = commands(name)
    assert found
    for command in found:
        assert main(shlex.split(command)[1:]) == 0, command
    if "names" in " ".join(found):
        assert len(list((tmp_path / "names").glob("[0-9a-f]*.json"))) == 2


def test_the_layers_of_a_model_go_over_cards_as_the_page_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """On pretended ones: what is pretended holds for one thread, so the model is opened in this one."""
    blocks = BLOCK.findall((DOCS / "scale.md").read_text(encoding="utf-8"))
    (command,) = (text.strip() for _, text in blocks if "--layers-on" in text)
    monkeypatch.setattr(load, "watched", opened_here)
    monkeypatch.chdir(tmp_path)
    main(shlex.split("discover --method eap --prompts 8,4,4 --dtype float32 --out first.json"))  # warms up transformers
    small = f"{command.replace('meta-llama/Llama-3.1-70B', 'hap-mini')} --steps 2 --prompts 8,4,4 --out run.json"
    with cards(ROOM, ROOM):
        assert main(shlex.split(small)[1:]) == 0, capsys.readouterr().err
    assert (tmp_path / "run.json").exists()


def test_the_tables_of_large_models_are_those_of_the_formulas() -> None:
    text = scale.PAGE.read_text(encoding="utf-8")
    assert "\n".join(scale.cards()) in text
    assert "\n".join(scale.breaks()) in text
