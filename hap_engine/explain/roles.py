"""Which role each head plays in IOI, by evidence measured on this model (Wang et al. 2022).

`path_effects.py` measures; here it is decided. A head has a role if its mean attention at the role's defining
pair passes `ATTENTION` and the role's effect passes both its threshold and three standard errors over
prompts. Roles are found from the output backwards, because each is defined by what it does to the next:
name movers by their direct effect, S-inhibition by its effect on the movers' queries, duplicate-token and
induction heads by their effect through S-inhibition, previous-token heads by that on induction heads.

The thresholds follow the published definition of the GPT-2 small circuit, not a fit to any list: attention
well above chance, and an effect that is reliably not zero. Where the model is `gpt2` the result is set
beside the published 26 heads (`agreement`). A role is a reading of evidence, not a proof; the evidence
of each head is stored with it, with a baseline: what the same path does when it carries the change of
*another* prompt (``mover_effect_elsewhere``: near 0 if the head speaks about its own prompt).
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hap_engine.explain.path_effects import (
    PAIRS,
    TwoPasses,
    copy_scores,
    induction_effects,
    inhibition_effects,
    logit_differences,
    mover_effects,
)
from hap_engine.words import beside

__all__ = ["PAIRS", "find_roles", "published_roles", "summarise_heads"]

ATTENTION = 0.2  # mean attention that a role's defining pair needs (chance at 17 tokens: 0.06)
DIRECT = 0.02  # share of the full logit difference that a name mover must carry on its own
ERRORS = 3  # standard errors over prompts that an effect must reach
EFFECT = 0.01  # mean change of attention that a path must cause
MOVERS = 8  # strongest name movers whose queries are watched; bounds the cost

_TABLES = tomllib.loads(beside(__file__, "roles.toml"))
ROLES: Mapping[str, tuple[str, str, int]] = _TABLES["roles"]  # attention pair, evidence key, sign of the evidence


def published_roles(model_name: str) -> dict[str, str] | None:
    """Head name to role for models with a published IOI circuit, else None."""
    if model_name not in ("gpt2", "openai-community/gpt2"):  # not somebody's own of that name
        return None
    return {
        f"a{head.split('.')[0]}.h{head.split('.')[1]}": role
        for role, heads in _TABLES["published"].items()
        for head in heads.split()
    }


@torch.no_grad()
def find_roles(passes: TwoPasses, evidence: Mapping[str, dict[str, np.ndarray]]) -> dict[str, Any]:
    """The run file's ``roles``: measured role of each head with evidence and thresholds."""
    chosen, _ = assign_roles(passes, evidence)
    published = published_roles(passes.masked.model.name)
    return {
        "thresholds": thresholds(passes),
        "n_prompts": len(passes.answer),
        "heads": chosen,
        "published": published,
        "agreement": agreement(chosen, published) if published else None,
    }


def thresholds(passes: TwoPasses) -> dict[str, float]:
    """What a role needs, as stated in the run; the direct effect is in logits of this model and task."""
    full = float(logit_differences(passes, passes.clean.final[None]).mean())
    return {
        "attention": ATTENTION,
        "direct_effect": DIRECT * abs(full),
        "path_effect": EFFECT,
        "standard_errors": ERRORS,
    }


