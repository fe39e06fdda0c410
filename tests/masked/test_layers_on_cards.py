"""Layers over several cards, which are pretended (`tests/builders/cards.py`): the numbers are those of one device."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from hap_engine import api
from hap_engine.attribution.scorers import SCORERS
from hap_engine.evaluation.stored_prompts import stored_prompts
from hap_engine.explain.what_if import Bench
from hap_engine.graph.circuit import full_circuit
from hap_engine.machine.memory import Limits
from hap_engine.masked.ablation import ABLATIONS
from hap_engine.masked.delta_buffer import Receive, Tape
from hap_engine.masked.masked_pass import MaskedModel
from hap_engine.masked.opening import open_masked
from hap_engine.masked.prompt_cache import Prepared
from hap_engine.pruning.gate_loss import loss_of_gates
from hap_engine.runs.record import Run
from hap_engine.settings import PruningConfig
from hap_engine.transformer.batches import to_batch
from hap_engine.transformer.load import load_model
from tests.builders import shared_work
from tests.builders.cards import ROOM, cards, opened
from tests.builders.precision import in_double
from tests.builders.scoring import prepare, scores_of
from tests.builders.tiny_models import SIZES, finish, hf_model, random_pairs, tokenizer

FAMILIES = ("gpt2", "llama", "neox", "gemma2")
EXACT, ROUNDED = 1e-9, 1e-4  # in float64, and of a run, which is learned in float32
PAIRS = [5, 7, 7, 9, 6]  # tokens
SETTINGS: dict[str, Any] = {
    "sparsity": 0.8,
    "keep": 0.6,
    "pruning": PruningConfig(steps=6, batch_size=4),
    "sizes": SIZES,
    "device": "cuda",
}


def close(got: Any, want: Any, what: str, within: float = EXACT) -> None:
    got, want = np.asarray(got, np.float64), np.asarray(want, np.float64)
    assert np.abs(got - want).max() <= within * max(np.abs(want).max(), 1e-300), what


def found(masked: MaskedModel) -> dict[str, np.ndarray]:
    """Loss, gradient and scores of a few prompts."""
    pairs, gates = random_pairs(PAIRS), torch.linspace(0.1, 1, masked.graph.n_edges)
    gates[1::3] = 0
    loss_of = loss_of_gates(prepare(masked, pairs), full_circuit(masked.graph), len(pairs))
    kl, error, gradient = loss_of(gates.to(masked.device), [4, 0, 2, 1, 3], 0.3)
    scores = {name: scores_of(masked, pairs, name) for name in SCORERS}
    return {"loss": np.array([kl, error]), "gradient": gradient.cpu().numpy(), **scores}


def with_mask(masked: MaskedModel, size: int) -> dict[str, np.ndarray]:
    """Logits and the mask's gradient where `size` edges, chosen at random, are open."""
    generator = torch.Generator().manual_seed(size)
    edges = torch.from_numpy(full_circuit(masked.graph).kept)
    chosen = edges.nonzero()[torch.randperm(int(edges.sum()), generator=generator)[:size]]
    mask = torch.zeros(edges.shape)
    mask[chosen[:, 0], chosen[:, 1]] = torch.rand(len(chosen), generator=generator)
    batch, leaf = to_batch(random_pairs(PAIRS), masked.device), mask.to(masked.device).requires_grad_()
    corrupt = masked.trace(batch.corrupt, batch.last)
    logits = masked.logits(leaf, masked.embed(batch.clean), corrupt, batch.last)
    (gradient,) = torch.autograd.grad(logits.square().sum(), leaf)
    again = masked.logits(leaf.detach(), masked.embed(batch.clean), corrupt, batch.last)
    return {"logits": logits.detach().cpu().numpy(), "gradient": gradient.cpu().numpy(), "again": again.cpu().numpy()}


@pytest.mark.parametrize("family", FAMILIES)
def test_losses_gradients_and_scores_are_those_of_one_device(family: str) -> None:
    with in_double():
        want = found(opened(family))
        for count in (2, 3):
            with cards(*[ROOM] * count):
                masked = opened(family, "auto")
                assert [str(stretch.device) for stretch in masked.stretches] == [f"cuda:{n}" for n in range(count)]
                for name, values in found(masked).items():
                    close(values, want[name], f"{name} on {count} cards")


@pytest.mark.parametrize("family", FAMILIES)
def test_masks_of_any_size_give_the_logits_and_gradients_of_one_device(family: str) -> None:
    """Where little is live, a card may read nothing, or nothing of the card before it."""
    sizes = (0, 1, 3, 10, 40, 200)
    with in_double():
        here = opened(family)
        want = [with_mask(here, size) for size in sizes]
        with cards(ROOM, ROOM, ROOM):
            there = opened(family, "auto")
            for size, wanted in zip(sizes, want, strict=True):
                for name, values in with_mask(there, size).items():
                    close(values, wanted[name], f"{name} of {size} edges")


