"""Nothing of a pass outlives it: a graph that holds itself is never freed, not even by Python's collector."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator
from typing import Any

import pytest
import torch

from hap_engine.attribution import edge_gradients
from hap_engine.attribution.scorers import SCORERS, score
from hap_engine.graph.circuit import full_circuit
from hap_engine.masked import delta_buffer
from hap_engine.masked.masked_pass import MaskedModel
from hap_engine.masked.prompt_cache import Prepared
from hap_engine.pruning.gate_loss import gate_loss
from hap_engine.pruning.gates import sample
from tests.builders.tiny_models import finish, random_pairs


@pytest.fixture
def born(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Any]]:
    """Weak references to the tapes and gradient collectors that are made; the collector is off."""
    refs: list[Any] = []
    for kind in (delta_buffer.Tape, edge_gradients.EdgeGradients):

        def remember(self: Any, *args: Any, _make: Any = kind.__init__, **more: Any) -> None:
            _make(self, *args, **more)
            refs.append(weakref.ref(self))

        monkeypatch.setattr(kind, "__init__", remember)
    gc.collect()
    gc.disable()
    yield refs
    gc.enable()


@pytest.mark.parametrize("scorer", SCORERS)
def test_scoring_keeps_no_graph(gpt2: MaskedModel, born: list[Any], scorer: str) -> None:
    prepared = finish(Prepared(gpt2, random_pairs([5, 6, 7])).run())
    finish(score(prepared, scorer, batch_size=2))
    assert len(born) >= 2
    assert all(ref() is None for ref in born)


def test_a_pruning_step_keeps_no_graph(llama: MaskedModel, born: list[Any]) -> None:
    prepared = finish(Prepared(llama, random_pairs([5, 6, 7])).run())
    candidates = full_circuit(llama.graph)
    z = sample(torch.zeros(len(candidates)), torch.Generator().manual_seed(0))
    gate_loss(prepared, candidates, z, [0, 1, 2])  # the first prompts of this length are compared with the model
    born.clear()
    gate_loss(prepared, candidates, z, [0, 1, 2])
    assert len(born) == 1
    assert born[0]() is None
