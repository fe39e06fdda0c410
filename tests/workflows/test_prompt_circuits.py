"""A circuit for each prompt: planted ways of two kinds of prompts fall apart, those of one kind do not."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from hap_engine.errors import RunFileError, SettingsError
from hap_engine.masked.opening import open_masked
from hap_engine.report.prompt_circuits import by_order, circuits, groups, told
from hap_engine.runs.record import Run
from hap_engine.runs.run_file import dumps, loads
from hap_engine.workflows.search_again import per_prompt
from tests.builders.planted_runs import planted_run
from tests.builders.tiny_models import finish
from tests.builders.toys import TOYS
from tests.builders.two_ways import two_kinds, two_ways


def found(prompts: int = 6) -> Run:
    toy = two_kinds()
    run = planted_run(toy)
    tests = [
        {**row, "roles": {"A": 1, "B": 2} if "one" in row["clean"] else {"B": 1, "A": 2}} for row in run.prompts["test"]
    ]
    run = replace(run, prompts={**run.prompts, "test": tests})
    return loads(dumps(finish(per_prompt(open_masked(toy.model), run, prompts))))


def test_two_kinds_of_prompts_have_two_circuits() -> None:
    toy, run = two_kinds(), found(8)
    assert [row["cluster"] for row in run.prompt_circuits["prompts"]] in ([0, 1] * 4, [1, 0] * 4)
    assert circuits(run) == [*toy.truths] * 4
    assert run.prompt_circuits["silhouette"] == 1
    one, two = groups(run)
    assert (one.core, one.alike, len(one.prompts)) == (2, 1, 4)
    assert {*one.orders, *two.orders} == {"A, B", "B, A"}
    assert all(row["own"]["kl"] < 1e-3 and row["own"]["deviation"] < 0.05 for row in run.prompt_circuits["prompts"])
    said = " ".join(told(run))
    assert "fall into 2 groups (mean silhouette 1.00)" in said
    assert "use more alike circuits: two of them share 100% of their edges, two of different orders 0%" in by_order(run)


def test_equal_prompts_are_one_group() -> None:
    toy = TOYS["induction"]()
    run = finish(per_prompt(open_masked(toy.model), planted_run(toy), 4))
    assert not any(row["cluster"] for row in run.prompt_circuits["prompts"])
    (group,) = groups(run)
    assert group.core == toy.size
    assert "do not fall into groups" in told(run)[0]
    assert by_order(run) == "", "no prompt has roles"
    two = finish(per_prompt(open_masked(toy.model), planted_run(toy), 2))
    assert "too few" in told(two)[0]


@pytest.mark.parametrize(
    ("change", "prompts", "words"),
    [
        (lambda run: run, 17, "from 2 to 16 prompts"),
        (lambda run: run, 1, "from 2 to 16 prompts"),
        (lambda run: replace(run, prompts={**run.prompts, "test": []}), 2, "from 2 to 0 prompts"),
        (lambda run: replace(run, model={**run.model, "sha256": "other"}), 2, "Name the model"),
    ],
)
def test_what_cannot_be_found_is_refused(change: Callable[[Run], Run], prompts: int, words: str) -> None:
    toy = two_ways()
    with pytest.raises(SettingsError, match=words):
        finish(per_prompt(open_masked(toy.model), change(planted_run(toy)), prompts))


def test_it_can_be_cancelled_within_a_step() -> None:
    toy = two_ways()
    work = per_prompt(open_masked(toy.model), planted_run(toy), 2)
    while next(work).phase != "prune":
        pass
    next(work)
    work.close()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"edges": [10**9]}, "should hold edges of its graph"),
        ({"edges": [0.5]}, "whole number"),
        ({"own": {"kl": 1.0}}, "lacks deviation"),
    ],
)
def test_damaged_circuits_are_refused(change: dict[str, object], words: str) -> None:
    data = json.loads(dumps(found(2)))
    data["prompt_circuits"]["prompts"][0] |= change
    with pytest.raises(RunFileError, match=words):
        loads(json.dumps(data))
    data["prompt_circuits"]["prompts"] = []
    with pytest.raises(RunFileError, match="from 1 to"):
        loads(json.dumps(data))


def test_deviation_is_bounded_and_counts_overshooting() -> None:
    from hap_engine.evaluation.metrics import deviation

    full, empty = np.array([4.0, 4, 4, 4, 1, 1]), np.array([0.0, 0, 0, 0, 1, 1])
    circuit = np.array([4.0, 3, 5, -9, 1, 2])
    np.testing.assert_allclose(deviation(circuit, full, empty), [0, 0.25, 0.25, 1, 0, 1])
