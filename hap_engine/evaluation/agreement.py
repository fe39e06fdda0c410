"""Does a circuit make the model's mistakes too? Agreement, split into prompts the model gets right and wrong.

A circuit can be faithful on average because it solves the task, not because it works as the model
does: published circuits keep nearly all right answers and few of the wrong ones. So agreement with
the full model is reported separately, by two definitions:

* ``top1``: the model is right when the answer is its most likely token; a circuit agrees when its
  most likely token is the model's;
* ``accuracy``: the model is right when the answer beats the distractor; a circuit agrees when it
  takes the same side.

A part without prompts has no share (null); shares carry their 95 % Wilson interval.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np

from hap_engine.evaluation.statistics import Values, mcnemar, paired_difference, share_interval


def agreement(circuit: Mapping[str, Values], full: Mapping[str, Values]) -> dict[str, Any]:
    """The report of one circuit, from per-prompt outcomes (`evaluation.measure`)."""
    same = {"top1": circuit["exact_match"] > 0.5, "accuracy": circuit["accuracy"] == full["accuracy"]}
    return {
        key: {"right": _share(agrees[full[key] > 0.5]), "wrong": _share(agrees[full[key] <= 0.5])}
        for key, agrees in same.items()
    }


def compare(
    first: Mapping[str, Values], second: Mapping[str, Values], full: Mapping[str, Values], seed: int
) -> dict[str, Any]:
    """Paired tests of two circuits on the same prompts, first minus second.

    ``kl`` and ``logit_gap`` (absolute distance from the model's logit difference): negative when the
    first is closer to the model. ``exact_match`` and ``accuracy``: McNemar's exact test.
    """
    ours, theirs = (np.abs(side["logit_diff"] - full["logit_diff"]) for side in (first, second))
    return {
        "kl": asdict(paired_difference(first["kl"], second["kl"], seed)),
        "logit_gap": asdict(paired_difference(ours, theirs, seed)),
        **{key: asdict(mcnemar(first[key] > 0.5, second[key] > 0.5)) for key in ("exact_match", "accuracy")},
    }


def _share(agrees: np.ndarray) -> dict[str, Any]:
    count = len(agrees)
    return {
        "n": count,
        "share": float(agrees.mean()) if count else None,
        "interval": share_interval(int(agrees.sum()), count),
    }
