"""What several processes compute together, and one alone: `python -m torch.distributed.run … shared_work.py FOLDER`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from hap_engine.graph.circuit import full_circuit
from hap_engine.masked import processes
from hap_engine.masked.opening import open_masked
from hap_engine.pruning.gate_loss import loss_of_gates
from hap_engine.runs.record import Run
from hap_engine.runs.run_file import dumps
from hap_engine.settings import DiscoveryConfig, PruningConfig
from hap_engine.workflows.discover import discover
from tests.builders.precision import in_double
from tests.builders.scoring import prepare, scores_of
from tests.builders.tiny_models import SIZES, finish, make_model, random_pairs

ROOT = Path(__file__).parents[2]
FAMILIES = ("gpt2", "llama", "neox")
RUNS = {  # by the number of processes
    2: [("gpt2", "every-size"), ("llama", "projection"), ("llama", "lagrangian"), ("neox", "every-size")],
    3: [("llama", "every-size")],
}
STEPS = 20


def found(family: str) -> dict[str, np.ndarray]:
    """Loss, gradient and scores of a tiny model in float64: they must agree to rounding."""
    with in_double():
        masked, pairs = open_masked(make_model(family)), random_pairs([5, 7, 7, 9, 6])
        loss_of = loss_of_gates(prepare(masked, pairs), full_circuit(masked.graph), len(pairs))
        z = torch.linspace(0.1, 1, masked.graph.n_edges)
        kl, error, gradient = loss_of(z, [4, 0, 2, 1, 3], 0.3)
        ig = scores_of(masked, pairs, "eap-ig-kl")
        return {"loss": np.array([kl, error]), "gradient": gradient.numpy(), "eap": scores_of(masked, pairs), "ig": ig}


def run(family: str, budget: str) -> dict[str, Any]:
    """A whole run: all of its file but the times."""
    pruning = PruningConfig(budget=budget, steps=STEPS, batch_size=5)
    config = DiscoveryConfig(model="tiny", sparsity=0.8, keep=0.6, pruning=pruning, sizes=SIZES)
    return content(finish(discover(config, make_model(family))))


def content(run: Run) -> dict[str, Any]:
    """All of a run but its times."""
    data = json.loads(dumps(run))
    for row in data["history"]:
        del row["seconds"]
    return {key: value for key, value in data.items() if key not in ("created", "seconds")}


def agree(got: Any, want: Any, where: str = "") -> None:
    """Equal, numbers to rounding."""
    if isinstance(want, dict):
        assert got.keys() == want.keys(), where
        for key in want:
            agree(got[key], want[key], f"{where}.{key}")
    elif isinstance(want, list):
        assert len(got) == len(want), where
        for at, (one, other) in enumerate(zip(got, want, strict=True)):
            agree(one, other, f"{where}[{at}]")
    elif isinstance(want, float):
        assert got == pytest.approx(want, rel=2e-3, abs=2e-4), where
    else:
        assert got == want, where


def torchrun(count: int, script: Path, *arguments: str, fails: bool = False) -> str:
    """Start a script in some processes of this machine; what they printed."""
    start = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={count}", str(script)]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*start, *arguments], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=400, check=False
    )
    assert (done.returncode != 0) == fails, done.stderr[-3000:]
    return done.stdout + done.stderr


def main(folder: Path) -> None:
    """Each process writes what it knows at the end."""
    with processes.joined("cpu"):
        mine = str(processes.number())
        for family in FAMILIES:
            np.savez(folder / f"{family}-{mine}.npz", **found(family))
        for family, budget in RUNS[processes.count()]:
            (folder / f"{family}-{budget}-{mine}.json").write_text(json.dumps(run(family, budget)))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
