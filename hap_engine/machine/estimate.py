"""Memory and time of a run before it starts (no torch).

Every phase is counted in the units that a processor works in: floating-point operations (those of
float32 and those of the training precision apart), bytes moved and small operations started. With the
machine's measured speeds (`hap_engine.machine`) a phase takes

    seconds  =  a · (flops32 / rate32 + flops / rate)  +  b · bytes / bandwidth
              +  (c · started + d · started in bfloat16) · dispatch

where a to d of each phase say how far the real work is from one ideal matrix product, one pass over
memory and one operation a layer. They, and what the program itself holds, stand in ``assets/estimate.json``, fitted to
real runs by ``python -m benchmarks.fit_estimate``; nothing else is tuned.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from operator import mul
from typing import Any

from hap_engine.errors import HapError, SettingsError
from hap_engine.files import assets
from hap_engine.machine.memory import Limits
from hap_engine.machine.speed import Machine, free_memory
from hap_engine.machine.workload import SCORE_BATCH, first_beyond, memory, workload
from hap_engine.models.catalog import Source, config_of, resolve
from hap_engine.models.reader import reader_of
from hap_engine.models.shape import Shape
from hap_engine.settings import DTYPES, DiscoveryConfig
from hap_engine.tasks.reader import encode_sets
from hap_engine.tasks.task import TRIAL_SIZES
from hap_engine.words import say

AUTO = "auto"  # the precision that `faster_dtype` chooses
WORTH = 0.8  # bfloat16 rounds: it has to save at least a fifth of the time
USUAL_TOKENS = 20.0  # of a prompt, while no tokenizer is at hand


@dataclass(frozen=True)
class Estimate:
    """Seconds by phase, peak bytes, and a remedy where they do not fit."""

    seconds: Mapping[str, float]
    bytes: float
    free: int | None
    advice: str = ""
    beyond: str = ""  # the first part that does not fit

    @property
    def total(self) -> float:
        return sum(self.seconds.values())

    @property
    def fits(self) -> bool:
        return self.free is None or self.bytes <= self.free

    @property
    def sentence(self) -> str:
        text = f"About {duration(self.total)} and {self.bytes / 1e9:.1f} GB of memory"
        if not self.fits:
            assert self.free is not None
            text += f", with no room for {self.beyond}: {self.free / 1e9:.1f} GB are free. {self.advice}"
        return text.rstrip(".") + "."


def estimate(
    config: DiscoveryConfig, shape: Shape, machine: Machine, tokens: float = USUAL_TOKENS, free: int | None = None
) -> Estimate:
    """What a run will take on this machine, with a suggestion when its memory will not do."""
    constants = _constants()
    seconds = {}
    for phase, work in workload(config, shape, tokens).items():
        ideal = work.seconds(machine, config.dtype)
        seconds[phase] = sum(map(mul, constants["seconds"][phase], ideal))
    seconds["load"] += constants["open"]
    held = _held(config, shape, tokens)
    expected = Estimate(seconds, sum(held.values()), free)
    if free is None or expected.fits:
        return expected
    return replace(expected, advice=_advice(config, shape, tokens, free), beyond=first_beyond(held, free))


def _bytes(config: DiscoveryConfig, shape: Shape, tokens: float, limits: Limits | None = None) -> float:
    return sum(_held(config, shape, tokens, limits).values())


def _held(config: DiscoveryConfig, shape: Shape, tokens: float, limits: Limits | None = None) -> dict[str, float]:
    """Bytes by what holds them."""
    if limits is None:
        try:
            limits = limits_within(config, shape, tokens)
        except SettingsError:
            limits = Limits(1, cache=0)  # the run itself will say so
    return {"base": _constants()["base"], **memory(config, shape, tokens, limits)}


def limits_within(config: DiscoveryConfig, shape: Shape, tokens: float) -> Limits:
    """The largest parts of a batch, and then where to keep corrupt runs, if at all, within ``config.memory`` GB.

    Raises:
        SettingsError: if not even one prompt at a time fits.
    """
    if config.memory is None:
        return Limits()
    budget, batch = int(config.memory * 1e9), max(config.pruning.batch_size, SCORE_BATCH)
    while True:
        # A whole batch on one GPU is recorded (`gate_loss.Recorded`): nothing can come from elsewhere meanwhile.
        recorded = config.device.startswith("cuda") and not config.layers_on and batch >= config.pruning.batch_size
        aside = [] if recorded else [Limits(batch, budget, aside=True)]
        for limits in (Limits(batch, budget), *aside, Limits(batch, cache=0)):
            if _bytes(config, shape, tokens, limits) <= budget:
                return limits
        if batch == 1:
            break
        batch //= 2
    least = _bytes(config, shape, tokens, Limits(1, cache=0))
    raise SettingsError(say("machine.too_little", least=least / 1e9, config=config, allow=math.ceil(least / 1e8) / 10))


def _advice(config: DiscoveryConfig, shape: Shape, tokens: float, free: int | None) -> str:
    """The first change that makes the run fit."""
    for text, changed in _savings(config):
        needed = _bytes(changed, shape, tokens)
        if free is not None and needed <= free:
            return f"{text} ({needed / 1e9:.1f} GB), or close other programs."
    return "Choose a smaller model: no batch, precision or number of prompts makes this one fit."


def _savings(config: DiscoveryConfig) -> Iterator[tuple[str, DiscoveryConfig]]:
    """Cheaper settings, each on top of the ones before it."""
    said = []
    smaller = max(config.pruning.batch_size, config.sizes.train // 4)  # a batch takes no more
    if not config.prompts and smaller < config.sizes.train:
        config = replace(config, sizes=replace(config.sizes, train=smaller))
        said.append(f"use {smaller} training prompts")
        yield " and ".join(said).capitalize(), config
    if config.pruning.batch_size > 4:
        config = replace(config, pruning=replace(config.pruning, batch_size=4))
        said.append("take batches of 4")
        yield " and ".join(said).capitalize(), config


def tokens_of(config: DiscoveryConfig, source: Source) -> float:
    """Mean length of a task's prompts, from a few of them; `USUAL_TOKENS` without a tokenizer."""
    task = config.find_task()
    corruption = config.corruption or task.default_corruption
    try:
        reader = reader_of(source)
        if reader is None:
            return USUAL_TOKENS
        sets = task.generate(reader.tokenizer, TRIAL_SIZES, config.seed, corruption)
        pairs = encode_sets(reader.feeding(config.bos), sets).train
    except HapError:  # a task that this model's words do not allow: the run will say so
        return USUAL_TOKENS
    return sum(len(pair.clean_ids) for pair in pairs) / len(pairs)


