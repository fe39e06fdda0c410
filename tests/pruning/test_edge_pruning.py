"""Edge Pruning: budgets, schedules, determinism, and a planted circuit that it must find."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch

from hap_engine.attribution.scorers import score
from hap_engine.errors import SettingsError, UnknownNameError
from hap_engine.evaluation.measure import circuit_kl, mean_difference
from hap_engine.graph.circuit import Circuit, full_circuit
from hap_engine.graph.ranking import top_edges
from hap_engine.masked.masked_pass import MaskedModel
from hap_engine.masked.opening import open_masked
from hap_engine.masked.prompt_cache import Prepared
from hap_engine.pruning.budgets import BUDGETS, EverySize, Lagrangian, Leg, Projection, SharedAdam
from hap_engine.pruning.edge_pruning import PruningStep, cut, cut_live, prune, warm_start
from hap_engine.pruning.gates import open_probability, sample
from hap_engine.settings import PRESETS, PruningConfig
from tests.builders.tiny_models import finish, hf_model, made_of, random_pairs


@pytest.fixture(scope="module")
def prepared(gpt2: MaskedModel) -> Prepared:
    return finish(Prepared(gpt2, random_pairs([5, 6, 7, 5, 6])).run())


def learn(
    prepared: Prepared, candidates: Circuit, target: int, config: PruningConfig, **more: Any
) -> tuple[list[PruningStep], np.ndarray]:
    steps, work = [], prune(prepared, candidates, target, config, **more)
    while True:
        try:
            steps.append(next(work))
        except StopIteration as stop:
            return steps, stop.value


def test_projection_meets_its_schedule_at_every_step(prepared: Prepared) -> None:
    candidates, target = full_circuit(prepared.masked.graph), 20
    config = PruningConfig(steps=20, batch_size=3)
    steps, log_alpha = learn(prepared, candidates, target, config)
    assert [s.step for s in steps] == list(range(1, 21))
    for s in steps:
        assert s.expected == pytest.approx(s.budget, rel=1e-4)
        assert s.log_alpha.shape == (len(candidates),)
        assert 0 <= s.open <= len(candidates)
        assert 0 <= s.undecided <= len(candidates)
        assert s.kl >= -1e-5
    budgets = [s.budget for s in steps]
    start = float(open_probability(torch.full((len(candidates),), config.init)).sum())
    for step, budget in enumerate(budgets, 1):  # geometric over 70 % of the steps, then flat
        assert budget == pytest.approx(start * (target / start) ** min(1, step / 14))
    assert np.array_equal(log_alpha, steps[-1].log_alpha)
    assert len(cut(candidates, log_alpha, target)) == target


def test_an_open_gate_costs_nothing_at_the_start(prepared: Prepared) -> None:
    """The first mask is nearly all ones, so KL starts near 0."""
    config = PruningConfig("projection", steps=1, batch_size=5, init=20.0)
    (first,), _ = learn(prepared, full_circuit(prepared.masked.graph), 20, config)
    assert first.kl == pytest.approx(0, abs=1e-5)


def test_every_size_is_cut_between_its_front_and_its_start(prepared: Prepared) -> None:
    log_alpha = torch.linspace(1, 5, 400, requires_grad=True)
    config = PruningConfig(steps=100)
    budget = EverySize(log_alpha, 20, config)
    generator, at_front = torch.Generator().manual_seed(0), 0
    for step in range(1, 101):
        front = budget.scheduled(step)
        open_gates = int((budget.sample(generator, step) > 0).sum())
        assert 0.5 * front - 10 <= open_gates <= budget.start + 20
        at_front += abs(open_gates - front) < 4 * front**0.5
    assert at_front >= 60
    assert torch.equal(log_alpha.detach(), torch.linspace(1, 5, 400)), "sampling moves nothing"


def test_gradients_of_all_sizes_can_pull_alike(prepared: Prepared, monkeypatch: pytest.MonkeyPatch) -> None:
    """Divided by their RMS, the gradients that reach the gates have an RMS of 1; with 0 they are as they were."""
    seen: list[float] = []
    real = EverySize.step

    def watched(self: EverySize, gradient: torch.Tensor, z: torch.Tensor, step: int) -> float:
        seen.append(float(gradient.square().mean().sqrt()))
        return real(self, gradient, z, step)

    monkeypatch.setattr(EverySize, "step", watched)
    for evens in (1.0, 0.0):
        monkeypatch.setattr(EverySize, "evens", evens)
        learn(prepared, full_circuit(prepared.masked.graph), 20, PruningConfig(steps=4, batch_size=4))
    assert seen[:4] == pytest.approx([1.0] * 4, rel=1e-5)
    assert max(seen[4:]) < 0.5


@pytest.mark.parametrize(("count", "target", "steps"), [(28_000, 706, 300), (607, 30, 300), (90, 30, 300), (25, 4, 5)])
def test_legs_take_all_steps_and_reach_the_target(count: int, target: int, steps: int) -> None:
    legs = EverySize.legs(count, target, steps)
    assert sum(leg.steps for leg in legs) == steps
    assert legs[0].candidates == count
    assert legs[-1].target <= target
    assert all(leg.target < leg.candidates for leg in legs)
    assert all(later.candidates >= earlier.target for earlier, later in pairwise(legs))
    whole = [Leg(steps, count, target)]
    assert Projection.legs(count, target, steps) == Lagrangian.legs(count, target, steps) == whole


def test_lagrangian_moves_towards_its_target(prepared: Prepared) -> None:
    candidates = full_circuit(prepared.masked.graph)
    config = PruningConfig(budget="lagrangian", steps=300, batch_size=4, lr=0.8)
    steps, _ = learn(prepared, candidates, 30, config)
    opened = [s.expected for s in steps]
    assert opened[0] > 0.95 * len(candidates)
    assert abs(np.mean(opened[-5:]) - 30) < 0.25 * (len(candidates) - 30)
    goals = [s.budget for s in steps]
    assert goals == sorted(goals, reverse=True)
    assert goals[-1] == pytest.approx(30, abs=1e-3)
    assert goals[0] == pytest.approx(len(candidates) - (len(candidates) - 30) / (300 * 2500 / 3000))


@pytest.mark.parametrize("budget", BUDGETS)
def test_one_seed_gives_one_result(prepared: Prepared, budget: str) -> None:
    candidates = full_circuit(prepared.masked.graph)
    # a large step size: the published start (log alpha 10) has no gradient for its first steps
    config = PruningConfig(budget=budget, steps=10, batch_size=3, lr=8)
    runs = [learn(prepared, candidates, 20, config, seed=seed) for seed in (5, 5, 6)]
    assert np.array_equal(runs[0][1], runs[1][1]), "bitwise"
    assert [s.kl for s in runs[0][0]] == [s.kl for s in runs[1][0]]
    assert not np.array_equal(runs[0][1], runs[2][1])


def test_a_step_may_close_every_gate(prepared: Prepared) -> None:
    """With two edges left in the budget most samples have no path from input to logits at all."""
    config = PruningConfig(steps=12, batch_size=2, descent=0.1)
    steps, _ = learn(prepared, full_circuit(prepared.masked.graph), 1, config)
    assert len(steps) == 12


def test_settings_may_be_whole_numbers(prepared: Prepared) -> None:
    config = PruningConfig(steps=1, init=3, warm_start=0)
    learn(prepared, full_circuit(prepared.masked.graph), 20, config)


def test_gradients_stay_on_for_the_consumer(prepared: Prepared) -> None:
    """A generator must not leave the caller's grad mode changed while it is suspended."""
    work = prune(prepared, full_circuit(prepared.masked.graph), 20, PruningConfig(steps=2))
    next(work)
    inside = torch.is_grad_enabled()
    work.close()
    assert torch.is_grad_enabled()
    assert inside


