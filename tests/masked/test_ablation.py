"""Mean and zero ablation against an explicit loop over edges, and what they mean."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch

from hap_engine.errors import UnknownNameError
from hap_engine.evaluation.evaluate import Setting, evaluate
from hap_engine.evaluation.measure import measure
from hap_engine.graph.circuit import Circuit, empty_circuit, full_circuit, random_circuit
from hap_engine.masked.ablation import ABLATIONS, Ablation, title
from hap_engine.masked.masked_pass import MaskedModel
from hap_engine.masked.opening import open_masked
from hap_engine.tasks.pair import EncodedPair
from hap_engine.transformer.batches import to_batch
from tests.builders.slow import Slow
from tests.builders.tiny_models import finish, random_pairs
from tests.builders.toys import copy_suppression

PAIRS = random_pairs([6, 6, 4, 6, 4])


def by_hand(
    masked: MaskedModel, circuit: Circuit, pair: EncodedPair, kind: str, pairs: Sequence[EncodedPair]
) -> torch.Tensor:
    """Logits at the last position, summing every reader edge by edge; no component is skipped."""
    slow, graph = Slow(masked.model.hf_model), masked.graph
    alike = [p for p in pairs if len(p.corrupt_ids) == len(pair.corrupt_ids)]
    with torch.no_grad():
        runs = [slow.plain(p.corrupt_ids).outputs for p in alike]
        value = {w: torch.stack([run[w] for run in runs]).mean(0) * (kind == "mean") for w in runs[0]}

        def read(reader: str, out: dict[str, torch.Tensor]) -> torch.Tensor:
            seen = [w for w in out if slow.sees(w, reader)]
            total = sum(value[w] for w in seen) + slow.biases(reader)
            for w in seen:
                if circuit.kept[graph.writer_index[w], graph.reader_index[reader]]:
                    total = total + out[w] - value[w]
            return total

        return slow.walk(slow.embed(pair.clean_ids), read).logits[-1]


@pytest.mark.parametrize("kind", ["mean", "zero"])
@pytest.mark.parametrize("size", [0, 12, 60])
def test_against_a_loop_over_edges(masked: MaskedModel, kind: str, size: int) -> None:
    graph = masked.graph
    circuit = random_circuit(graph, size, np.random.default_rng(size))
    cutting, batch = Ablation(masked, PAIRS, kind), to_batch(PAIRS, masked.device)
    with torch.no_grad():
        got = masked.logits(cutting.mask(circuit), masked.embed(batch.clean), cutting.base(batch), batch.last)
    for logits, pair in zip(got, PAIRS, strict=True):
        want = by_hand(masked, circuit, pair, kind, PAIRS)
        torch.testing.assert_close(logits, want, atol=1e-6 + 2e-4 * float(want.abs().max()), rtol=1e-4)


@pytest.mark.parametrize("kind", ABLATIONS)
def test_with_every_edge_it_is_the_model(masked: MaskedModel, kind: str) -> None:
    full, found = finish(measure(masked, PAIRS, {"all": full_circuit(masked.graph)}, ablation=kind))
    assert found["all"]["kl"].max() < 1e-4
    np.testing.assert_allclose(found["all"]["logit_diff"], full["logit_diff"], atol=1e-3)


def test_dead_edges_matter_but_under_resampling(gpt2: MaskedModel) -> None:
    """An MLP that nothing feeds still writes something else than its average."""
    dead = Circuit.from_names(gpt2.graph, [("m0", "logits")])
    circuits = {"dead": dead, "none": empty_circuit(gpt2.graph)}
    change = {}
    for kind in ABLATIONS:
        _, found = finish(measure(gpt2, PAIRS, circuits, ablation=kind))
        change[kind] = np.abs(found["dead"]["logit_diff"] - found["none"]["logit_diff"]).max()
    assert change["resample"] < 1e-5
    assert change["mean"] > 1e-3
    assert change["zero"] > 1e-3


def test_the_mean_of_one_prompt_is_its_own_run(llama: MaskedModel) -> None:
    """With one prompt of each length, mean ablation cuts to that prompt's corrupt run."""
    pairs = random_pairs([5, 6, 7])
    circuits = {"none": empty_circuit(llama.graph), "all": full_circuit(llama.graph)}
    mean, resample = (finish(measure(llama, pairs, circuits, ablation=kind))[1] for kind in ("mean", "resample"))
    for name in circuits:
        np.testing.assert_allclose(mean[name]["kl"], resample[name]["kl"], atol=1e-4)


def test_a_planted_circuit_holds_under_every_ablation() -> None:
    """The name mover needs no more than its planted edges, whatever the others carry."""
    toy = copy_suppression()
    masked = open_masked(toy.model)
    for kind in ("resample", "mean"):
        _, found = finish(measure(masked, toy.pairs, {"truth": toy.truths[0]}, ablation=kind))
        assert found["truth"]["accuracy"].mean() > 0.95, kind


def test_every_number_is_tagged(gpt2: MaskedModel) -> None:
    circuit = Circuit.from_names(gpt2.graph, [("m0", "logits")])
    for kind in ABLATIONS:
        setting = Setting("test", kind, "abc", 0)
        rows = finish(evaluate(gpt2, PAIRS, {"some": circuit}, setting, control_size=5))
        assert {row["ablation"] for row in rows.values()} == {title(kind, "abc")}
        assert rows["some"]["n_edges"] == (0 if kind == "resample" else 1)
    assert title("mean", "abc") == "mean (abc, prompts of equal length)"
    assert title("zero", "abc") == "zero"


def test_unknown_ablations(gpt2: MaskedModel) -> None:
    with pytest.raises(UnknownNameError, match="Did you mean 'mean'"):
        Ablation(gpt2, PAIRS, "means")
