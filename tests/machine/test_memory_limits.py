"""A run within a memory budget, on a full device, with a chosen precision or number of kept edges."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch

from hap_engine.errors import OutOfMemoryError, SettingsError
from hap_engine.machine import estimate
from hap_engine.machine.memory import Limits
from hap_engine.machine.speed import Machine
from hap_engine.masked.masked_pass import MaskedModel
from hap_engine.masked.prompt_cache import Prepared
from hap_engine.models.shape import Shape
from hap_engine.settings import DiscoveryConfig, PruningConfig
from hap_engine.tasks.task import SplitSizes
from hap_engine.transformer.load import Model
from hap_engine.workflows import discover as discovery
from hap_engine.workflows.discover import discover
from hap_engine.workflows.two_stages import choose_candidates
from tests.builders.tiny_models import MACHINE, finish, random_pairs

SHAPE = Shape(12, 12, 12, 768, 64, 3072, 2, 50_257, True)
CONFIG = DiscoveryConfig(
    model="tiny", sparsity=0.8, keep=0.6, sizes=SplitSizes(8, 8, 8), pruning=PruningConfig(steps=4, batch_size=4)
)


@pytest.fixture(scope="module")
def model(gpt2: MaskedModel) -> Model:
    return gpt2.model


def test_less_memory_means_smaller_parts_and_then_an_error() -> None:
    found = []
    for memory in (None, 60.0, 1.4, 1.25):
        config = dataclasses.replace(CONFIG, memory=memory)
        limits = estimate.limits_within(config, SHAPE, 20)
        found.append(limits)
        if memory is not None:
            assert estimate._bytes(config, SHAPE, 20, limits) <= memory * 1e9
    assert found[0] == Limits()
    batches = [limits.batch for limits in found[1:]]
    assert batches[0] > batches[1] > batches[2]
    with pytest.raises(SettingsError, match=r"one prompt at a time.*got 0.1 GB.*--memory"):
        estimate.limits_within(dataclasses.replace(CONFIG, memory=0.1), SHAPE, 20)
    with pytest.raises(SettingsError, match=r"memory above 0 and below 100,000 GB, got 0 GB"):
        dataclasses.replace(CONFIG, memory=0)


def test_a_run_in_parts_is_the_same_run(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = finish(discover(CONFIG, model))
    monkeypatch.setattr(discovery, "limits_within", lambda *_: Limits(batch=1, cache=0))
    parts = finish(discover(dataclasses.replace(CONFIG, memory=9.0), model))
    assert "--memory 9.0" in parts.command
    assert parts.circuits["hap"].circuit == whole.circuits["hap"].circuit
    assert parts.metrics["hap"]["kl"] == pytest.approx(whole.metrics["hap"]["kl"], rel=1e-3)


@pytest.mark.parametrize(
    "failure",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"),
        torch.OutOfMemoryError("Allocation on device"),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried …"),
    ],
)
def test_a_full_device_is_told_and_the_next_run_works(
    model: Model, monkeypatch: pytest.MonkeyPatch, failure: Exception
) -> None:
    def fails(*_: Any, **__: Any) -> Iterator[Any]:
        raise failure
        yield

    with monkeypatch.context() as patch:
        patch.setattr(discovery, "find_circuit", fails)
        with pytest.raises(OutOfMemoryError, match=r"room for a run on cpu.*--memory") as error:
            finish(discover(CONFIG, model))
        assert error.value.__cause__ is None
    assert finish(discover(CONFIG, model)).metrics["hap"]["n_prompts"] == 8


def test_other_errors_are_not_taken_for_a_full_device(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: Any, **__: Any) -> Iterator[Any]:
        raise RuntimeError("shapes do not match")
        yield

    monkeypatch.setattr(discovery, "find_circuit", fails)
    with pytest.raises(RuntimeError, match="shapes do not match"):
        finish(discover(CONFIG, model))


def test_the_precision_is_the_faster_one_here(monkeypatch: pytest.MonkeyPatch) -> None:
    def choose(bfloat16: float) -> str:
        machine = Machine(1e11, bfloat16, 6e10, 1e-6, 2)
        monkeypatch.setattr(estimate.Shape, "of", lambda config: SHAPE)
        return estimate.faster_dtype(DiscoveryConfig(sparsity=0.99), machine)

    assert choose(4e11) == "bfloat16"
    assert choose(1e11) == "float32"
    assert choose(2e10) == "float32"
    elsewhere = dataclasses.replace(CONFIG, model="hap-mini", device="cuda")
    assert estimate.faster_dtype(elsewhere, MACHINE) == "float32", "only the processor was measured"


def test_a_level_keeps_as_few_edges_as_reach_it(gpt2: MaskedModel) -> None:
    """By scanning every size: the bisection's answer reaches the level, and is near the first that does."""
    prepared = finish(Prepared(gpt2, random_pairs([5, 6, 5, 6])).run())
    graph = gpt2.graph
    scores = np.random.default_rng(0).normal(size=graph.edge_mask.shape) * graph.edge_mask
    sizes = []
    for level in (0.3, 0.9, 1.0):
        work = choose_candidates(prepared, scores, 10, level)
        messages = []
        while True:
            try:
                messages.append(next(work).message)
            except StopIteration as stop:
                sizes.append(len(stop.value))
                break
        assert messages
        assert all("alone have faithfulness" in text for text in messages)
    assert sizes == sorted(sizes)
    assert sizes[0] < graph.n_edges
    with pytest.raises(SettingsError, match="keep_level between 0 and 1"):
        dataclasses.replace(CONFIG, keep_level=1.5)


