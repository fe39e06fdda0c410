"""Fit the constants of `hap_engine.machine.estimate` to real runs: ``python -m benchmarks.fit_estimate [MODEL …]``.

Runs short discoveries on hap-mini, on random GPT-2s of several sizes, and on every model named on the
command line (the SmolLM2 ``.gguf``, say), each in a process of its own so that its peak memory is
its own. Those in float32 run a second time with the processor held back to AVX2: another machine, on
which multiplying weighs more and memory less. Time is processor time of one thread, for the runs as for the machine's
speeds, so that other programs disturb it little. Writes ``assets/estimate.json`` and prints how far each run is
from the fit.
"""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from hap_engine.files import assets
from hap_engine.machine import estimate, workload
from hap_engine.machine.speed import Machine
from hap_engine.models import catalog
from hap_engine.models.shape import Shape
from hap_engine.progress import PHASES
from hap_engine.settings import DiscoveryConfig, PruningConfig
from hap_engine.tasks.task import SplitSizes

CHILD = """
import json, resource, sys, time
t0 = time.process_time()
from hap_engine.workflows.discover import discover
from hap_engine.progress import PHASES
from hap_engine.workflows.measure_machine import measure
from benchmarks.fit_estimate import config_of
import torch
t0 = time.process_time() - t0
torch.set_num_threads(1)
config = config_of(json.loads(sys.argv[1]))
before = measure(time.process_time)
seconds, last = {}, time.process_time()
work = discover(config)


def lap(phase):
    global last
    now = time.process_time()
    seconds[phase] = seconds.get(phase, 0) + now - last
    last = now


try:
    while True:
        lap(next(work).phase)
except StopIteration as stop:
    run = stop.value
lap("roles")
tokens = [len(t["tokens"]["clean"]) for t in run.attention]
from dataclasses import asdict
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(json.dumps({"seconds": seconds, "peak": peak * 1024, "import": t0,
                  "tokens": sum(tokens) / len(tokens), "machine": asdict(before)}))
"""


def config_of(data: dict[str, Any]) -> DiscoveryConfig:
    pruning, sizes = PruningConfig(**data.pop("pruning")), SplitSizes(**data.pop("sizes"))
    return DiscoveryConfig(pruning=pruning, sizes=sizes, **data)


def random_gpt2(folder: Path, layers: int, heads: int, width: int) -> str:
    """A GPT-2 of these sizes with random weights and hap-mini's words."""
    import transformers as tf

    path = folder / f"gpt2-{layers}-{heads}-{width}"
    config = tf.GPT2Config(
        vocab_size=20_000,
        n_layer=layers,
        n_head=heads,
        n_embd=width,
        n_positions=64,
        bos_token_id=None,
        eos_token_id=None,
    )
    tf.GPT2LMHeadModel(config).save_pretrained(path)
    words = catalog.BUNDLED["hap-mini"] / "tokenizer.json"
    (path / "tokenizer.json").write_bytes(words.read_bytes())
    return str(path)


def settings(folder: Path, models: list[str]) -> Iterator[DiscoveryConfig]:
    """Runs that differ in what the estimate depends on: sizes, prompts, steps, batch, precision."""
    mini = DiscoveryConfig()
    yield mini
    yield replace(mini, pruning=PruningConfig(steps=60), sizes=SplitSizes(100, 50, 600))
    yield replace(mini, pruning=PruningConfig(steps=40, batch_size=64), dtype="bfloat16")
    yield replace(mini, dtype="bfloat16")
    few, some = SplitSizes(32, 16, 32), SplitSizes(160, 16, 32)
    short = PruningConfig(steps=10)
    small = random_gpt2(folder, 6, 8, 256)
    yield replace(mini, model=small, pruning=short, sizes=SplitSizes(96, 48, 64))
    yield replace(mini, model=small, pruning=short, sizes=few, dtype="bfloat16", method="ep")
    for model in [random_gpt2(folder, 12, 12, 768), *models]:
        yield replace(mini, model=model, pruning=short, sizes=some, sparsity=0.99)
        yield replace(mini, model=model, pruning=short, sizes=few, dtype="bfloat16", sparsity=0.99)


