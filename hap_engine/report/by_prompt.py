"""Prompt by prompt: where does a circuit fail although the model succeeds, and the reverse? (no torch)

`evaluation.evaluate` stores a few numbers per held-out prompt in each row of the run's ``metrics``
(``per_prompt``), in the order of ``prompts.test``. Runs made before that lack them; `measured` says so.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from hap_engine.findings import Findings
from hap_engine.report.titles import circuit_title, say

RULES: Mapping[str, str] = say.parts("prompts.rules")
STATUSES: Mapping[str, str] = say.parts("prompts.statuses")


@dataclass(frozen=True)
class PromptOutcome:
    """One test prompt under the full model and a circuit."""

    index: int
    status: str
    full_logit_diff: float
    logit_diff: float
    kl: float


def measured(run: Findings, name: str) -> bool:
    """Whether the run holds per-prompt numbers of the full model and of this circuit."""
    return all(run.metrics.get(key, {}).get("per_prompt") for key in ("full", name))


def by_prompt(run: Findings, name: str, rule: str = "beats") -> list[PromptOutcome]:
    """Every test prompt, those on which the circuit is furthest from the model first."""
    full, circuit = (_arrays(run, key) for key in ("full", name))
    right = _success(full, rule)
    circuit_right = _success(circuit, rule)
    status = np.select(
        [right & circuit_right, right & ~circuit_right, ~right & circuit_right], ["both", "lost", "won"], "neither"
    )
    return [
        PromptOutcome(
            int(i),
            str(status[i]),
            float(full["logit_diff"][i]),
            float(circuit["logit_diff"][i]),
            float(circuit["kl"][i]),
        )
        for i in np.argsort(-circuit["kl"], kind="stable")
    ]


def summary(run: Findings, name: str, rule: str = "beats") -> str:
    """One sentence: how often each of the two is right alone."""
    statuses = [outcome.status for outcome in by_prompt(run, name, rule)]
    lost, won, n = statuses.count("lost"), statuses.count("won"), len(statuses)
    counts = {"lost": lost, "won": won, "n": n}
    return say("prompts.differ" if lost or won else "prompts.same", title=circuit_title(name), **counts)


def closer(run: Findings, left: str, right: str) -> str:
    """One sentence: on how many prompts `right` is closer to the full model than `left`."""
    a, b = (_arrays(run, key)["kl"] for key in (left, right))
    titles = {"left": circuit_title(left), "right": circuit_title(right)}
    return say("prompts.closer", closer=int((b < a).sum()), n=len(a), **titles)


def _arrays(run: Findings, name: str) -> dict[str, np.ndarray]:
    return {key: np.array(values) for key, values in run.metrics[name]["per_prompt"].items()}


def _success(outcome: Mapping[str, np.ndarray], rule: str) -> np.ndarray:
    return outcome["logit_diff"] > 0 if rule == "beats" else outcome["top1"] > 0
