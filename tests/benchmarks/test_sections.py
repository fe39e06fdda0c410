"""A section of the benchmarks runs: they are read, not run, by everybody else."""

from __future__ import annotations

import pytest

from benchmarks import __main__ as benchmarks
from tests.builders.tiny_models import MACHINE


def test_the_steps_of_a_small_model_are_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(benchmarks, "measured", lambda: MACHINE)
    table = benchmarks.steps(["hap-mini"], 1, "cpu")
    for step in ("EAP, all edges", "EP step, all edges", "HAP step, 1 %"):
        assert f"| hap-mini, 16 | float32 | {step} |" in table
