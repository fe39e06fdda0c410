"""What methods, controls and roles are called wherever a person reads them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hap_engine.words import Words

ROLE_TITLES = {
    "name_mover": "name mover",
    "negative_name_mover": "negative name mover",
    "backup_name_mover": "backup name mover",
    "s_inhibition": "S-inhibition",
    "induction": "induction",
    "duplicate_token": "duplicate-token",
    "previous_token": "previous-token",
}

say = Words(__file__, "sentences.toml")

# What stands beside the circuits in a run's metrics, in the order in which to read it.
CONTROL_TITLES = {"full": "Full model", "empty": "Everything corrupted", "random": "Random circuits"}

OWN = "mine"  # key of the user's own circuit in a run
RIVAL = "rival"  # of another circuit that was sought beside the run's own
METHOD_TITLES = {
    "eap": "EAP",
    "eap-abs": "EAP (magnitudes)",
    "eap-gim": "EAP-GIM",
    "eap-relp": "RelP",
    "eap-ig": "EAP-IG",
    "eap-ig-mid": "EAP-IG (midpoints)",
    "eap-ig-kl": "EAP-IG (KL)",
    "rank-mean": "mean rank",
    "hap": "HAP",
    "ep": "EP",
    OWN: "Mine",
    RIVAL: "Rival",
}


# One name for each measure, wherever it stands: page, terminal, tables.
METRIC_TITLES = {
    "kl": "KL",
    "logit_diff": "Logit difference",
    "faithfulness": "Faithfulness",
    "accuracy": "Accuracy",
    "top1": "Top-1",
    "exact_match": "Exact match",
    "deviation": "Deviation",
    "prob_diff": "Probability difference",
}


def row_title(metrics: Mapping[str, Any], name: str) -> str:
    """Of a row of a run's metrics: the circuit, and its prompts where others had more."""
    counts = {key: row.get("n_prompts") or 0 for key, row in metrics.items()}
    fewer = 0 < counts[name] < max(counts.values())
    return f"{circuit_title(name)} ({counts[name]} prompts)" if fewer else circuit_title(name)


def circuit_title(name: str) -> str:
    """What a row of a run's metrics is called: a control, a method's circuit, or one that a user named."""
    return CONTROL_TITLES.get(name) or METHOD_TITLES.get(name, name)


def attention_ways(model: Mapping[str, Any]) -> str:
    """In which ways a run computed its model's attention, from its ``model``; empty where an older run does not say."""
    found = model.get("ways") or {}
    layers, names = sum(found.values()), say.parts("ways.names")
    parts = [
        say("ways.all" if count == layers else "ways.some", way=names.get(way, way), n=count, layers=layers)
        for way, count in sorted(found.items())
    ]
    return say("ways.sentence", ways=", ".join(parts)) if parts else ""


def role_title(role: str) -> str:
    return ROLE_TITLES.get(role, role)