def test_fewer_candidates_than_the_target(prepared: Prepared) -> None:
    graph = prepared.masked.graph
    few = Circuit.from_names(graph, [("input", "logits")])
    with pytest.raises(SettingsError, match=r"at least 20 candidate edges.* got 1 on"):
        learn(prepared, few, 20, PruningConfig())


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"steps": 0}, "steps from 1"),
        ({"batch_size": 2000}, "batch_size from 1 to 1,024"),
        ({"lr": 0}, "lr in"),
        ({"lr": float("nan")}, "lr in"),
        ({"descent": 1.5}, "descent in"),
        ({"clip": -1.0}, "clip from 0"),
        ({"clip": float("nan")}, "clip from 0"),
        ({"ld_weight": -0.1}, "ld_weight from 0"),
    ],
)
def test_settings_out_of_range(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(SettingsError, match=words):
        PruningConfig(**changes)


def test_unknown_budget_method() -> None:
    with pytest.raises(UnknownNameError, match="Did you mean 'projection'"):
        PruningConfig(budget="projecton")


def test_a_warm_start_follows_the_ranks(prepared: Prepared) -> None:
    graph = prepared.masked.graph
    candidates = full_circuit(graph)
    config = PruningConfig(steps=1, lr=1e-6, warm_start=4, descent=1)
    scores = np.random.default_rng(0).normal(size=graph.edge_mask.shape)
    (first,), _ = learn(prepared, candidates, 20, config, start=warm_start(candidates, config, scores))
    by_score = np.abs(scores[candidates.kept]).argsort()
    assert np.array_equal(first.log_alpha.argsort(), by_score)
    assert np.ptp(first.log_alpha) == pytest.approx(4, abs=1e-3)
    (equal,), _ = learn(prepared, candidates, 20, config)
    assert np.ptp(equal.log_alpha) < 1e-3, "without scores all gates start equal"


def test_the_best_state_on_validation_prompts_wins(prepared: Prepared) -> None:
    candidates, target = full_circuit(prepared.masked.graph), 20
    config = PruningConfig(steps=60, batch_size=3, descent=0.3, lr=3.0, patience=100)
    steps, chosen = learn(prepared, candidates, target, config, validation=prepared)
    looked = [s for s in steps if s.validation is not None]
    assert [s.step for s in looked] == [20, 30, 40, 50, 60], "from the target on, every ten steps"
    best = min(looked, key=lambda s: s.validation or 0.0)
    assert np.array_equal(chosen, best.log_alpha)
    circuit = cut_live(candidates, chosen, target)
    assert circuit_kl(prepared, circuit) == pytest.approx(best.validation, rel=1e-5)


def test_a_ranked_start_is_never_made_worse(prepared: Prepared) -> None:
    """Steps that only spoil the gates leave the circuit that the scores alone would choose."""
    graph = prepared.masked.graph
    candidates, config = full_circuit(graph), PruningConfig(steps=4, lr=10.0, warm_start=9.0)
    order = finish(score(prepared, "eap-ig-kl"))
    start = warm_start(candidates, config, order)
    by_scores = circuit_kl(prepared, cut_live(candidates, start, 20))
    for seed in range(3):
        _, chosen = learn(prepared, candidates, 20, config, seed=seed, start=start, validation=prepared)
        assert circuit_kl(prepared, cut_live(candidates, chosen, 20)) <= by_scores + 1e-6


def test_one_odd_batch_closes_no_gate() -> None:
    """A gradient of forty times the usual moves its gate a little down, or far up; the others keep their pace."""
    ordinary = torch.tensor([0.0, 0.0, *[0.1] * 9_998])
    odd = ordinary.clone()
    odd[:2] = torch.tensor([40.0, -40.0])
    moved = {}
    for clip in (1.0, 0.0):
        gates_at = torch.zeros(10_000)
        optimiser = SharedAdam(gates_at, lr=1.0, clip=clip)
        for gradient in (*[ordinary] * 30, odd, *[ordinary] * 30):
            optimiser.step(gradient)
        moved[clip] = gates_at
    assert moved[0.0][0] < -20, "without a limit it is thrown out of reach"
    assert -3 < moved[1.0][0] < -1
    assert moved[1.0][1] > 5, "what nothing works without gets out of the noise's reach"
    torch.testing.assert_close(moved[1.0][2:], moved[0.0][2:], rtol=1e-3, atol=0)


def test_a_settled_descent_ends_early(prepared: Prepared) -> None:
    config = PruningConfig(steps=200, batch_size=3, descent=0.1, lr=1e-9, patience=2)
    steps, _ = learn(prepared, full_circuit(prepared.masked.graph), 20, config, validation=prepared)
    assert steps[-1].step == 40, "looks at 20 (the best), 30 and 40 (no better)"


def test_a_descent_goes_on_to_a_tighter_target(prepared: Prepared) -> None:
    candidates = full_circuit(prepared.masked.graph)
    config = PruningConfig("projection", steps=10, batch_size=3)
    _, first = learn(prepared, candidates, 40, config)
    steps, second = learn(prepared, candidates, 10, config, start=first)
    assert steps[0].budget < 50 < len(candidates) / 2, "from what is open, not from everything"
    assert steps[-1].budget == pytest.approx(10)
    kept = cut(candidates, second, 10).kept
    assert (kept & cut(candidates, first, 40).kept).sum() >= 8, "and mostly keeps what was kept"


def test_the_published_start_is_normal(prepared: Prepared) -> None:
    config = PruningConfig(budget="lagrangian", steps=1, lr=1e-9)
    (first,), _ = learn(prepared, full_circuit(prepared.masked.graph), 20, config)
    assert first.log_alpha.mean() == pytest.approx(10, abs=0.01)
    assert first.log_alpha.std() == pytest.approx(0.01, rel=0.3)


def test_divergence_is_told(prepared: Prepared) -> None:
    config = PruningConfig(steps=2, init=float("nan"))
    with pytest.raises(SettingsError, match="diverged"):
        learn(prepared, full_circuit(prepared.masked.graph), 20, config)


def test_cut_takes_the_largest(prepared: Prepared) -> None:
    graph = prepared.masked.graph
    candidates = Circuit.from_names(graph, [("input", "m0"), ("input", "logits"), ("m0", "logits")])
    kept = cut(candidates, np.array([0.5, -1.0, 2.0]), 2)
    assert kept.names() == [("input", "m0"), ("m0", "logits")]
    assert len(cut(candidates, np.zeros(3), 0)) == 0


PLANTED = [
    ("input", "a1.h2<q>"),
    ("input", "a1.h2<k>"),
    ("input", "a1.h2<v>"),
    ("input", "logits"),
    ("a1.h2", "logits"),
]


@pytest.fixture(scope="module")
def planted() -> Prepared:
    """A GPT-2 in which head a1.h2 alone writes anything: only five edges can matter."""
    hf = hf_model("gpt2", seed=1)
    with torch.no_grad():
        for layer, block in enumerate(hf.base_model.h):
            block.mlp.c_proj.weight.zero_()
            for head in range(4):
                rows = block.attn.c_proj.weight[8 * head : 8 * head + 8]
                rows.mul_(3 if (layer, head) == (1, 2) else 0)
    return finish(Prepared(open_masked(made_of(hf)), random_pairs([6] * 12, seed=3)).run())


def test_the_planted_edges_are_all_that_matters(planted: Prepared) -> None:
    scores = finish(score(planted))
    graph = planted.masked.graph
    strong = np.abs(scores) > 1e-5 * np.abs(scores).max()
    assert set(Circuit(graph, strong).names()) == set(PLANTED)


@pytest.mark.parametrize("method", ["ep", "hap"])
@pytest.mark.parametrize("seed", [0, 1])
def test_a_planted_circuit_is_found(planted: Prepared, method: str, seed: int) -> None:
    """Edge precision and recall 1.0."""
    graph = planted.masked.graph
    candidates = full_circuit(graph)
    if method == "hap":
        candidates = top_edges(graph, finish(score(planted, "eap-ig")), 40).live
    _, log_alpha = learn(planted, candidates, 5, PruningConfig(steps=40), seed=seed)
    assert set(cut(candidates, log_alpha, 5).live.names()) == set(PLANTED)


def test_the_logit_difference_can_be_held(prepared: Prepared) -> None:
    """With weight on its mean error, circuits of one size come nearer to the full model's logit difference."""
    candidates, target = full_circuit(prepared.masked.graph), 20
    wanted, off = mean_difference(prepared, None), {}
    for weight in (0.0, 1.0):
        config = PruningConfig(steps=120, batch_size=3, descent=0.5, ld_weight=weight)
        _, chosen = learn(prepared, candidates, target, config)
        found = mean_difference(prepared, cut_live(candidates, chosen, target))
        off[weight] = abs(found - wanted)
    assert off[1.0] < 0.5 * off[0.0]


@pytest.mark.parametrize("budget", BUDGETS)
def test_a_descent_that_stopped_goes_on_to_the_bit(prepared: Prepared, budget: str) -> None:
    candidates, target = full_circuit(prepared.masked.graph), 20
    config = PruningConfig(budget=budget, steps=60, batch_size=3, descent=0.3, ld_weight=0.1)
    validation = prepared if BUDGETS[budget].keeps_best else None
    whole, wanted = learn(prepared, candidates, target, config, validation=validation)
    for stop in (1, 40):
        work = prune(prepared, candidates, target, config, validation=validation)
        state = [next(work) for _ in range(stop)][-1].state()
        work.close()
        rest, got = learn(prepared, candidates, target, config, validation=validation, resume=state)
        assert [s.step for s in rest] == [s.step for s in whole[stop:]]
        assert [s.kl for s in rest] == [s.kl for s in whole[stop:]]
        assert [s.validation for s in rest] == [s.validation for s in whole[stop:]]
        assert np.array_equal(got, wanted)


def test_a_state_goes_on_where_its_gates_are() -> None:
    """It is kept on the processor; what is added to gradients must be on their device (here one without numbers)."""
    here, there = torch.zeros(6, requires_grad=True), torch.zeros(6, device="meta")
    kept = SharedAdam(here, 1.0, 1.0)
    kept.step(torch.ones(6))
    moved = SharedAdam(there, 1.0, 1.0)
    moved.restore(kept.state())
    assert moved.mean.device == moved.square.device == there.device

    published = Lagrangian(here, 2, PRESETS["published"])
    published.step(torch.ones(6), sample(here, torch.Generator()), 1)
    state = published.state()
    published.log_alpha = there
    published.restore(state)
    moments = published.optimiser.state[there]
    assert moments["exp_avg"].device == moments["exp_avg_sq"].device == there.device
    assert moments["step"].device.type == "cpu", "as AdamW keeps it"
