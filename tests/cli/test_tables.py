"""What a terminal shows while something goes on."""

from __future__ import annotations

from collections.abc import Generator

import pytest

from hap_engine.cli.progress_lines import follow
from hap_engine.cli.tables import print_sizes
from hap_engine.progress import Progress
from hap_engine.report.every_size import size_verdict
from tests.builders.fakes import fake_run
from tests.builders.sized_runs import sized_run

STEPS = [Progress("load", step, 100, f"Downloading x: {5 * step} of 500 MB") for step in (0, 7, 52)]
CHECK = Progress("prompts", 1, 1, "It can.", {"check": {"sentence": "It can."}})
PRUNE = Progress("prune", 5, 10, "Pruning edges", {"kl": 0.25, "budget": 1200.0, "expected": 1234.0})


def test_where_no_terminal_is_a_tenth_is_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    def work() -> Generator[Progress, None, int]:
        yield from (*STEPS, CHECK, PRUNE)
        return 5

    assert follow(work()) == 5
    assert capsys.readouterr().err.splitlines() == [
        "load: Downloading x: 0 of 500 MB",
        "load: 52/100  Downloading x: 260 of 500 MB",
        "prompts: It can.",
        "It can.",
        "prune: Pruning edges",
        "prune: 5/10  KL 0.250 with 1,234 gates open",
    ]


def test_a_run_of_every_size_has_its_table_and_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    run = sized_run()
    print_sizes(run)
    said = capsys.readouterr().out
    first, *rows = said.strip().splitlines()
    assert first == "KL at every size, 4 test prompts"
    assert rows[0].split() == ["removed", "edges", "EAP", "HAP", "Random", "circuits"]
    assert [row.split()[1] for row in rows[1 : 1 + len(run.sizes["grid"])]] == [f"{n:,}" for n in run.sizes["grid"]]
    assert "CMD" in said
    assert size_verdict(run) in said
    print_sizes(fake_run())
    assert capsys.readouterr().out == ""
