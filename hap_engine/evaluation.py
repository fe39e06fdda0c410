"""How good is a circuit? Measured on held-out prompts, beside its controls.

For each circuit the masked forward runs with m in {0, 1}. Reported are means over prompts:

* ``kl``: KL(full model ‖ circuit), summed over the vocabulary, in nats;
* ``logit_diff``: logit of the answer minus logit of the distractor (log-odds where they are sets);
* ``prob_diff``: probability of the answers minus that of the distractors;
* ``faithfulness``: ``(m(C) - m(empty)) / (m(full) - m(empty))`` of the logit difference (ratio of means);
* ``accuracy``: answer beats distractor; ``top1``: an answer is the argmax of the vocabulary;
* ``exact_match``: the circuit's argmax is the full model's.

Controls: the full model, the empty circuit (everything corrupted) and several random connected
circuits with as many live edges. Intervals are 95 % percentile bootstrap over prompts; a single
prompt has none, nor has a metric that corruption does not move.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float

from hap_engine.ablation import Ablation
from hap_engine.batches import Batch, in_batches
from hap_engine.circuit import Circuit, empty_circuit, random_circuit
from hap_engine.metrics import (
    among,
    faithfulness,
    kl_divergence,
    logit_difference,
    probability_difference,
)
from hap_engine.outcomes import compact
from hap_engine.patching import MaskedModel
from hap_engine.plain import Trace
from hap_engine.prepared import full_logits
from hap_engine.progress import Progress
from hap_engine.statistics import RESAMPLES, interval_of
from hap_engine.tasks.base import EncodedPair

RANDOM_CIRCUITS = 3  # enough to see that random circuits of this size do nothing
PER_PROMPT = ("kl", "logit_diff", "prob_diff", "accuracy", "top1", "exact_match")

Outcome = dict[str, Float[np.ndarray, " prompt"]]


@dataclass(frozen=True)
class Setting:
    """What every reported number is tagged with.

    The first word of `ablation` is its kind (`ablation.ABLATIONS`); what follows is for the reader.
    """

    split: str
    ablation: str
    seed: int


def measure(
    masked: MaskedModel,
    pairs: Sequence[EncodedPair],
    circuits: Mapping[str, Circuit],
    batch_size: int = 32,
    ablation: str = "resample",
) -> Generator[Progress, None, dict[str, Outcome]]:
    """Per-prompt metrics of the full model (key ``full``) and of each circuit, in prompt order."""
    rows: dict[str, list[np.ndarray]] = {name: [] for name in ("full", *circuits)}
    cutting = Ablation(masked, pairs, ablation)
    masks = {name: cutting.mask(circuit) for name, circuit in circuits.items()}
    order: list[int] = []
    batches = list(in_batches(pairs, batch_size, masked.device))
    for done, (indices, batch) in enumerate(batches, 1):
        order += indices
        for name, values in _measure_batch(masked, batch, cutting.base(batch), masks):
            rows[name].append(values)
        yield Progress("evaluate", done, len(batches), "Testing the circuits on unseen prompts")
    back = np.argsort(order)
    return {
        name: dict(zip(PER_PROMPT, np.concatenate(parts, axis=1)[:, back], strict=True))
        for name, parts in rows.items()
    }


@torch.no_grad()
def _measure_batch(
    masked: MaskedModel, batch: Batch, base: Trace, masks: Mapping[str, torch.Tensor]
) -> list[tuple[str, np.ndarray]]:
    clean = masked.embed(batch.clean)
    full = full_logits(masked, batch)
    found = [("full", _outcome(full, full, batch))]
    for name, mask in masks.items():
        logits = masked.logits(mask, clean, base, batch.last)
        found.append((name, _outcome(logits, full, batch)))
    return found


def _outcome(logits: torch.Tensor, full: torch.Tensor, batch: Batch) -> np.ndarray:
    difference = logit_difference(logits, batch.answer, batch.distractor)
    top = logits.argmax(-1)
    values = [
        kl_divergence(logits, full.log_softmax(-1)),
        difference,
        probability_difference(logits, batch.answer, batch.distractor),
        (difference > 0).float(),
        among(top, batch.answer),
        (top == full.argmax(-1)).float(),
    ]
    return torch.stack(values).cpu().numpy()


def evaluate(
    masked: MaskedModel,
    pairs: Sequence[EncodedPair],
    circuits: Mapping[str, Circuit],
    setting: Setting,
    *,
    control_size: int,
    batch_size: int = 32,
) -> Generator[Progress, None, dict[str, dict[str, Any]]]:
    """The run file's ``metrics``: each circuit, ``full``, ``empty`` and ``random``.

    Args:
        control_size: live edges of the random circuits.
    """
    rng = np.random.default_rng(setting.seed)
    controls = {"empty": empty_circuit(masked.graph)} | {
        f"random {index}": random_circuit(masked.graph, control_size, rng)
        for index in range(RANDOM_CIRCUITS)
    }
    kind = setting.ablation.split(" ")[0]
    every = {**controls, **circuits}
    outcomes = yield from measure(masked, pairs, every, batch_size, kind)
    sizes = {
        name: len(circuit.live if kind == "resample" else circuit)  # else no edge is dead
        for name, circuit in {**controls, **circuits}.items()
    }
    sizes["full"] = masked.graph.n_edges
    reports = {
        name: _report(outcome, outcomes, sizes[name], setting)
        for name, outcome in outcomes.items()
        if not name.startswith("random ")
    }
    for name, report in reports.items():
        report["per_prompt"] = compact(outcomes[name])
    randoms = [outcomes[name] for name in outcomes if name.startswith("random ")]
    pooled = {key: np.mean([outcome[key] for outcome in randoms], axis=0) for key in PER_PROMPT}
    reports["random"] = {
        **_report(pooled, outcomes, control_size, setting),
        "n_circuits": len(randoms),
        "spread": {key: float(np.std([o[key].mean() for o in randoms])) for key in PER_PROMPT},
    }
    return reports


def _report(
    outcome: Outcome, outcomes: Mapping[str, Outcome], n_edges: int, setting: Setting
) -> dict[str, Any]:
    full, empty = (outcomes[name]["logit_diff"] for name in ("full", "empty"))
    means = {key: float(values.mean()) for key, values in outcome.items()}
    draws = np.random.default_rng(setting.seed).integers(
        len(full), size=(RESAMPLES, len(full)), endpoint=False
    )
    resampled = {key: values[draws].mean(axis=1) for key, values in outcome.items()}
    spans = full[draws].mean(axis=1) - empty[draws].mean(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        resampled["faithfulness"] = (resampled["logit_diff"] - empty[draws].mean(axis=1)) / spans
    return {
        **means,
        "faithfulness": faithfulness(means["logit_diff"], float(full.mean()), float(empty.mean())),
        "interval": {
            key: list(interval)
            for key, values in resampled.items()
            if len(full) > 1 and (interval := interval_of(values))
        },
        "n_edges": n_edges,
        "n_prompts": len(full),
        "split": setting.split,
        "ablation": setting.ablation,
        "seed": setting.seed,
    }