def describe(config: DiscoveryConfig, machine: Machine) -> Estimate | None:
    """The estimate of a run on this machine.

    None if the model's sizes are unknown, or for a GPU: only the processor is measured.
    """
    source, shape = _known(config)
    return estimate(config, shape, machine, tokens_of(config, source), free_memory()) if shape else None


def bytes_of(config: DiscoveryConfig) -> int | None:
    """What a run holds at its peak, in bytes, whatever the machine; None as for `describe`."""
    source, shape = _known(config)
    return int(_bytes(config, shape, tokens_of(config, source))) if shape else None


def _known(config: DiscoveryConfig) -> tuple[Source, Shape | None]:
    """The model, with its sizes where they are known and a processor computes."""
    source = resolve(config.model)
    return source, Shape.of(config_of(source) or {}) if config.device == "cpu" else None


def faster_dtype(config: DiscoveryConfig, machine: Machine) -> str:
    """bfloat16 where this machine would end the run much sooner with it."""
    _, shape = _known(config)
    if shape is None:
        return "float32"
    seconds = {}
    for dtype in DTYPES:
        expected = estimate(replace(config, dtype=dtype), shape, machine)
        seconds[dtype] = expected.seconds["score"] + expected.seconds["prune"]
    return "bfloat16" if seconds["bfloat16"] < WORTH * seconds["float32"] else "float32"


def duration(seconds: float) -> str:
    """Rounded as coarsely as an estimate deserves."""
    if seconds < 10:
        return f"{max(1, round(seconds))} s"
    if seconds < 90:
        return f"{round(seconds, -1):.0f} s"
    minutes = seconds / 60
    return f"{minutes:.0f} min" if minutes < 90 else f"{minutes / 60:.1f} h"


@cache
def _constants() -> dict[str, Any]:
    return dict(json.loads((assets() / "estimate.json").read_text()))