def test_kept_traces_are_those_of_the_prompts(masked: MaskedModel) -> None:
    """Of any length, in any order, and of the first few alone."""
    pairs = random_pairs([5, 8, 3, 8, 6])
    kept = finish(Prepared(masked, pairs).run())
    fresh = finish(Prepared(masked, pairs, Limits(cache=0)).run())
    aside = finish(Prepared(masked, pairs, Limits(aside=True)).run())
    for indices in ([2], [4, 0, 2], [3, 1]):
        batch, got, embed, full = kept.batch(indices)
        _, want, *_ = fresh.batch(indices)
        real = torch.arange(got.embed.shape[1]) <= batch.last[:, None]
        assert torch.allclose(got.embed[real], want.embed[real])
        for mine, theirs in zip(got.layers, want.layers, strict=True):
            for name in ("mlp_in", "slots", "z", "mlp_out"):
                one, other = got.whole(getattr(mine, name)), want.whole(getattr(theirs, name))
                assert torch.allclose(one[..., real, :], other[..., real, :], atol=1e-5)
        assert torch.allclose(got.final, want.final, atol=1e-5)
        moved = aside.batch(indices).corrupt
        for mine, theirs in zip(moved.layers, got.layers, strict=True):
            for one, other in zip(mine, theirs, strict=True):
                assert torch.equal(moved.whole(one), got.whole(other))
        few = kept.first(5 if 4 in indices else 4).batch(indices)
        assert torch.equal(few[1].places, got.places)
        assert torch.equal(few[3], full)
        assert torch.equal(few[2], embed)
    assert len(kept.first(2)) == 2


def test_aside_they_are_as_narrow_as_the_training(gpt2: MaskedModel) -> None:
    """But for what enters the first layer: whether two prompts differ there must not depend on rounding."""
    pairs, fast = random_pairs([5, 8, 3]), gpt2.with_dtype(torch.bfloat16)
    kept, aside = (finish(Prepared(fast, pairs, limits).run()) for limits in (Limits(), Limits(aside=True)))
    assert aside._kept is not None
    assert {x.dtype for layer in aside._kept._layers for x in layer} == {torch.bfloat16}
    (_, want, *_), (_, got, *_) = kept.batch([2, 0]), aside.batch([2, 0])
    assert torch.equal(got.embed, want.embed)
    assert torch.equal(got.final, want.final)
    for mine, theirs in zip(got.layers, want.layers, strict=True):
        for one, other in zip(mine, theirs, strict=True):
            assert torch.equal(got.whole(one), want.whole(other).to(torch.bfloat16).float())


def test_corrupt_runs_go_aside_before_they_are_computed_again() -> None:
    """Where that makes room: off a card, and on a processor in bfloat16."""
    found = estimate.limits_within(dataclasses.replace(CONFIG, memory=60.0), SHAPE, 20)
    assert found == Limits(16, cache=60 * 10**9), "all of them stay where there is room"
    many = dataclasses.replace(CONFIG, sizes=SplitSizes(200, 8, 8))
    narrow, card = dataclasses.replace(many, dtype="bfloat16"), dataclasses.replace(many, device="cuda")
    several = dataclasses.replace(card, layers_on="auto")
    for config, saves in ((many, False), (narrow, True), (several, True)):
        here, aside = (estimate._bytes(config, SHAPE, 20, limits) for limits in (Limits(16), Limits(16, aside=True)))
        assert (aside < here) == saves
        given = dataclasses.replace(config, memory=(min(here, aside) + 1e3) / 1e9)
        found = estimate.limits_within(given, SHAPE, 20)
        assert (found.batch, found.aside) == (16, saves)
    given = dataclasses.replace(card, memory=(estimate._bytes(card, SHAPE, 20, Limits(16, aside=True)) + 1e3) / 1e9)
    assert estimate.limits_within(given, SHAPE, 20) == Limits(16, cache=0), "a recorded step computes them again"
