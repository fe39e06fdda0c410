"""Reports of circuits: exact at both ends, independent of batching, right to the last digit."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from hap_engine.errors import SettingsError
from hap_engine.evaluation.evaluate import Setting, evaluate
from hap_engine.evaluation.measure import PER_PROMPT, measure
from hap_engine.evaluation.metrics import faithfulness, kl_divergence, logit_difference
from hap_engine.graph.circuit import Circuit, empty_circuit, full_circuit, random_circuit
from hap_engine.masked.masked_pass import MaskedModel
from hap_engine.masked.prompt_cache import Prepared
from hap_engine.settings import RANDOM_CIRCUITS
from tests.builders.slow import Slow
from tests.builders.tiny_models import finish, random_pairs

PAIRS = random_pairs([7, 4, 9, 5, 4, 8, 6])
SETTING = Setting("test", "resample", "abc", 3)


@pytest.fixture(scope="module")
def circuits(llama: MaskedModel) -> dict[str, Circuit]:
    graph, rng = llama.graph, np.random.default_rng(0)
    return {"all": full_circuit(graph), "none": empty_circuit(graph), "some": random_circuit(graph, 40, rng)}


@pytest.fixture(scope="module")
def report(llama: MaskedModel, circuits: dict[str, Circuit]) -> dict[str, dict[str, Any]]:
    return finish(evaluate(llama, PAIRS, circuits, SETTING, control_size=40))


def test_rows_and_their_tags(report: dict[str, dict[str, Any]], llama: MaskedModel) -> None:
    assert set(report) == {"full", "empty", "random", "all", "none", "some"}
    sizes = {name: row["n_edges"] for name, row in report.items()}
    edges = llama.graph.n_edges
    assert sizes == {"full": edges, "all": edges, "empty": 0, "none": 0, "random": 40, "some": 40}
    for row in report.values():
        assert (row["split"], row["ablation"], row["seed"]) == ("test", "resample (abc)", 3)
        assert row["n_prompts"] == len(PAIRS)
    assert report["random"]["n_circuits"] == RANDOM_CIRCUITS
    assert set(report["random"]["spread"]) == set(PER_PROMPT)


def test_random_circuits_may_be_measured_on_some_of_the_prompts(
    llama: MaskedModel, circuits: dict[str, Circuit]
) -> None:
    few = finish(Prepared(llama, PAIRS[:2]).run())
    found = finish(evaluate(llama, PAIRS, {"all": circuits["all"]}, SETTING, control_size=40, few=few))
    wanted = finish(evaluate(llama, PAIRS[:2], {"all": circuits["all"]}, SETTING, control_size=40))["random"]
    whole = finish(evaluate(llama, PAIRS, {"all": circuits["all"]}, SETTING, control_size=40))
    assert {name: row["n_prompts"] for name, row in found.items()} == dict.fromkeys(whole, len(PAIRS)) | {"random": 2}
    for key in ("kl", "logit_diff", "faithfulness", "exact_match"):
        assert found["random"][key] == pytest.approx(wanted[key], abs=1e-5)
    for name in ("full", "empty", "all"):
        for key in PER_PROMPT:
            assert found[name]["per_prompt"][key] == pytest.approx(
                whole[name]["per_prompt"][key], rel=2e-3, abs=1e-4
            ), (name, key)


@pytest.mark.parametrize("ablation", ["resample", "mean", "zero"])
def test_what_is_kept_of_some_prompts_changes_no_number(
    llama: MaskedModel, circuits: dict[str, Circuit], ablation: str
) -> None:
    few = finish(Prepared(llama, PAIRS[:3]).run())
    full, found = finish(measure(llama, PAIRS, circuits, 2, ablation, kept=few))
    wanted_full, wanted = finish(measure(llama, PAIRS, circuits, 2, ablation))
    for outcome, expected in ((full, wanted_full), *((found[name], wanted[name]) for name in circuits)):
        for key in PER_PROMPT:
            np.testing.assert_allclose(outcome[key], expected[key], atol=1e-5)


def test_names_of_circuits_mean_nothing(llama: MaskedModel, circuits: dict[str, Circuit]) -> None:
    """Also such a one as the controls might have, inside: its numbers are its own, and the controls keep theirs."""
    odd = {"random walk": circuits["all"], "random 0": circuits["all"], "empty ": circuits["all"]}
    named = finish(evaluate(llama, PAIRS, odd, SETTING, control_size=40))
    assert [row["kl"] for name, row in named.items() if name in odd] == pytest.approx([0, 0, 0], abs=1e-4)
    plain = finish(evaluate(llama, PAIRS, {"hap": circuits["all"]}, SETTING, control_size=40))
    for control in ("full", "empty", "random"):
        assert named[control] == plain[control]


@pytest.mark.parametrize("name", ["full", "empty", "random"])
def test_the_names_of_the_controls_are_taken(llama: MaskedModel, circuits: dict[str, Circuit], name: str) -> None:
    with pytest.raises(SettingsError, match=f"got '{name}'. Choose another name"):
        finish(evaluate(llama, PAIRS, {name: circuits["all"]}, SETTING, control_size=40))


def test_the_ends_are_exact(report: dict[str, dict[str, Any]]) -> None:
    assert report["full"]["faithfulness"] == 1
    assert report["empty"]["faithfulness"] == 0
    assert report["full"]["kl"] == pytest.approx(0, abs=1e-6)
    assert report["full"]["exact_match"] == 1
    for same in (("all", "full"), ("none", "empty")):
        a, b = (report[name] for name in same)
        for key in (*PER_PROMPT, "faithfulness"):
            assert a[key] == pytest.approx(b[key], abs=1e-4), key


def test_intervals_contain_the_means(report: dict[str, dict[str, Any]]) -> None:
    for name, row in report.items():
        for key in (*PER_PROMPT, "faithfulness"):
            low, high = row["interval"][key]
            if key == "faithfulness" and name not in ("full", "empty"):
                continue  # a ratio of means: its bootstrap may be skewed
            assert low - 1e-6 <= row[key] <= high + 1e-6, (name, key)


def test_numbers_equal_a_direct_computation(
    llama: MaskedModel, circuits: dict[str, Circuit], report: dict[str, dict[str, Any]]
) -> None:
    slow, rows = Slow(llama.model.hf_model), []
    mask = torch.from_numpy(circuits["some"].kept).float()
    with torch.no_grad():
        got = slow.masked_logits(llama.graph, mask, PAIRS)
        for pair, logits in zip(PAIRS, got, strict=True):
            full = slow.plain(pair.clean_ids).logits[-1]
            corrupt = slow.plain(pair.corrupt_ids).logits[-1]
            p, p_circuit = full.softmax(-1), logits.softmax(-1)
            difference, ld_full, ld_empty = (
                float(x[pair.answer_id] - x[pair.distractor_id]) for x in (logits, full, corrupt)
            )
            rows.append(
                {
                    "kl": float((p * (p.log() - logits.log_softmax(-1))).sum()),
                    "logit_diff": difference,
                    "accuracy": float(difference > 0),
                    "prob_diff": float(p_circuit[pair.answer_id] - p_circuit[pair.distractor_id]),
                    "top1": float(logits.argmax() == pair.answer_id),
                    "exact_match": float(logits.argmax() == full.argmax()),
                    "full": ld_full,
                    "empty": ld_empty,
                }
            )
    mean = {key: np.mean([row[key] for row in rows]) for key in rows[0]}
    for key in PER_PROMPT:
        assert report["some"][key] == pytest.approx(mean[key], abs=1e-4), key
    share = (mean["logit_diff"] - mean["empty"]) / (mean["full"] - mean["empty"])
    assert report["some"]["faithfulness"] == pytest.approx(share, abs=1e-3)


def test_prompt_order_does_not_depend_on_batching(llama: MaskedModel, circuits: dict[str, Circuit]) -> None:
    some = {"some": circuits["some"]}
    _, together = finish(measure(llama, PAIRS, some, batch_size=32))
    for size in (1, 2, 3):
        _, apart = finish(measure(llama, PAIRS, some, batch_size=size))
        for name, outcome in together.items():
            for key, values in outcome.items():
                np.testing.assert_allclose(apart[name][key], values, atol=1e-4)
    for index, pair in enumerate(PAIRS):
        _, alone = finish(measure(llama, [pair], some))
        np.testing.assert_allclose(alone["some"]["logit_diff"][0], together["some"]["logit_diff"][index], atol=1e-4)


def test_equal_seeds_give_equal_reports(
    llama: MaskedModel, circuits: dict[str, Circuit], report: dict[str, dict[str, Any]]
) -> None:
    assert finish(evaluate(llama, PAIRS, circuits, SETTING, control_size=40)) == report


def test_metrics_by_hand() -> None:
    logits = torch.tensor([[0.0, 0.0], [np.log(3.0), 0.0]])
    full = torch.tensor([[0.5, 0.5], [0.5, 0.5]]).log()
    kl = kl_divergence(logits, full)
    by_hand = 0.5 * np.log(0.5 / 0.75) + 0.5 * np.log(0.5 / 0.25)
    assert kl.tolist() == pytest.approx([0, by_hand], abs=1e-6)
    difference = logit_difference(logits, torch.tensor([[0], [1]]), torch.tensor([[1], [0]]))
    assert difference.tolist() == pytest.approx([0, -np.log(3.0)])


@pytest.mark.parametrize(
    ("arguments", "expected"), [((3, 5, 1), 0.5), ((5, 5, 1), 1), ((1, 5, 1), 0), ((9, 5, 1), 2), ((0, -1, 1), 0.5)]
)
def test_faithfulness_by_hand(arguments: tuple[float, ...], expected: float) -> None:
    assert faithfulness(*arguments) == expected


def test_faithfulness_without_a_span_is_nan() -> None:
    assert np.isnan(faithfulness(1, 2, 2))