def test_corrupt_runs_in_main_memory_come_to_the_cards() -> None:
    def loss(masked: MaskedModel, limits: Limits) -> np.ndarray:
        prepared = finish(Prepared(masked, random_pairs(PAIRS), limits).run())
        gates = torch.linspace(0.1, 1, masked.graph.n_edges).to(masked.device)
        kl, error, gradient = loss_of_gates(prepared, full_circuit(masked.graph), 5)(gates, [4, 0, 2, 1, 3], 0.3)
        return np.array([kl, error, *gradient.tolist()])

    with in_double():
        want = loss(opened("llama"), Limits())
        for count in (1, 2):
            with cards(*[ROOM] * count):
                close(loss(opened("llama", "auto"), Limits(batch=2, aside=True)), want, f"{count} cards")


def everything(masked: MaskedModel) -> tuple[Run, dict[str, Any]]:
    """A run, and what can be asked of it."""
    run = api.discover(masked, "ioi", **SETTINGS)
    bench = Bench(*stored_prompts(masked, run, "test", 2))
    said = [bench.read(run.circuits[run.main].circuit), bench.corrupted()]
    said += [bench.without_edge((writer, -1)) for writer in (0, 1, masked.graph.mlp_row(2))]
    numbers: dict[str, Any] = {"readings": [reading.logit_diff for reading in said]}
    numbers["pattern"] = bench.attention(3, 1)["clean"]
    for kind in ABLATIONS:
        numbers[kind] = [row["kl"] for row in api.evaluate(masked, run, ablation=kind).values()]
    return run, numbers


@pytest.mark.parametrize("family", ["gpt2", "llama", "gemma2"])
def test_a_run_is_that_of_one_device(family: str) -> None:
    want, numbers = everything(opened(family))
    with cards(ROOM, ROOM):
        run, got = everything(opened(family, "auto"))
    assert {name: one.circuit for name, one in run.circuits.items()} == {n: o.circuit for n, o in want.circuits.items()}
    close([step["kl"] for step in run.history], [step["kl"] for step in want.history], "descent", ROUNDED)
    shared_work.agree([run.metrics, run.roles], [want.metrics, want.roles])
    for name, values in numbers.items():
        close(got[name], values, name, ROUNDED)


def test_weights_stay_as_narrow_as_they_are_stored(tmp_path: Path) -> None:
    """A folder in bfloat16, opened onto two cards as the terminal does it."""
    hf_model("llama", layers=4).to(torch.bfloat16).save_pretrained(tmp_path)
    tokenizer().save(str(tmp_path / "tokenizer.json"))
    want = scores_of(open_masked(load_model(str(tmp_path))), random_pairs(PAIRS))
    with cards(ROOM, ROOM):
        masked = open_masked(load_model(str(tmp_path), device="cuda", layers_on="cuda:0,cuda:1"))
        kept = [layer.self_attn.q_proj.weight.raw() for layer in masked.model.hf_model.model.layers]
        got = scores_of(masked, random_pairs(PAIRS))
    assert [str(raw.device) for raw in kept] == ["cuda:0", "cuda:0", "cuda:1", "cuda:1"]
    assert {raw.dtype for raw in kept} == {torch.bfloat16}
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-4 * np.abs(want).max())


def test_a_delta_is_sent_once_to_each_later_card_that_reads_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """And none to a card that does not."""
    tapes: list[Tape] = []
    forward = Receive.forward

    def seen(ctx: Any, token: Any, tape: Tape, before: list[Tape]) -> Any:
        tapes[:] = [*before, tape]
        return forward(ctx, token, tape, before)

    monkeypatch.setattr(Receive, "forward", staticmethod(seen))
    with cards(ROOM, ROOM, ROOM):
        masked = opened("llama", "auto")
        graph, (one, two, three) = masked.graph, masked.stretches
        mask = torch.zeros(graph.edge_mask.shape)
        for edge in ("input m0", "m0 m1", "m0 m4", "m1 m2", "m2 logits", "m4 logits"):
            mask[graph.edge(*edge.split())] = 1.0
        batch = to_batch(random_pairs(PAIRS), masked.device)
        corrupt = masked.trace(batch.corrupt, batch.last)
        masked.logits(mask.to(masked.device), masked.embed(batch.clean), corrupt, batch.last)
    rows = {
        (a, b): [graph.writers[w].name for w in tapes[b].plan.writers[1][tapes[a].sent(tapes[b], 1)[0]]]
        for a, b in ((0, 1), (0, 2), (1, 2))
    }
    assert (one.end, two.end, three.end) == (1, 3, 5)
    assert rows == {(0, 1): ["m0"], (0, 2): ["m0"], (1, 2): ["m2"]}  # m1 is read on its own card alone


def test_a_run_on_cards_has_the_id_of_one_without() -> None:
    """It is a matter of the machine. What each card will hold is told, and what will not fit."""
    said: list[str] = []
    with cards(600_000, 600_000):
        masked = opened("gpt2", "auto")
        assert len(masked.stretches) == 2
        whole = api.discover(
            masked, "ioi", **SETTINGS, method="eap", progress=lambda record: said.append(record.message)
        )
        spread = api.discover(masked, "ioi", **SETTINGS, method="eap", layers_on="auto")
    (told,) = {text for text in said if text.startswith("About to hold")}
    assert re.match(r"About to hold on cuda:0 .* GB.*, cuda:1 .* GB \(no room for the ", told)
    assert told.endswith(": give less --memory, or more cards)")
    assert spread.id == whole.id
    assert "layers_on" not in spread.settings
