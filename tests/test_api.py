"""The notebook API: docs/api.md is executed; custom metrics and tasks; EAP-IG's graph files."""

from __future__ import annotations

import json
import math
import re
import subprocess
import sys
from dataclasses import replace
from html import unescape
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer

import hap_engine as hap
from hap_engine.attribution import scorers
from hap_engine.errors import RunFileError, SettingsError, TaskError
from hap_engine.evaluation.metrics import logit_difference
from hap_engine.graph import eapig_file
from hap_engine.graph.circuit import random_circuit
from hap_engine.graph.graph import Graph
from hap_engine.masked.masked_pass import MaskedModel
from hap_engine.progress import drain
from hap_engine.workflows.ask_model import check_task
from tests.builders.tiny_models import SIZES, VOCABULARY, random_pairs
from tests.conftest import ROOT

PAIRS = random_pairs([5, 6, 4])
GRAPHS = [Graph(2, 4, 4), Graph(3, 4, 2), Graph(2, 2, 2, parallel=True), Graph(2, 9, 3)]


def test_the_worked_example_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert len(blocks) >= 6
    scope: dict[str, Any] = {"folder": tmp_path}
    for block in blocks:
        exec(compile(block, "docs/api.md", "exec"), scope)
    shown = capsys.readouterr().out
    assert "mean (abc, prompts of equal length)" in shown
    assert "custom" in shown


