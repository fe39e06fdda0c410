"""What the picture leads with and what a click opens, as the browser gets it."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from hap_engine.picture.finding import finding
from hap_engine.report.missed_heads import missed_heads
from hap_engine.runs.examples import SHIPPED, example
from hap_engine.runs.run_file import load
from tests.builders.fakes import fake_run


def test_it_names_the_prompt_the_distances_and_every_head_with_its_evidence() -> None:
    run = example("SmolLM2")
    found = finding(run, "eap", "hap")
    assert [role for _, role in found["prompt"]["tokens"] if role] == ["IO", "S1", "S1+1", "S2", "END"]
    assert (found["prompt"]["answer"], found["prompt"]["instead"]) == ("Larry", "Jim")
    assert found["methods"]["left"] == {"title": "EAP alone", "kl": run.metrics["eap"]["kl"]}
    assert found["empty"] == run.metrics["empty"]["kl"]
    head = found["heads"]["a22.h5"]
    assert (head["role"], head["marginal"], head["rank"]) == ("S-inhibition", True, 197)
    assert "name movers away" in head["does"]
    assert head["said"] == "1% of attention"
    row = found["attention"]["a22.h5"][-1]
    assert len(row) == len(found["prompt"]["tokens"])


@pytest.mark.parametrize("path", sorted(SHIPPED.glob("*.json")), ids=lambda path: path.stem)
def test_why_a_head_was_missed_is_what_the_order_of_edges_says(path: Path) -> None:
    """Taken edges are counted before those on no path are removed."""
    run = load(path)
    taken, told = run.orders["eap"].cells[: run.circuits["eap"].n_raw], finding(run, *run.sides)["dropped"]
    assert list(told) == list(missed_heads(run, *run.sides))
    kept = np.zeros_like(run.graph.edge_mask)
    kept.flat[taken] = True
    for head, sentence in told.items():
        row = run.graph.writer_index[head]
        touched = kept[row].any() or kept[:, run.graph.feeds[:, row]].any()
        assert ("this edge among them;" in sentence, "not among them." in sentence) == (touched, not touched), head
    assert not any("of its ranking" in sentence for sentence in finding(run, "hap", "eap")["dropped"].values())


def test_a_run_that_stores_little_says_little() -> None:
    found = finding(fake_run(), "eap", "hap")
    assert found["prompt"] == {"tokens": [], "answer": "", "instead": ""}
    assert found["attention"] == {}
    assert not any("direct" in head and head["direct"] for head in found["heads"].values())


def test_no_number_is_one_that_json_cannot_hold() -> None:
    run = fake_run()
    metrics = {name: dict(row) | {"kl": math.nan} for name, row in run.metrics.items()}
    heads = {head: dict(facts) | {"direct_effect": math.nan} for head, facts in run.heads.items()}
    json.dumps(finding(replace(run, metrics=metrics, heads=heads), "eap", "hap"), allow_nan=False)


def test_a_prompt_whose_tokens_are_not_stored_is_one_piece() -> None:
    run = example("SmolLM2")
    prompt = finding(run, "eap", "hap", len(run.prompts["test"]) - 1)["prompt"]
    assert prompt["tokens"] == [[run.prompts["test"][-1]["clean"], ""]]