@torch.no_grad()
def assign_roles(
    passes: TwoPasses, evidence: Mapping[str, dict[str, np.ndarray]]
) -> tuple[dict[str, dict[str, Any]], dict[str, dict[str, np.ndarray]]]:
    """The heads that have a role, and the evidence per prompt of every head."""
    n_heads, names = passes.masked.graph.n_heads, passes.masked.graph.heads
    limits = {"direct_effect": thresholds(passes)["direct_effect"]}
    table = {head: dict(values) for head, values in evidence.items()}
    chosen: dict[str, dict[str, Any]] = {}

    def assign(*roles: str) -> list[str]:
        for head in names:
            for role in roles:
                if head not in chosen and _has_role(table[head], role, limits):
                    chosen[head] = _describe(table[head], role)
        return [head for head in names if chosen.get(head, {}).get("role") in roles]

    def places(heads: Sequence[str]) -> list[tuple[int, int]]:
        return [divmod(names.index(head), n_heads) for head in heads]

    movers = assign("name_mover")
    assign("negative_name_mover")
    strongest = sorted(movers, key=lambda head: -table[head]["direct_effect"].mean())[:MOVERS]
    receivers = places(strongest)
    _store(table, names, "mover_effect", mover_effects(passes, receivers))
    _store(table, names, "mover_effect_elsewhere", mover_effects(passes, receivers, roll=1))
    inhibitors = places(assign("s_inhibition"))
    _store(table, names, "inhibition_effect", inhibition_effects(passes, inhibitors, receivers))
    assign("induction", "duplicate_token")
    inductors = places([head for head in chosen if chosen[head]["role"] == "induction"])
    _store(table, names, "induction_effect", induction_effects(passes, inductors))
    assign("previous_token")
    for head, record in chosen.items():
        record["evidence"] |= _more_evidence(passes, head, table[head])
    return chosen, table


def agreement(chosen: Mapping[str, Mapping[str, Any]], published: Mapping[str, str]) -> dict[str, dict[str, int]]:
    """Per role: heads published, heads measured here, heads in both.

    Backup name movers count as name movers: what sets them apart shows only when the others are cut.
    """
    same = {"backup_name_mover": "name_mover"}
    theirs = {head: same.get(role, role) for head, role in published.items()}
    ours = {head: str(record["role"]) for head, record in chosen.items()}
    return {
        role: {
            "published": list(theirs.values()).count(role),
            "measured": list(ours.values()).count(role),
            "both": sum(mine == role == theirs.get(head) for head, mine in ours.items()),
        }
        for role in ROLES
    }


def summarise_heads(evidence: Mapping[str, dict[str, np.ndarray]]) -> dict[str, dict[str, Any]]:
    """Means of `measure_heads` for the run file's ``heads``."""
    return {
        head: {
            "direct_effect": float(values["direct_effect"].mean()),
            "attention": {key: round(float(numbers.mean()), 4) for key, numbers in values.items() if "->" in key},
        }
        for head, values in evidence.items()
    }


def _more_evidence(passes: TwoPasses, head: str, values: Mapping[str, np.ndarray]) -> dict[str, float]:
    """Direct and path effects of a head whatever its role, and what its OV circuit copies."""
    known = ("direct_effect", "mover_effect", "mover_effect_elsewhere")
    means = {key: round(float(values[key].mean()), 5) for key in known if key in values}
    layer, index = (int(part[1:]) for part in head.split("."))
    copied, opposed = copy_scores(passes, layer, index)
    return {**means, "copy_score": round(copied, 4), "negative_copy_score": round(opposed, 4)}


def _store(table: dict[str, dict[str, Any]], names: Sequence[str], key: str, values: Tensor) -> None:
    for head, row in zip(names, values.cpu().numpy(), strict=True):
        table[head][key] = row


def _has_role(evidence: Mapping[str, np.ndarray], role: str, limits: Mapping[str, float]) -> bool:
    pair, key, sign = ROLES[role]
    if pair not in evidence or key not in evidence:
        return False
    values = sign * evidence[key]
    error = values.std() / max(1, len(values)) ** 0.5
    strong = values.mean() >= max(limits.get(key, EFFECT), ERRORS * error)
    return bool(evidence[pair].mean() >= ATTENTION and strong)


def _describe(evidence: Mapping[str, np.ndarray], role: str) -> dict[str, Any]:
    pair, key, _ = ROLES[role]
    attention, effect = float(evidence[pair].mean()), float(evidence[key].mean())
    return {
        "role": role,
        "evidence": {f"attention {pair}": round(attention, 4), key: round(effect, 5)},
        "sentence": f"{pair.replace('->', '→')} attention {attention:.2f}; "
        + _TABLES["what"][key].format(effect)
        + ".",
    }
