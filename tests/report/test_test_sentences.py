"""What the later tests of a run say in words: every branch, on made-up numbers."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pytest

from hap_engine.report.metric_sentences import scores
from hap_engine.report.test_sentences import findings, p_value, untested
from hap_engine.runs.run_file import dumps, loads
from tests.builders.fakes import fake_run
from tests.builders.whole_runs import STABILITY, statistics


def answers(**changes: Any) -> dict[str, str]:
    run = fake_run(statistics=statistics(**changes), stability=STABILITY)
    run = loads(dumps(run))  # the shapes are those that a run file may have
    return {one.question: f"{one.answer} {one.detail}" for one in findings(run)}


def test_every_question_is_answered_with_its_numbers() -> None:
    said = answers()
    better = said["Is HAP closer to the model than EAP, beyond chance?"]
    assert better.startswith("Yes: its KL is 0.50 nats lower (95 % interval 0.30 to 0.70).")
    assert "on 20 prompts, sign-flip p < 0.001" in better
    assert "on 3 prompts where EAP does not, the reverse on 1 (McNemar p = 0.60)" in better
    assert "HAP alone keeps 2 and EAP alone 0" in better
    assert said["Does it make the model's mistakes too?"].startswith("Less than its right answers")
    assert "without them 4% of it is left" in said["Does the task go through these edges?"]
    assert "so it has a back-up" in said["Is it all of the mechanism?"]
    assert "S-inhibition: a1.h1" in said["Is it all of the mechanism?"]
    assert "Not needed on these prompts: m1." in said["Is all of it needed?"]
    assert "HAP's order of the edges stays closest" in said["And at other sizes?"]
    assert "HAP under resample, EAP under zero" in said["Does the order hold under other ablations?"]
    assert "100 of 343 edges. A random 10% of them" in said["Did the first filter spare what matters?"]
    assert "14% of such draws" in said["Did the first filter spare what matters?"]
    assert not [text for text in said.values() if re.search(r"[a-z]\.[A-Z]", text)]  # a space between sentences
    assert "Heads that every seed keeps: a1.h1. Only some keep: a2.h2." in said["Would another seed find the same?"]


def test_the_other_answers_are_told_as_plainly() -> None:
    part = {"n": 20, "mean": 0.1, "interval": [-0.2, 0.4], "p": 0.4}
    sure = {**part, "interval": [0.1, 0.2], "p": 0.03}
    tests = statistics()["comparisons"]["eap"]
    right = {"n": 20, "share": 0.9, "interval": [0.7, 0.98]}
    none = {"n": 0, "share": None, "interval": None}
    question = "Is HAP closer to the model than EAP, beyond chance?"
    assert answers(comparisons={"eap": {**tests, "kl": part}})[question].startswith("These prompts do not tell")
    worse = answers(comparisons={"eap": {**tests, "kl": sure}})[question]
    assert worse.startswith("No, EAP is: its KL is 0.10 nats higher")
    assert "p = 0.030" in worse
    alone = answers(comparisons={"eap": {**tests, "kl": {"n": 1, "mean": 0.1}}})[question]
    assert "has no interval" in alone
    faultless = answers(agreement={"hap": {key: {"right": right, "wrong": none} for key in ("top1", "accuracy")}})
    assert "wrong on none" in faultless["Does it make the model's mistakes too?"]
    other = answers(complement={"hap": {"kl": 1.0, "logit_diff": 3.0, "faithfulness": 0.7}})
    assert "most can take other ways" in other["Does the task go through these edges?"]


@pytest.mark.parametrize("key", ["agreement", "complement", "comparisons", "curves"])
def test_a_file_that_lacks_a_circuit_lacks_its_answer_and_nothing_else(key: str) -> None:
    assert len(answers(**{key: {}})) == len(answers()) - 1


@pytest.mark.parametrize(("jaccard", "judged"), [(0.8, "which reaches the 0.8"), (0.79, "below the 0.8")])
def test_samples_of_the_prompts_are_held_to_the_published_bar(jaccard: float, judged: str) -> None:
    at = [{"size": 60, "edges": [1.0] * 60, "heads": {}, "jaccard": {"eap": 0.9, "hap": jaccard}}]
    found = STABILITY | {"edges": [1.0] * 57 + [0.4] * 3, "jaccard": jaccard, "resamples": 20, "steps": 60, "at": at}
    (said,) = findings(loads(dumps(fake_run(stability=found))))
    assert said.question == "Would other prompts and another seed find the same?"
    assert judged in said.answer
    assert "3 of the 60 edges of this circuit are kept by fewer than half" in said.detail
    assert "Only some keep: a2.h2." in said.detail


def test_nothing_is_said_of_a_run_that_was_not_tested() -> None:
    assert findings(fake_run()) == []


def test_p_values_are_never_zero() -> None:
    assert [p_value(p) for p in (None, 0.0005, 0.02, 0.5)] == ["p unknown", "p < 0.001", "p = 0.020", "p = 0.50"]


def test_every_answer_says_whether_it_speaks_for_the_circuit() -> None:
    run = loads(dumps(fake_run(statistics=statistics(), stability=STABILITY)))
    marks = {one.question: one.mark for one in findings(run)}
    assert marks["Is HAP closer to the model than EAP, beyond chance?"] == "✓"
    assert marks["Does the task go through these edges?"] == "✓"
    for failed in (
        "Does it make the model's mistakes too?",
        "Is all of it needed?",
        "Would another seed find the same?",
    ):
        assert marks[failed] == "✗", failed
    assert marks["Does the order hold under other ablations?"] == "✗"


def test_what_was_not_tested_is_asked_with_a_question_mark() -> None:
    asked = untested(fake_run())
    assert {one.mark for one in asked} == {"?"}
    assert "Is all of it needed?" in [one.question for one in asked]
    assert untested(fake_run(statistics=statistics(), stability=STABILITY)) == []


@pytest.mark.parametrize(
    ("kl", "interval", "mark"),
    [(0.3, [0.2, 0.39], "✓"), (0.3, [0.2, 0.5], "?"), (0.9, [0.5, 1.2], "✗"), (0.3, None, "✓"), (0.9, None, "✗")],
)
def test_a_number_passes_with_its_whole_interval(kl: float, interval: list[float] | None, mark: str) -> None:
    made = fake_run()
    row = made.metrics["hap"] | {"kl": kl, "interval": {"kl": interval}}
    run = replace(made, metrics={**made.metrics, "hap": row, "empty": {**made.metrics["empty"], "kl": 4.0}})
    first = next(scores(run, "hap"))
    assert (first.question, first.mark) == ("Does it predict what the model predicts?", mark)
    assert f"KL {kl:.2f}" in first.answer


def test_without_the_scale_a_distance_is_neither_good_nor_bad() -> None:
    made = fake_run()
    run = replace(made, metrics={"hap": made.metrics["hap"]})
    assert next(scores(run, "hap")).mark == "?"
