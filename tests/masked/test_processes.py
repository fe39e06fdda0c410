"""One run over several processes (gloo, on the processor) is the run of one, to rounding."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from hap_engine.errors import SettingsError
from hap_engine.masked import processes
from tests.builders import shared_work


@pytest.fixture(scope="module", params=[2, 3])
def shared(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, int]:
    """The folder with what each of some processes found."""
    folder = tmp_path_factory.mktemp("shared")
    shared_work.torchrun(request.param, Path(shared_work.__file__), str(folder))
    return folder, request.param


@pytest.mark.parametrize("family", shared_work.FAMILIES)
def test_loss_gradient_and_scores_are_those_of_one_process(shared: tuple[Path, int], family: str) -> None:
    folder, count = shared
    alone = shared_work.found(family)
    for number in range(count):
        with np.load(folder / f"{family}-{number}.npz") as together:
            for name, wanted in alone.items():
                exact = 1e-9 if name in ("loss", "gradient") else 1e-6  # scores are added up in float32
                assert np.abs(together[name] - wanted).max() <= exact * np.abs(wanted).max(), name


def test_a_run_is_that_of_one_process(shared: tuple[Path, int]) -> None:
    folder, count = shared
    for family, budget in shared_work.RUNS[count]:
        first, *others = (json.loads((folder / f"{family}-{budget}-{n}.json").read_text()) for n in range(count))
        assert others == [first] * (count - 1)  # every process knows the same
        shared_work.agree(first, shared_work.run(family, budget))


def test_shares_are_all_of_the_work_and_alone_it_is_one_share() -> None:
    assert (processes.count(), processes.number()) == (1, 0)
    assert processes.share([3, 1, 2]) == [3, 1, 2]
    total = processes.added([1.0, 2.0], lambda x: torch.tensor([x]), torch.zeros(1))
    assert total.item() == 3
    assert [x.item() for x in processes.in_turn([1.0, 2.0], torch.tensor, torch.zeros(()))] == [1, 2]


def test_fewer_cards_than_processes_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"WORLD_SIZE": "8", "LOCAL_WORLD_SIZE": "8", "LOCAL_RANK": "0"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(SettingsError, match="a card for each of the 8 processes on this machine, and it has 2"):
        processes.joined("cuda").__enter__()