def test_importing_costs_nothing() -> None:
    code = (
        "import sys, hap_engine; from hap_engine import Circuit, Graph, PromptPair, load; "
        "assert 'discover' in dir(hap_engine); "
        "print([m for m in ('torch', 'transformers') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.stdout.strip() == "[]", done.stderr


def test_every_public_name_exists() -> None:
    """A name that is missing here breaks somebody's notebook."""
    functions = (
        "attribute bootstrap circuit_at discover encoded evaluate examine example find_rival load logits missed_heads "
        "open_model per_prompt prompts prune_on save verdict why_missed with_stability"
    )
    circuits = "empty_circuit full_circuit random_circuit read_eapig read_span_file top_edges top_live write_eapig"
    classes = "Circuit DiscoveryConfig Graph HapError PromptPair PruningConfig Run SplitSizes"
    names = f"__version__ {functions} {circuits} {classes}".split()
    assert dir(hap) == sorted(names)
    assert sorted(hap.__all__) == sorted(names)
    for name in names[1:]:
        assert getattr(hap, name).__name__ == name
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        hap.nothing  # noqa: B018


def test_a_metric_of_ones_own(gpt2: MaskedModel) -> None:
    def own(logits: Any, full: Any, answer: Any, distractor: Any) -> Any:
        assert known == scorers.METRICS, "nobody else meets it"
        return 2 * logit_difference(logits, answer, distractor)

    known = dict(scorers.METRICS)
    twice = hap.attribute(gpt2, PAIRS, metric=own)
    np.testing.assert_allclose(twice, 2 * hap.attribute(gpt2, PAIRS), rtol=1e-4, atol=1e-6)
    with pytest.raises(SettingsError, match="4 arguments"):
        hap.attribute(gpt2, PAIRS, metric=lambda logits: logits.sum(-1))
    with pytest.raises(SettingsError, match="nothing to rank"):
        hap.attribute(gpt2, PAIRS, metric=lambda logits, full, a, d: 0 * logits.sum(-1))
    with pytest.raises(SettingsError, match="NaN or infinity"):
        hap.attribute(gpt2, PAIRS, metric=lambda logits, full, a, d: math.nan * logits.sum(-1))


def test_logits_of_a_circuit(llama: MaskedModel) -> None:
    full = hap.logits(llama, PAIRS)
    for row, pair in zip(full, PAIRS, strict=True):
        plain = llama.model.hf_model(torch.tensor([pair.clean_ids])).logits[0, -1]
        torch.testing.assert_close(row, plain, atol=1e-3, rtol=1e-3)
    empty = hap.logits(llama, PAIRS, hap.empty_circuit(llama.graph))
    for row, pair in zip(empty, PAIRS, strict=True):
        plain = llama.model.hf_model(torch.tensor([pair.corrupt_ids])).logits[0, -1]
        torch.testing.assert_close(row, plain, atol=1e-3, rtol=1e-3)


def test_evaluate_takes_one_circuit_or_several(gpt2: MaskedModel) -> None:
    circuit = hap.full_circuit(gpt2.graph)
    seen: list[str] = []
    rows = hap.evaluate(gpt2, circuit, PAIRS, progress=lambda record: seen.append(record.phase))
    assert rows["circuit"]["kl"] == pytest.approx(0, abs=1e-4)
    assert set(seen) == {"evaluate"}
    assert set(hap.evaluate(gpt2, {"a": circuit}, PAIRS)) == {"full", "empty", "random", "a"}


def test_wrong_arguments(gpt2: MaskedModel) -> None:
    with pytest.raises(SettingsError, match=r"no setting 'sparcity'.*sparsity"):
        hap.discover(gpt2, sparcity=0.9)
    with pytest.raises(SettingsError, match="at least one circuit"):
        hap.evaluate(gpt2, {}, PAIRS)
    with pytest.raises(SettingsError, match="at least one prompt"):
        hap.logits(gpt2, [])
    with pytest.raises(TaskError, match=r"Row 1: the clean prompt has .* where the corrupted one has"):
        hap.logits(gpt2, [hap.PromptPair("Aaron", "Adam Adam", " Alan", " Albert")])
    with pytest.raises(SettingsError, match=r"got EncodedPair. Give texts \(of an encoded pair its .pair\)"):
        hap.discover(gpt2, PAIRS)  # type: ignore[arg-type]
    assert issubclass(TaskError, hap.HapError)


@pytest.mark.parametrize("given", ["texts", "tokens"])
def test_every_entry_refuses_prompts_that_the_model_cannot_read(gpt2: MaskedModel, given: str) -> None:
    """Longer than the positions and unknown tokens were an IndexError."""
    words = ["Aaron", "Adam", "Ahmed"]
    long = hap.PromptPair(" ".join(words * 22), " ".join(words[::-1] * 22), " Alan", " Albert")
    short = hap.PromptPair("Aaron and Adam", "Adam and Aaron", " Alan", " Albert")
    pairs: list[Any] = [short, long]
    if given == "tokens":
        (one,) = hap.encoded(gpt2, [short])
        pairs = [one, replace(one, clean_ids=one.clean_ids * 22, corrupt_ids=one.corrupt_ids * 22)]
    circuit = hap.full_circuit(gpt2.graph)
    for entry in (
        lambda on: hap.encoded(gpt2, on),
        lambda on: hap.logits(gpt2, on),
        lambda on: hap.attribute(gpt2, on),
        lambda on: hap.evaluate(gpt2, circuit, on),
    ):
        with pytest.raises(TaskError, match=r"Row 2: the prompt has 66 tokens .* tiny-gpt2 reads at most 64"):
            entry(pairs)
    unknown = replace(random_pairs([4])[0], answer_id=VOCABULARY)
    with pytest.raises(TaskError, match=f"tiny-gpt2 knows {VOCABULARY} tokens, and .* number {VOCABULARY}"):
        hap.logits(gpt2, [unknown])


def test_the_words_of_a_tokenizer_that_the_model_lacks_are_refused(gpt2: MaskedModel) -> None:
    tokenizer = Tokenizer.from_str(gpt2.model.tokenizer.to_str())
    tokenizer.add_tokens([f"word{number}" for number in range(VOCABULARY)])
    larger = MaskedModel(replace(gpt2.model, tokenizer=tokenizer))
    for pair in (
        hap.PromptPair("Aaron word71", "Adam word71", " Alan", " Albert"),
        hap.PromptPair("Aaron and", "Adam and", " Alan", " word71"),
    ):
        with pytest.raises(TaskError, match=r"Row 1: tiny-gpt2 knows 72 tokens, and .* \('word71'\)"):
            hap.logits(larger, [pair])


def test_a_token_that_is_named_twice_counts_once(gpt2: MaskedModel) -> None:
    """The probability difference of such a set was twice what it is."""
    (once,) = hap.encoded(gpt2, [hap.PromptPair("Aaron and Adam", "Adam and Aaron", " Alan", " Albert")])
    twice = hap.PromptPair("Aaron and Adam", "Adam and Aaron", " Alan", " Albert", more_answers=("  Alan", " Alan"))
    given = replace(once, more_answer_ids=(once.answer_id,))
    right = drain(check_task(gpt2, [once]))
    for pair in hap.encoded(gpt2, [twice, given]):
        assert drain(check_task(gpt2, [pair])) == right
    with pytest.raises(TaskError, match="same token"):
        hap.encoded(gpt2, [replace(twice, more_answers=("  Albert",))])


def test_discover_on_an_opened_model(gpt2: MaskedModel) -> None:
    run = hap.discover(gpt2, sparsity=0.8, keep=0.6, sizes=SIZES, pruning=hap.PruningConfig(steps=2, batch_size=4))
    assert run.main == "hap"
    assert run.replay["last_open"]
    assert json.loads(json.dumps(run.replay))["last_open"] == run.replay["last_open"], "plain data before it is a file"
    assert hap.verdict(run).sentence in unescape(run.show().page)
    again = hap.evaluate(gpt2, run)
    assert again["hap"]["kl"] == pytest.approx(run.metrics["hap"]["kl"], abs=1e-5)
    with pytest.warns(UserWarning, match="other weights, another config or tokenizer than the model of run"):
        hap.logits(gpt2, replace(run, model={**run.model, "sha256": "0" * 64}))  # only the terminal had a note for it


# -- EAP-IG's files -------------------------------------------------------------------------------


@pytest.mark.parametrize("graph", GRAPHS, ids=str)
def test_round_trip(graph: Graph, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    circuit = random_circuit(graph, 20, rng)
    scores = np.where(graph.edge_mask, rng.normal(size=graph.edge_mask.shape), 0)
    path = hap.write_eapig(tmp_path / "graph.json", circuit, scores, d_model=32)
    kv = graph.n_kv_heads if graph.n_kv_heads != graph.n_heads else None
    back, back_scores = hap.read_eapig(path, n_kv_heads=kv)
    assert back == circuit
    assert back.graph == graph
    np.testing.assert_allclose(back_scores, scores, atol=1e-12)


def test_the_format_by_hand() -> None:
    """Keys, names and counts as EAP-IG writes them."""
    graph = Graph(1, 2, 2)
    circuit = hap.Circuit.from_names(graph, [("input", "a0.h0<v>"), ("a0.h0", "logits")])
    data = eapig_file.to_eapig(circuit, d_model=8)
    assert data["cfg"] == {"n_layers": 1, "n_heads": 2, "parallel_attn_mlp": False, "d_model": 8}
    assert set(data["nodes"]) == {"input", "a0.h0", "a0.h1", "m0", "logits"}
    assert [n for n, found in data["nodes"].items() if found["in_graph"]] == ["input", "a0.h0", "logits"]
    assert len(data["edges"]) == graph.n_edges == 6 + 3 + 4
    assert data["edges"]["input->a0.h0<v>"] == {"score": 0.0, "in_graph": True}
    assert data["edges"]["input->m0"]["in_graph"] is False
    assert "m0->logits" in data["edges"]


def test_grouped_heads_are_spread_and_gathered() -> None:
    graph = Graph(1, 4, 2)
    circuit = hap.Circuit.from_names(graph, [("input", "a0.h1<k>")])
    scores = np.zeros(graph.edge_mask.shape)
    scores[graph.edge("input", "a0.h1<k>")] = 3.0
    data = eapig_file.to_eapig(circuit, scores)
    kept = [name for name, edge in data["edges"].items() if edge["in_graph"]]
    assert kept == ["input->a0.h2<k>", "input->a0.h3<k>"]
    assert data["edges"]["input->a0.h3<k>"]["score"] == 1.5
    back, back_scores = eapig_file.from_eapig(data, n_kv_heads=2)
    assert back == circuit
    assert back_scores[graph.edge("input", "a0.h1<k>")] == 3
    flat, _ = eapig_file.from_eapig(data)
    assert flat.graph == Graph(1, 4, 4), "without the hint every head has its own keys"


def good() -> dict[str, Any]:
    return eapig_file.to_eapig(hap.full_circuit(Graph(1, 2, 2)))


def broken(**changes: Any) -> dict[str, Any]:
    data = good()
    data["edges"] = {**data["edges"], **changes}
    return data


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ([], "not an EAP-IG graph"),
        ({"cfg": {}}, "not an EAP-IG graph"),
        ({"cfg": {}, "edges": {}}, "graph sizes"),
        ({**good(), "cfg": {"n_layers": 10**9, "n_heads": 1}}, "between 1 and 1024"),
        ({**good(), "edges": {}}, "Expected 13 edges"),
        (broken(**{"m0->m0": {"score": 1, "in_graph": True}}), "'m0->m0' that a model of 1 layers"),
        (broken(**{"<b>": {"score": 1, "in_graph": True}}), "lacks"),
        (broken(**{"input->m0": {"score": "x", "in_graph": True}}), "finite score"),
        (broken(**{"input->m0": {"score": math.nan, "in_graph": True}}), "finite score"),
        (broken(**{"input->m0": {"score": 1, "in_graph": 1}}), "in_graph true or false"),
        (broken(**{"input->m0": 5}), "finite score"),
    ],
)
def test_files_that_are_no_graphs(data: Any, message: str) -> None:
    with pytest.raises(RunFileError, match=message):
        eapig_file.from_eapig(data)


def test_files_that_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(RunFileError, match="Check the path"):
        hap.read_eapig(tmp_path / "none.json")
    path = tmp_path / "bad.json"
    path.write_text("{")
    with pytest.raises(RunFileError, match="not valid JSON"):
        hap.read_eapig(path)
    path.write_text(json.dumps(good()))
    monkeypatch.setattr(eapig_file, "MAX_BYTES", 10)
    with pytest.raises(RunFileError, match="at most"):
        hap.read_eapig(path)
