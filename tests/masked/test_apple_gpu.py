"""Everything runs unchanged on a GPU of Apple's, as far as a pretended one can show (`tests/builders/apple_gpu.py`)."""

from __future__ import annotations

from collections.abc import Iterator
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
from hap_engine.masked.masked_pass import MaskedModel
from hap_engine.masked.opening import open_masked
from hap_engine.masked.workspace import Workspace
from hap_engine.progress import drain
from hap_engine.runs.record import Run
from hap_engine.settings import PruningConfig
from hap_engine.transformer.batches import to_batch
from hap_engine.transformer.load import load_model
from hap_engine.workflows import retest
from tests.builders import apple_gpu
from tests.builders.apple_gpu import kernels, pretended
from tests.builders.descents import descent
from tests.builders.pretended import There
from tests.builders.tiny_models import FAMILIES, SIZES, random_pairs, saved

SETTINGS: dict[str, Any] = {
    "sparsity": 0.8,
    "keep": 0.6,
    "pruning": PruningConfig(steps=6, batch_size=4),
    "sizes": SIZES,
}
NUMBERS = {"rtol": 1e-4, "atol": 1e-5}  # of the same products in another order


@pytest.fixture
def mps() -> Iterator[None]:
    with pretended():
        yield


@pytest.fixture(params=FAMILIES)
def tiny(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A folder with a tiny model of each family, which was opened once: what transformers does the first time must
    be done where nothing is pretended, or the rotary frequencies stay what the memory held before."""
    folder = str(saved(request.param, tmp_path / "tiny"))
    opened(folder)
    return folder


def opened(path: str, device: str = "cpu") -> MaskedModel:
    """As `api.open_model`, but in this thread: what is pretended holds for one thread."""
    return open_masked(load_model(path, device=device))


def everything(masked: MaskedModel) -> tuple[Run, dict[str, np.ndarray]]:
    """A run with all that can be asked of it, and numbers on the way."""
    run = api.discover(masked, "ioi", **SETTINGS)
    numbers = {scorer: api.attribute(masked, run, scorer=scorer) for scorer in SCORERS}
    run = drain(retest.examine(masked, api.prune_on(masked, run, 0.9, steps=2)))
    bench = Bench(*stored_prompts(masked, run, "test", 2))
    bench.promoted("m0")
    bench.attention(1, 0)
    readings = [bench.read(run.circuits[run.main].circuit), bench.corrupted()]
    readings += [bench.without_edge((0, column)) for column in (0, -1)]
    numbers["readings"] = np.array([reading.logit_diff for reading in readings])
    return run, numbers


def test_the_whole_method_gives_what_it_gives_on_a_processor(tiny: str) -> None:
    want, numbers = everything(opened(tiny))
    with pretended():
        masked = opened(tiny, "mps")
        assert masked.device.type == "mps"
        assert isinstance(masked.blocks[0].w_in, There)
        run, found = everything(masked)
    for name, values in numbers.items():
        np.testing.assert_allclose(found[name], values, **NUMBERS, err_msg=name)
    assert run.circuits["hap"].circuit == want.circuits["hap"].circuit
    for name, row in want.metrics.items():
        assert run.metrics[name]["kl"] == pytest.approx(row["kl"], abs=1e-4), name


def test_a_descent_in_bfloat16(tiny: str) -> None:
    """All large products are in bfloat16 there, those with the delta buffer included."""
    with pretended():
        masked = opened(tiny, "mps")
        assert masked.with_dtype(torch.bfloat16).mix_dtype == torch.bfloat16
        kl = [state["kl"] for state in descent(masked, dtype="bfloat16", **SETTINGS)]
    exact = [state["kl"] for state in descent(opened(tiny), dtype="float32", **SETTINGS)]
    assert kl == pytest.approx(exact, rel=0.1)


def test_masks_of_any_size(tiny: str) -> None:
    """Where little is live, some of the products would have nothing to add up."""
    here = opened(tiny)
    given = [_some_edges(here, size) for size in (0, 1, 2, 5, 20, 60)]
    want = [_logits_and_gradient(here, *one) for one in given]
    with pretended():
        there = opened(tiny, "mps")
        found = [_logits_and_gradient(there, *one) for one in given]
    torch.testing.assert_close(found, want, **NUMBERS)


def _some_edges(masked: MaskedModel, size: int) -> tuple[list[Any], torch.Tensor]:
    """Prompts, and a mask with `size` edges chosen at random."""
    pairs, generator = random_pairs([7, 9, 9], seed=size), torch.Generator().manual_seed(size)
    edges = torch.from_numpy(full_circuit(masked.graph).kept)
    chosen = edges.nonzero()[torch.randperm(int(edges.sum()), generator=generator)[:size]]
    mask = torch.zeros(edges.shape)
    mask[chosen[:, 0], chosen[:, 1]] = torch.rand(size, generator=generator)
    return pairs, mask


def _logits_and_gradient(
    masked: MaskedModel, pairs: list[Any], mask: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    batch = to_batch(pairs, masked.device)
    leaf = mask.to(masked.device).requires_grad_()
    corrupt = masked.trace(batch.corrupt, batch.last)
    logits = masked.logits(leaf, masked.embed(batch.clean), corrupt, batch.last)
    (gradient,) = torch.autograd.grad(logits.square().sum(), leaf)
    return logits.detach().cpu(), gradient.cpu()


def test_it_refuses_what_torch_has_not_got_there(mps: None, monkeypatch: pytest.MonkeyPatch) -> None:
    assert {"addmm_", "index_add_", "baddbmm_", "bmm.out", "sin"} <= kernels()
    x, without = torch.rand(4, 4, device="mps"), kernels() - {"sin"}
    monkeypatch.setattr(apple_gpu, "kernels", lambda: without)
    with pytest.raises(NotImplementedError, match="sin is not there for mps"):
        x.sin()
    with pytest.raises(TypeError, match=r"no torch\.float64"):
        x.double()
    with pytest.raises(TypeError, match=r"no torch\.float64"):
        torch.zeros(3, dtype=torch.float64, device="mps")
    with pytest.raises(RuntimeError, match="one on the processor"):
        x + torch.rand(4, 4)


def test_it_refuses_products_that_fail_there(mps: None) -> None:
    x = torch.rand(4, 4, device="mps")
    with pytest.raises(RuntimeError, match="empty tensor"):
        x[:, :0] @ x[:0]
    with pytest.raises(RuntimeError, match="with gaps"):
        torch.zeros(4, 8, device="mps")[:, :4].addmm_(x, x)


def test_it_computes_as_a_processor_does(mps: None) -> None:
    """Views, numbers set by indexing, memory used again, gradients across devices."""
    x = torch.arange(6.0).requires_grad_()
    y = x.to("mps").view(2, 3)
    z = y * 2
    z[:, 1:] = 7
    z[[0], :1] += y.new_ones(1)
    z.sum().backward()
    assert z.tolist() == [[1, 7, 7], [6, 7, 7]]
    assert x.grad is not None
    assert x.grad.tolist() == [2, 0, 0, 2, 0, 0]
    workspace = Workspace()
    first = workspace.take("any", (2, 3), torch.float32, y.device).fill_(5)
    workspace.give("any", first)
    assert workspace.take("any", (2, 2), torch.float32, y.device).tolist() == [[5, 5], [5, 5]]
