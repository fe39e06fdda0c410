"""How good is a circuit? Measured on held-out prompts, beside its controls.

For each circuit the masked forward runs with m in {0, 1}. Reported are means over prompts:

* ``kl``: KL(full model ‖ circuit), summed over the vocabulary, in nats;
* ``logit_diff``: logit of the answer minus logit of the distractor (log-odds where they are sets);
* ``prob_diff``: probability of the answers minus that of the distractors;
* ``faithfulness``: ``(m(C) - m(empty)) / (m(full) - m(empty))`` of the logit difference (ratio of means);
* ``deviation``: ``min(|m(full) - m(C)| / |m(full) - m(empty)|, 1)`` of the logit difference, prompt by prompt;
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

from hap_engine.errors import SettingsError
from hap_engine.evaluation.measure import PER_PROMPT, Outcome, compact, measure, measure_on
from hap_engine.evaluation.metrics import deviation, faithfulness
from hap_engine.evaluation.statistics import draws, interval_of
from hap_engine.graph.circuit import Circuit, empty_circuit, random_circuit
from hap_engine.masked.ablation import title
from hap_engine.masked.masked_pass import MaskedModel
from hap_engine.masked.prompt_cache import Prepared
from hap_engine.progress import Progress, relabelled
from hap_engine.report.titles import CONTROL_TITLES
from hap_engine.runs.unfinished import NOWHERE, Place
from hap_engine.settings import RANDOM_CIRCUITS, RANDOM_PROMPTS
from hap_engine.tasks.pair import EncodedPair
from hap_engine.words import say


@dataclass(frozen=True)
class Setting:
    """What every reported number is tagged with.

    Attributes:
        kind: of ablation (`ablation.ABLATIONS`).
        corruption: of the prompts that it replaces by.
    """

    split: str
    kind: str
    corruption: str
    seed: int

    @property
    def ablation(self) -> str:
        """As the run file and the page name it."""
        return title(self.kind, self.corruption)


def evaluate(
    masked: MaskedModel,
    pairs: Sequence[EncodedPair],
    circuits: Mapping[str, Circuit],
    setting: Setting,
    *,
    control_size: int,
    few: Prepared | None = None,
    batch_size: int = 32,
    place: Place = NOWHERE,
) -> Generator[Progress, None, dict[str, dict[str, Any]]]:
    """The run file's ``metrics``: each circuit, ``full``, ``empty`` and ``random``.

    Args:
        control_size: live edges of the random circuits.
        few: the first of the prompts, whose corrupt runs are kept. On `RANDOM_PROMPTS` of these alone random circuits
            are measured: they are far from the model, and a few prompts show it. None: on all.

    Raises:
        SettingsError: if a circuit has the name of a control.
    """
    if taken := CONTROL_TITLES.keys() & circuits:
        raise SettingsError(say("evaluation.taken", controls=", ".join(CONTROL_TITLES), name=min(taken)))
    rng = np.random.default_rng(setting.seed)
    randoms = [random_circuit(masked.graph, control_size, rng) for _ in range(RANDOM_CIRCUITS)]
    controls = {("control", at): one for at, one in enumerate([empty_circuit(masked.graph), *randoms])}
    named = {("circuit", at): one for at, one in enumerate(circuits.values())}
    asked = {**(controls if few is None else {("control", 0): controls["control", 0]}), **named}
    full, outcomes = yield from measure(masked, pairs, asked, batch_size, setting.kind, place, few)
    top, beside = full, outcomes
    if few is not None:
        work = measure_on(few.first(RANDOM_PROMPTS), controls, batch_size, place.at("random"))
        top, beside = yield from relabelled(work, message="Testing random circuits of the same size")
    bottom, *of_randoms = (beside[key] for key in controls)
    empty, of_circuits = outcomes["control", 0], [outcomes[key] for key in named]

    counted = {  # under mean and zero ablation no edge is dead
        name: len(circuit.live if setting.kind == "resample" else circuit) for name, circuit in circuits.items()
    }

    def report(outcome: Outcome, n_edges: int) -> dict[str, Any]:
        return _report(outcome, full, empty, n_edges, setting)

    pooled = {key: np.mean([outcome[key] for outcome in of_randoms], axis=0) for key in PER_PROMPT}
    spread = {key: float(np.std([outcome[key].mean() for outcome in of_randoms])) for key in PER_PROMPT}
    return {
        "full": {**report(full, masked.graph.n_edges), "per_prompt": compact(full)},
        "empty": {**report(empty, 0), "per_prompt": compact(empty)},
        **{
            name: {**report(outcome, size), "per_prompt": compact(outcome)}
            for (name, size), outcome in zip(counted.items(), of_circuits, strict=True)
        },
        "random": {**_report(pooled, top, bottom, control_size, setting), "n_circuits": len(randoms), "spread": spread},
    }


def _report(outcome: Outcome, full: Outcome, empty: Outcome, n_edges: int, setting: Setting) -> dict[str, Any]:
    top, bottom = full["logit_diff"], empty["logit_diff"]
    outcome = {**outcome, "deviation": deviation(outcome["logit_diff"], top, bottom)}
    means = {key: float(values.mean()) for key, values in outcome.items()}
    drawn = draws(len(top), setting.seed)
    resampled = {key: values[drawn].mean(axis=1) for key, values in outcome.items()}
    spans = top[drawn].mean(axis=1) - bottom[drawn].mean(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        resampled["faithfulness"] = (resampled["logit_diff"] - bottom[drawn].mean(axis=1)) / spans
    return {
        **means,
        "faithfulness": faithfulness(means["logit_diff"], float(top.mean()), float(bottom.mean())),
        "interval": {
            key: list(interval)
            for key, values in resampled.items()
            if len(top) > 1 and (interval := interval_of(values))
        },
        "n_edges": n_edges,
        "n_prompts": len(top),
        "split": setting.split,
        "ablation": setting.ablation,
        "seed": setting.seed,
    }
