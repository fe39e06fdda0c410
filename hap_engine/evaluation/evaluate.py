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

from hap_engine.evaluation.measure import PER_PROMPT, Outcome, compact, measure
from hap_engine.evaluation.metrics import faithfulness
from hap_engine.evaluation.statistics import RESAMPLES, interval_of
from hap_engine.graph.circuit import Circuit, empty_circuit, random_circuit
from hap_engine.masked.masked_pass import MaskedModel
from hap_engine.progress import Progress
from hap_engine.settings import RANDOM_CIRCUITS
from hap_engine.tasks.pair import EncodedPair


@dataclass(frozen=True)
class Setting:
    """What every reported number is tagged with.

    The first word of `ablation` is its kind (`ablation.ABLATIONS`); what follows is for the reader.
    """

    split: str
    ablation: str
    seed: int


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
        f"random {index}": random_circuit(masked.graph, control_size, rng) for index in range(RANDOM_CIRCUITS)
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


def _report(outcome: Outcome, outcomes: Mapping[str, Outcome], n_edges: int, setting: Setting) -> dict[str, Any]:
    full, empty = (outcomes[name]["logit_diff"] for name in ("full", "empty"))
    means = {key: float(values.mean()) for key, values in outcome.items()}
    draws = np.random.default_rng(setting.seed).integers(len(full), size=(RESAMPLES, len(full)), endpoint=False)
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
