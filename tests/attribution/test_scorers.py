"""Edge scores against their definition: finite differences, plain autograd, a peer's tool."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from hap_engine.attribution import scorers
from hap_engine.attribution.scorers import SCORERS, mean_rank, score
from hap_engine.errors import SettingsError, UnknownNameError
from hap_engine.graph.ranking import rank_matrix
from hap_engine.masked import masked_pass
from hap_engine.masked.masked_pass import MaskedModel
from hap_engine.settings import IG_STEPS
from tests.builders.masked_runs import in_random_spans
from tests.builders.scoring import Corrected, by_autograd, metric, prepare, scores_of
from tests.builders.slow import Slow
from tests.builders.tiny_models import finish, random_pairs

LENGTHS = [9, 4, 7, 6]


def close(got: np.ndarray, want: np.ndarray, tolerance: float = 1e-4) -> bool:
    return bool(np.abs(got - want).max() <= tolerance * np.abs(want).max())


def test_eap_is_delta_times_reader_gradient(masked: MaskedModel) -> None:
    pairs = random_pairs(LENGTHS)
    scores = scores_of(masked, pairs)
    assert close(scores, by_autograd(masked, pairs))
    assert not scores[~masked.graph.edge_mask].any()


def test_eap_predicts_what_a_slightly_corrupted_edge_does(masked: MaskedModel) -> None:
    """The sign: corrupting edge e by a small share s changes the metric by s * score[e]."""
    pairs, graph, share = random_pairs([6]), masked.graph, 0.01
    scores, slow = scores_of(masked, pairs), Slow(masked.model.hf_model)
    full = torch.from_numpy(graph.edge_mask).float()
    for w, r in np.random.default_rng(0).permutation(np.argwhere(graph.edge_mask))[:10]:
        ends = []
        for sign in (1, -1):
            mask = full.clone()
            mask[w, r] -= sign * share
            with torch.no_grad():
                logits = slow.masked(graph, mask, pairs[0].clean_ids, pairs[0].corrupt_ids).logits
            ends.append(float(metric(logits, pairs[0])))
        change = (ends[0] - ends[1]) / 2
        tolerance = 0.02 * share * float(np.abs(scores).max())
        assert change == pytest.approx(share * float(scores[w, r]), abs=tolerance)


@pytest.mark.parametrize("name", ["logit_diff", "kl"])
def test_eap_ig_by_a_slow_loop(gpt2: MaskedModel, name: str) -> None:
    """Mean gradient over the steps k/5, k = 0..4, of the embedding, times the full delta."""
    pairs, graph, slow = random_pairs([5, 7]), gpt2.graph, Slow(gpt2.model.hf_model)
    total = np.zeros(graph.edge_mask.shape)
    for pair in pairs:
        with torch.no_grad():
            clean, corrupt = slow.plain(pair.clean_ids), slow.plain(pair.corrupt_ids)
        full = clean.logits[-1].log_softmax(-1)
        for step in range(IG_STEPS):
            embed = corrupt.outputs["input"] + step / IG_STEPS * (clean.outputs["input"] - corrupt.outputs["input"])

            def read(reader: str, out: dict[str, torch.Tensor]) -> torch.Tensor:
                return sum(out[w] for w in out if slow.sees(w, reader)) + slow.biases(reader)

            found = slow.walk(embed.clone().requires_grad_(), read)
            value = metric(found.logits, pair)
            if name == "kl":
                value = (full.exp() * (full - found.logits[-1].log_softmax(-1))).sum()
            names = list(found.inputs)
            grads = torch.autograd.grad(value, [found.inputs[reader] for reader in names])
            for reader, grad in zip(names, grads, strict=True):
                for writer in found.outputs:
                    if slow.sees(writer, reader):
                        delta = corrupt.outputs[writer] - clean.outputs[writer]
                        total[graph.edge(writer, reader)] += float((delta * grad).sum())
    scores = scores_of(gpt2, pairs, "eap-ig", name)
    assert close(scores, total / len(pairs) / IG_STEPS)
    assert not close(scores, scores_of(gpt2, pairs), 0.05), "it differs from plain EAP"


@pytest.mark.parametrize("scorer", ["eap", "eap-ig"])
def test_scores_do_not_depend_on_the_batch_size(llama: MaskedModel, scorer: str) -> None:
    prepared = prepare(llama, random_pairs(LENGTHS))
    one, all_ = (finish(score(prepared, scorer, batch_size=size)) for size in (1, 16))
    assert close(one, all_, 1e-5)


def test_scores_are_means_over_prompts(llama: MaskedModel) -> None:
    pairs = random_pairs([5, 8])
    alone = [scores_of(llama, [pair]) for pair in pairs]
    assert close(scores_of(llama, pairs), np.mean(alone, axis=0), 1e-5)


def test_progress_counts_batches(gpt2: MaskedModel) -> None:
    records = list(score(prepare(gpt2, random_pairs([4] * 5)), batch_size=2))
    assert [(r.phase, r.step, r.total) for r in records] == [("score", i, 3) for i in (1, 2, 3)]


def test_plain_eap_refuses_kl_with_the_reason(gpt2: MaskedModel) -> None:
    prepared = prepare(gpt2, random_pairs([4]))
    with pytest.raises(SettingsError, match=r"KL.*minimum.*Use the logit difference, or EAP-IG"):
        finish(score(prepared, "eap", "kl"))


def test_the_reason_is_true(gpt2: MaskedModel) -> None:
    """KL(full ‖ circuit) has no gradient where every edge is kept."""
    prepared = prepare(gpt2, random_pairs([4, 6]))
    grad = scorers._mask_gradient(prepared, [0, 1], SCORERS["eap"], scorers.METRICS["kl"])
    assert grad.abs().max() < 1e-4


@pytest.mark.parametrize(
    ("arguments", "words"),
    [(("eap_ig",), "Did you mean 'eap-ig'"), (("eap", "logit-diff"), "Did you mean 'logit_diff'")],
)
def test_unknown_names(gpt2: MaskedModel, arguments: tuple[str, ...], words: str) -> None:
    with pytest.raises(UnknownNameError, match=words):
        finish(score(prepare(gpt2, random_pairs([4])), *arguments))


@pytest.mark.parametrize(
    ("value", "words"), [(float("nan"), "finite scores"), (float("inf"), "finite scores"), (0.0, "exactly 0")]
)
def test_useless_scores_are_refused(
    gpt2: MaskedModel, monkeypatch: pytest.MonkeyPatch, value: float, words: str
) -> None:
    prepared = prepare(gpt2, random_pairs([4]))
    monkeypatch.setattr(scorers, "_mask_gradient", lambda *_: torch.full(gpt2.graph.edge_mask.shape, value))
    with pytest.raises(SettingsError, match=words):
        finish(score(prepared))


def test_a_metric_that_cannot_move_is_refused(gpt2: MaskedModel) -> None:
    """Answer and distractor are one token: the difference is 0 whatever is patched."""
    (pair,) = random_pairs([5])
    with pytest.raises(SettingsError, match="nothing to rank"):
        scores_of(gpt2, [replace(pair, distractor_id=pair.answer_id)])


def test_agrees_with_transformer_lens_own_tool(gpt2: MaskedModel) -> None:
    """TransformerLens differentiates on the corrupt run: swap clean and corrupt.

    Then its ``(a_clean - a_corrupt) · gradient at corrupt`` is our
    ``(corrupt - clean) · gradient at clean``, per position; ours sums over positions.
    """
    from transformer_lens.tools.analysis.attribution_patching import EdgeAttributionConfig, attribution_patch

    (pair,), graph = random_pairs([5]), gpt2.graph
    bridge = gpt2.model.bridge().requires_grad_(True)  # the tool needs gradients of the weights
    found = attribution_patch(
        bridge,
        torch.tensor([pair.corrupt_ids]),
        torch.tensor([pair.clean_ids]),
        lambda logits: logits[0, -1, pair.answer_id] - logits[0, -1, pair.distractor_id],
        EdgeAttributionConfig(granularity="edge"),
    )
    total = np.zeros(graph.edge_mask.shape)
    for (writer, reader), value in found.edge_scores.items():
        names = {
            "embed": "input",
            "attn_head_out": f"a{writer.layer}.h{writer.head}",
            "mlp_out": f"m{writer.layer}",
            "mlp_in": f"m{reader.layer}",
            "logits": "logits",
            **{f"{slot}_input": f"a{reader.layer}.h{reader.head}<{slot}>" for slot in "qkv"},
        }
        total[graph.edge(names[writer.kind], names[reader.kind])] += value
    assert np.count_nonzero(total) == graph.n_edges
    assert close(scores_of(gpt2, [pair]), total)


@pytest.mark.parametrize("little", [0.0, np.inf])
def test_scores_in_bfloat16_are_close(masked: MaskedModel, little: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(masked_pass, "LITTLE", little)
    pairs = random_pairs(LENGTHS)
    exact, low = scores_of(masked, pairs), scores_of(masked.with_dtype(torch.bfloat16), pairs)
    assert low.dtype == exact.dtype
    assert close(low, exact, 0.1)


@pytest.mark.parametrize(("scorer", "temperature"), [("eap-gim", 2.0), ("eap-relp", 1.0)])
def test_corrected_gradients_are_those_written_out_by_hand(
    masked: MaskedModel, scorer: str, temperature: float
) -> None:
    """Every factor of a product, a gated MLP's too, gets half of the product's gradient."""
    pairs = random_pairs(LENGTHS)
    got = scores_of(masked, pairs, scorer)
    assert close(got, by_autograd(masked, pairs, Corrected(masked.model.hf_model, temperature, scorer == "eap-relp")))
    assert not close(got, scores_of(masked, pairs), 0.02)


@pytest.mark.parametrize("scorer", sorted(SCORERS))
def test_every_scorer_scores_every_family(masked: MaskedModel, scorer: str) -> None:
    scores = scores_of(masked, random_pairs(LENGTHS), scorer)
    assert np.isfinite(scores).all()
    assert not scores[~masked.graph.edge_mask].any()
    assert (scores != 0).mean() > 0.2


def test_magnitudes_bound_the_sums(masked: MaskedModel) -> None:
    pairs = random_pairs(LENGTHS)
    signed, magnitude = scores_of(masked, pairs), scores_of(masked, pairs, "eap-abs")
    assert (np.abs(signed) <= np.abs(magnitude) * (1 + 1e-4) + 1e-6).all()


def test_rank_mean_orders_by_the_mean_of_two_ranks(gpt2: MaskedModel) -> None:
    graph = gpt2.graph
    rng = np.random.default_rng(0)
    one, two = (np.where(graph.edge_mask, rng.normal(size=graph.edge_mask.shape), 0) for _ in "ab")
    both = mean_rank(graph, [one, two])
    ranks = rank_matrix(graph, one) + rank_matrix(graph, two)
    best = np.unravel_index(np.where(graph.edge_mask, ranks, 10**9).argmin(), ranks.shape)
    assert both[best] == both.max() <= 1
    assert both[graph.edge_mask].min() > 0


def test_the_secant_rule_leaves_the_values_and_the_model_alone(masked: MaskedModel) -> None:
    pairs = random_pairs(LENGTHS)
    before = scores_of(masked, pairs)
    relp = scores_of(masked, pairs, "eap-relp")
    assert not close(relp, before, 0.02)
    assert close(scores_of(masked, pairs), before, 1e-6)


@pytest.mark.parametrize("seed", range(2))
def test_scores_at_spans_are_the_gradient_of_the_masked_pass(masked: MaskedModel, seed: int) -> None:
    pairs, spans = in_random_spans(random_pairs(LENGTHS), ["one", "other", "third"], seed)
    at_spans = masked.at_spans(spans)
    assert close(scores_of(at_spans, pairs), by_autograd(at_spans, pairs))


@pytest.mark.parametrize("scorer", ["eap", "eap-ig", "eap-ig-kl"])
def test_scores_at_spans_add_up_to_those_without(masked: MaskedModel, scorer: str) -> None:
    pairs, spans = in_random_spans(random_pairs(LENGTHS), ["one", "other"])
    at_spans = masked.at_spans(spans)
    found, total = scores_of(at_spans, pairs, scorer), np.zeros(masked.graph.edge_mask.shape)
    for column, reader in enumerate(at_spans.graph.readers):
        total[:, masked.graph.reader_index[reader.name.partition("@")[0]]] += found[:, column]
    assert close(total, scores_of(masked, pairs, scorer))
