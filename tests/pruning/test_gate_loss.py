"""Gradients of the gates: in parts, with the logit difference held, and by the fixed plan of a recording."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from hap_engine.evaluation.metrics import logit_difference
from hap_engine.graph.circuit import full_circuit
from hap_engine.graph.ranking import top_edges
from hap_engine.machine.memory import Limits
from hap_engine.masked.masked_pass import MaskedModel
from hap_engine.masked.opening import open_masked
from hap_engine.masked.plan import Plan
from hap_engine.masked.prompt_cache import Prepared
from hap_engine.pruning.gate_loss import Recorded, _Edges, _fixed, gate_loss, loss_of_gates
from hap_engine.pruning.gates import sample
from hap_engine.transformer.load import load_model
from tests.builders.tiny_models import finish, random_pairs

LENGTHS = [5, 6, 7, 5, 6]


def gates(count: int, middle: float = 0.0) -> torch.Tensor:
    return sample(torch.full((count,), middle), torch.Generator().manual_seed(0))


def test_parts_of_a_batch_add_up(gpt2: MaskedModel) -> None:
    """Gradients of parts are those of the whole batch, whatever the prompts' lengths."""
    pairs = random_pairs(LENGTHS)
    candidates = full_circuit(gpt2.graph)
    z = gates(len(candidates))
    found = []
    for limits in (Limits(), Limits(batch=2), Limits(batch=1, cache=0)):
        prepared = finish(Prepared(gpt2, pairs, limits).run())
        assert max(map(len, prepared.parts(range(5)))) <= limits.batch
        found.append(gate_loss(prepared, candidates, z, list(range(5)), slope=0.3))
    whole, *others = found
    for other in others:
        assert other.kl == pytest.approx(whole.kl, rel=1e-5)
        assert other.error == pytest.approx(whole.error, rel=1e-4)
        torch.testing.assert_close(other.gradient, whole.gradient, rtol=1e-4, atol=1e-6)


def test_the_error_is_that_of_the_mean_logit_difference(gpt2: MaskedModel) -> None:
    prepared = finish(Prepared(gpt2, random_pairs(LENGTHS)).run())
    candidates, every = full_circuit(gpt2.graph), list(range(5))
    z, edges = gates(len(candidates)), _Edges(candidates, gpt2.device)
    scene = prepared.batch(every)

    def error(values: torch.Tensor) -> torch.Tensor:
        logits = gpt2.logits(edges.mask(values), scene.clean, scene.corrupt, scene.batch.last)
        sets = scene.batch.answer, scene.batch.distractor
        return (logit_difference(logits, *sets) - logit_difference(scene.full, *sets)).mean()

    plain, held = (gate_loss(prepared, candidates, z, every, slope) for slope in (0.0, 2.0))
    assert held.error == plain.error == pytest.approx(error(z).item(), rel=1e-5)
    leaf = z.clone().requires_grad_()
    (wanted,) = torch.autograd.grad(error(leaf), leaf)
    torch.testing.assert_close((held.gradient - plain.gradient) / 2, wanted, rtol=1e-3, atol=1e-6)


class NothingWaits(TorchDispatchMode):
    """Refuses what a recording cannot hold: reading a number, shapes that depend on one, copies from the host."""

    FORBIDDEN = ("_local_scalar_dense", "nonzero", "lift_fresh", "unique", "masked_select")

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None) -> Any:
        name = func._schema.name.removeprefix("aten::")
        assert not name.startswith(self.FORBIDDEN), name
        if name.startswith("index"):
            masks = [x for x in args[1] or () if x is not None] if name == "index" else []
            assert all(x.dtype == torch.long for x in masks), "a mask of unknown number"
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("cache", [Limits().cache, 0], ids=["kept", "traced anew"])
@pytest.mark.parametrize("share", [1.0, 0.2])
def test_a_fixed_plan_gives_the_same(masked: MaskedModel, share: float, cache: int) -> None:
    """What a GPU records (`Recorded`) is `gate_loss`, also with closed gates, and never waits."""
    prepared = finish(Prepared(masked, random_pairs(LENGTHS), Limits(cache=cache)).run())
    graph = masked.graph
    scores = torch.rand(graph.edge_mask.shape, generator=torch.Generator().manual_seed(1)).numpy()
    candidates = top_edges(graph, scores, int(share * graph.n_edges)).live
    edges, plan = _Edges(candidates, masked.device), Plan(candidates)
    rows, slope = torch.tensor([3, 1, 4]), torch.tensor(0.5)
    for middle in (2.0, -1.0):  # some gates closed; most
        z = gates(len(candidates), middle)
        wanted = gate_loss(prepared, candidates, z, rows.tolist(), 0.5)
        _fixed(prepared, masked, edges, plan, z, rows, slope)  # makes the lists of indices
        with NothingWaits():
            kl, error, gradient = _fixed(prepared, masked, edges, plan, z, rows, slope)
        assert kl.item() == pytest.approx(wanted.kl, rel=1e-5)
        assert error.item() == pytest.approx(wanted.error, rel=1e-4, abs=1e-6)
        live = z > 0  # a closed gate passes no gradient on, so `gate_loss` need not know it
        torch.testing.assert_close(gradient[live], wanted.gradient[live], rtol=1e-3, atol=1e-5)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_recording_repeats_itself_on_other_prompts() -> None:
    masked = open_masked(load_model("hap-mini", device="cuda"))
    prepared = finish(Prepared(masked, random_pairs(LENGTHS)).run())
    candidates = full_circuit(prepared.masked.graph)
    recorded = loss_of_gates(prepared, candidates, 3)
    assert isinstance(recorded, Recorded)
    for indices, middle in (([0, 1, 2], 2.0), ([4, 2, 0], -1.0), ([0, 1, 2], 2.0)):
        z = gates(len(candidates), middle).cuda()
        wanted, got = (gate_loss(prepared, candidates, z, indices, 0.5), recorded(z, indices, 0.5))
        assert got.kl == pytest.approx(wanted.kl, rel=1e-5)
        torch.testing.assert_close(got.gradient[z > 0], wanted.gradient[z > 0], rtol=1e-3, atol=1e-5)
