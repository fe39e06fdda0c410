"""The sentence about missed heads says what the run shows, whatever that is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from hap_engine.findings import CircuitRecord
from hap_engine.graph.circuit import Circuit
from hap_engine.graph.graph import Graph
from hap_engine.report.verdict import distance, verdict, warnings
from tests.builders.fakes import fake_run

GRAPH = Graph(2, 2, 2)


def through(*heads: str) -> CircuitRecord:
    """A circuit with one path through each head."""
    edges = [edge for head in heads for edge in (("input", f"{head}<q>"), (head, "logits"))]
    return CircuitRecord(Circuit.from_names(GRAPH, edges), len(edges))


def sentence(
    roles: Sequence[str], eap: Sequence[str], hap: Sequence[str], role: str = "s_inhibition", **more: Any
) -> str:
    run = fake_run(
        GRAPH,
        edges=8,
        circuits={"eap": through(*eap), "hap": through(*hap)},
        roles={"heads": {head: {"role": role} for head in roles}},
        heads={"a0.h1": {"eap_rank": 1234}},
    )
    return verdict(run, role, **more).sentence


def test_missed_heads_are_named_with_their_rank() -> None:
    found = sentence(["a0.h1", "a1.h0"], eap=["a1.h0"], hap=["a0.h1", "a1.h0"])
    assert (
        found == "At 4 edges (EAP: 2, as near as its ranking comes), EAP keeps 1 and HAP keeps 2 of the model's 2"
        " S-inhibition heads. EAP alone misses a0.h1 (EAP rank 1,234)."
    )


def test_a_missed_head_without_a_rank_is_named_alone() -> None:
    assert sentence(["a1.h1"], eap=[], hap=["a1.h1"]).endswith("EAP alone misses a1.h1.")


def test_none_missed() -> None:
    found = sentence(["a0.h1"], eap=["a0.h1"], hap=["a0.h1", "a0.h0"])
    assert "1 and HAP keeps 1 of the model's 1 S-inhibition head. " in found
    assert found.endswith("EAP alone misses none that HAP keeps.")


def test_neither_keeps_any() -> None:
    found = sentence(["a1.h1"], eap=["a0.h0"], hap=["a0.h0"])
    assert "EAP keeps 0 and HAP keeps 0" in found
    assert found.endswith("misses none that HAP keeps.")


def test_the_other_way_round() -> None:
    found = sentence(["a0.h1", "a1.h0"], eap=["a0.h1", "a1.h0"], hap=["a1.h0"])
    assert found.endswith("Here it is HAP that drops a0.h1.")


def test_no_such_heads() -> None:
    found = sentence([], eap=["a0.h0"], hap=["a0.h1"])
    assert found == "No head of this model passes the measured threshold for S-inhibition, so there is none to miss."


@pytest.mark.parametrize(("role", "title"), [("duplicate_token", "duplicate-token"), ("own role", "own role")])
def test_other_roles(role: str, title: str) -> None:
    found = sentence(["a0.h0"], eap=["a0.h0"], hap=["a0.h0"], role=role)
    assert f"1 {title} head. " in found


def test_sides_can_be_chosen() -> None:
    run = fake_run(GRAPH, edges=8, circuits={"eap": through("a0.h0"), "hap": through("a0.h1")})
    turned = verdict(run, left="hap", right="eap")
    assert (turned.left, turned.right, turned.size) == ("hap", "eap", 2)


@pytest.mark.parametrize(
    ("eap", "hap", "said"),
    [
        (4.24, 0.33, "EAP 4.24, HAP 0.33. EAP's circuit predicts worse than the fully corrupted model. HAP keeps"),
        (0.5, 3.31, "HAP 3.31. HAP's circuit is nearer to the fully corrupted model than to the model. HAP keeps"),
        (0.5, 0.33, "EAP 0.50, HAP 0.33. HAP keeps 1 head that EAP drops, and EAP 2 that HAP drops."),
    ],
)
def test_what_is_bad_is_said_to_be_bad(eap: float, hap: float, said: str) -> None:
    circuits = {"eap": through("a0.h0", "a1.h0"), "hap": through("a1.h1")}
    run = fake_run(GRAPH, edges=8, circuits=circuits)
    rows = {name: {"kl": kl} for name, kl in (("empty", 4.03), ("eap", eap), ("hap", hap))}
    found = distance(replace(run, metrics=rows))
    assert "(KL, 0 is equal, 4.03 is everything corrupted)" in found
    assert said in found


def test_a_run_without_roles() -> None:
    assert verdict(fake_run(roles={})).heads == ()


def test_too_few_prompts_are_told_by_what_came_of_them() -> None:
    """The circuit's own KL on both sides; that of the gates while they were learned says nothing of it."""

    def run(learned: int, before: float | None, after: float) -> list[str]:
        made = fake_run()
        row = {**made.metrics[made.main], "kl": after, "n_prompts": 9, "train_kl": before}
        return warnings(
            replace(
                made,
                settings={**made.settings, "sizes": {"train": learned}},
                history=[{"step": 60, "kl": 0.0, "expected": 60.0}],
                metrics={**made.metrics, made.main: row},
            )
        )

    assert run(12, 0.11, 0.72) == [
        "HAP's circuit fits the 12 prompts that it was learned from (KL 0.11) much better than the 9 "
        "unseen ones (KL 0.72). It has learned those prompts more than the task: add rows."
    ]
    assert run(12, 0.4, 0.72) == run(12, 0.01, 0.05) == run(600, 0.11, 0.72) == []
    assert run(12, None, 0.72) == [], "an older run did not measure it"


def test_open_gates_are_told() -> None:
    def run(expected: float | None) -> list[str]:
        return warnings(replace(fake_run(edges=60), history=[{"step": i, "expected": expected} for i in (1, 2)]))

    assert run(148) == [
        "At the last of 2 steps about 148 gates were still open, and the circuit keeps the best 60: its edges have "
        "not learned to do without the others. Take more steps."
    ]
    assert run(60) == run(89) == run(None) == warnings(replace(fake_run(), history=[])) == []