HELD_BACK = {"ATEN_CPU_CAPABILITY": "avx2", "MKL_ENABLE_INSTRUCTIONS": "AVX2", "ONEDNN_MAX_CPU_ISA": "AVX2"}


def measure(config: DiscoveryConfig, environment: dict[str, str]) -> dict[str, Any]:
    """One run in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-c", CHILD, json.dumps(asdict(config))],
        env=os.environ | environment | {"OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return dict(json.loads(done.stdout.strip().splitlines()[-1]))


def fit_phase(rows: list[tuple[float, ...]]) -> list[float]:
    """Non-negative factors of all columns but the last whose sum is near the last, in relative terms."""
    table = np.array(rows)
    x, y, count = table[:, :-1] / table[:, -1:], np.ones(len(table)), table.shape[1] - 1
    best, factors = np.inf, np.zeros(count)
    for size in range(1, count + 1):
        for chosen in map(list, itertools.combinations(range(count), size)):
            found = np.linalg.lstsq(x[:, chosen], y, rcond=None)[0]
            error = float(np.square(x[:, chosen] @ found - y).sum())
            if (found >= 0).all() and error < best:
                best, factors = error, np.zeros(count)
                factors[chosen] = found
    return [float(f"{value:.4g}") for value in factors]


def main(models: list[str]) -> None:
    runs = []
    with tempfile.TemporaryDirectory() as folder:
        for config in settings(Path(folder), models):
            shape = Shape.of(catalog.config_of(catalog.resolve(config.model)) or {})
            assert shape is not None
            for environment in ({}, HELD_BACK) if config.dtype == "float32" else ({},):
                runs.append((config, shape, measure(config, environment)))
                print(Path(config.model).name, config.dtype, json.dumps(runs[-1][2]), flush=True)
    constants = fit(runs)
    path = assets() / "estimate.json"
    path.write_text(json.dumps(constants, indent=1) + "\n")
    estimate._constants.cache_clear()
    for config, shape, seen in runs:
        machine = Machine(**seen["machine"])
        guess = estimate.estimate(config, shape, machine, seen["tokens"])
        total = sum(seen["seconds"].values())
        print(
            f"{Path(config.model).name:32} {config.dtype:9} {total:7.1f} s, estimated "
            f"{guess.total:7.1f} ({guess.total / total:.2f}x)   {seen['peak'] / 1e9:.2f} GB, "
            f"estimated {guess.bytes / 1e9:.2f} ({guess.bytes / seen['peak']:.2f}x)"
        )


def fit(runs: list[tuple[DiscoveryConfig, Shape, dict[str, Any]]]) -> dict[str, Any]:
    """The content of ``assets/estimate.json``."""
    opening = min(seen["seconds"]["load"] for _, _, seen in runs)
    phases = {}
    rows: list[tuple[float, ...]]
    for phase in PHASES:
        rows = []
        for config, shape, seen in runs:
            work = workload.workload(config, shape, seen["tokens"])[phase]
            spent = seen["seconds"].get(phase, 0.0) - (opening if phase == "load" else 0)
            if spent > 0.01:
                rows.append((*work.seconds(Machine(**seen["machine"]), config.dtype), spent))
        phases[phase] = fit_phase(rows)
    rest = (seen["peak"] - sum(workload.memory(config, shape, seen["tokens"]).values()) for config, shape, seen in runs)
    return {
        "made by": "python -m benchmarks.fit_estimate",
        "open": round(opening, 2),
        "base": round(max(rest)),  # the estimate's other parts are counted
        "seconds": phases,
    }


if __name__ == "__main__":
    main(sys.argv[1:])
