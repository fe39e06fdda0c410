"""Live intervention: a bench agrees with the evaluation, with the full model and with a slow oracle."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from hap_engine.errors import ModelError, TaskError
from hap_engine.evaluation.measure import measure
from hap_engine.evaluation.stored_prompts import encode_prompts
from hap_engine.explain.what_if import Bench, describe
from hap_engine.graph.circuit import Circuit, empty_circuit, full_circuit, random_circuit
from hap_engine.graph.edits import Change, apply
from hap_engine.graph.graph import Graph
from hap_engine.masked.masked_pass import MaskedModel
from hap_engine.masked.opening import on_graph_of, open_run_model
from hap_engine.models.catalog import BUNDLED
from hap_engine.models.locate import locate
from hap_engine.tasks.pair import EncodedPair
from hap_engine.tasks.spans import WAYS, in_spans
from tests.builders.fakes import fake_run
from tests.builders.slow import Slow
from tests.builders.tiny_models import finish


@pytest.fixture(scope="module")
def bench(llama: MaskedModel, pairs: list[EncodedPair]) -> Bench:
    return Bench(llama, pairs[:5])


def test_a_reading_is_what_the_evaluation_measures(bench: Bench) -> None:
    circuit = random_circuit(bench.masked.graph, 30, np.random.default_rng(0))
    _, outcome = finish(measure(bench.masked, bench.pairs, {"one": circuit}))
    got = bench.read(circuit)
    np.testing.assert_allclose(got.logit_diff, outcome["one"]["logit_diff"], atol=1e-4)
    np.testing.assert_allclose(got.kl, outcome["one"]["kl"], atol=1e-4)


def test_all_edges_are_the_full_model(bench: Bench) -> None:
    everything, full = bench.read(full_circuit(bench.masked.graph)), bench.full()
    np.testing.assert_allclose(everything.logit_diff, full.logit_diff, atol=1e-4)
    np.testing.assert_allclose(everything.probabilities, full.probabilities, atol=1e-5)
    assert everything.kl.max() < 1e-5
    assert full.probabilities.sum() == pytest.approx(1, abs=1e-5)


def test_switching_a_head_off_equals_the_slow_oracle(bench: Bench) -> None:
    graph = bench.masked.graph
    circuit = apply(full_circuit(graph), [Change(False, ("a0.h2",))])
    slow = Slow(bench.masked.model.hf_model)
    with torch.no_grad():
        want = slow.masked_logits(graph, torch.from_numpy(circuit.kept).float(), bench.pairs)
    expected = [
        float(logits[p.answer_id] - logits[p.distractor_id]) for p, logits in zip(bench.pairs, want, strict=True)
    ]
    np.testing.assert_allclose(bench.read(circuit).logit_diff, expected, atol=1e-3)


@pytest.mark.parametrize("family", ["gpt2", "llama", "gemma2"])
def test_an_output_at_one_span_equals_the_model_without_its_edges_there(
    family: str, models: Callable[[str], MaskedModel], pairs: list[EncodedPair]
) -> None:
    placed, spans = in_spans(pairs[:4], WAYS["changes"](pairs[:4]))
    bench = Bench(models(family).at_spans(spans), placed)
    graph = bench.masked.graph
    for writer in (graph.writer_index["a0.h1"], graph.writer_index["m0"], graph.writer_index["a1.h0"]):
        for span in np.unique(graph.reader_spans[graph.edge_mask[writer]]):
            kept = graph.edge_mask.copy()
            kept[writer, graph.reader_spans == span] = False
            want, got = bench.read(Circuit(graph, kept)), bench.without_output(writer, int(span))
            np.testing.assert_allclose(got.logit_diff, want.logit_diff, atol=2e-4)
            np.testing.assert_allclose(got.probabilities, want.probabilities, atol=1e-5)


def test_top_tokens_hold_the_best_of_every_side_and_start_with_the_last(bench: Bench) -> None:
    sides = {"full": bench.full(), "empty": bench.read(empty_circuit(bench.masked.graph))}
    rows = bench.top_tokens(sides, 3)
    assert 3 <= len(rows) <= 6
    shown = [values["empty"] for _, values in rows]
    assert shown == sorted(shown, reverse=True)
    for name, reading in sides.items():
        assert max(values[name] for _, values in rows) == pytest.approx(reading.probabilities.max())


def test_the_sentence_states_both_numbers_or_that_nothing_changed(bench: Bench) -> None:
    full, empty = bench.full(), bench.read(empty_circuit(bench.masked.graph))
    text = describe(full, empty)
    assert f"{full.logit_diff.mean():.2f}" in text
    assert f"{empty.logit_diff.mean():.2f}" in text
    assert "changes nothing" in describe(full, full)


def test_the_bundled_model_opens_by_a_runs_record() -> None:
    from hap_engine.models.catalog import resolve, weights_sha256

    sha = weights_sha256(resolve("hap-mini"))
    record = {"name": "hap-mini", "source": "bundled", "reference": "hap-mini", "sha256": sha}
    source = locate(record)
    assert source.path == BUNDLED["hap-mini"]
    masked = finish(open_run_model(source, record))
    assert masked.model.sha256 == sha
    with pytest.raises(ModelError, match="layers"):
        on_graph_of(masked, fake_run(Graph(1, 2, 2)))
    with pytest.raises(TaskError, match="damaged"):
        encode_prompts(masked, [{"clean": 3}])


def test_a_stored_prompt_is_encoded_as_it_was(gpt2: MaskedModel, pairs: list[EncodedPair]) -> None:
    pair = pairs[0]
    stored = {
        "clean": pair.pair.clean,
        "corrupt": pair.pair.corrupt,
        "answer": pair.pair.answer,
        "distractor": pair.pair.distractor,
        "roles": dict(pair.roles),
    }
    (again,) = encode_prompts(gpt2, [stored])
    assert (again.clean_ids, again.corrupt_ids) == (pair.clean_ids, pair.corrupt_ids)
    assert (again.answer_id, again.distractor_id) == (pair.answer_id, pair.distractor_id)
    assert dict(again.roles) == dict(pair.roles)


def test_promoted_tokens_are_what_the_edge_to_the_logits_changes(bench: Bench) -> None:
    graph = bench.masked.graph
    for node in ("m1", "a1.h3", "input"):
        cut = bench.without_edge(graph.edge(node, "logits"))
        change = bench.full().probabilities - cut.probabilities
        up, down = bench.promoted(node, 3)
        assert [x for _, x in up] == pytest.approx(sorted(change, reverse=True)[:3], abs=1e-5)
        assert [x for _, x in down] == pytest.approx(sorted(change)[:3], abs=1e-5)


def test_attention_rows_sum_to_one_and_match_the_tokens(bench: Bench) -> None:
    patterns, tokens = bench.attention(1, 2), bench.tokens()
    for side in ("clean", "corrupt"):
        matrix = np.array(patterns[side])
        assert matrix.shape == (len(tokens[side]),) * 2
        np.testing.assert_allclose(matrix.sum(-1), 1, atol=1e-5)
        assert np.triu(matrix, 1).max() == 0


def test_the_corrupted_reading_is_the_empty_circuit(bench: Bench) -> None:
    empty = bench.read(empty_circuit(bench.masked.graph))
    np.testing.assert_allclose(bench.corrupted().logit_diff, empty.logit_diff, atol=1e-4)
