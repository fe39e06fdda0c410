"""Which heads of SmolLM2 play which role in IOI? ``python -m benchmarks.studies.roles MODEL``.

Writes docs/studies/roles.md: every head that passes the thresholds with its evidence, and, head by head,
whether causal evidence confirms what attention patterns alone had suggested.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping

import numpy as np

from benchmarks.studies.pages import PAGES
from hap_engine.api import open_model, prompts
from hap_engine.explain.path_effects import measure_heads, two_passes
from hap_engine.explain.roles import ROLES, assign_roles, thresholds
from hap_engine.report.titles import ROLE_TITLES
from hap_engine.tasks.task import SplitSizes

PAGE = PAGES / "roles.md"
PROMPTS = 96  # three standard errors of an attention are then below 0.1, of an effect below 0.01
SEED = 0

# What a first look at attention patterns suggested, before anything was patched.
EXPECTED = {
    "duplicate_token": "a8.h1 a5.h6 a14.h3",
    "induction": "a17.h4 a17.h5",
    "s_inhibition": "a20.h0 a25.h2 a19.h2 a18.h1",
    "name_mover": "a23.h0 a24.h4 a22.h7 a23.h7",
}
EFFECTS = {
    "direct_effect": "direct effect (logits)",
    "mover_effect": "effect on movers' queries",
    "inhibition_effect": "effect through S-inhibition",
    "induction_effect": "effect through induction",
}

Evidence = Mapping[str, np.ndarray]


def main(reference: str) -> None:
    model = open_model(reference)
    sizes = SplitSizes(train=1, validation=PROMPTS, test=1)
    pairs = prompts(model, "ioi", sizes, SEED).validation
    passes = two_passes(model, pairs)
    chosen, table = assign_roles(passes, measure_heads(passes))
    limits = thresholds(passes)
    lines = [
        "# Roles in IOI, by causal evidence",
        "",
        f"{model.model.name}, {len(pairs)} validation prompts (seed {SEED}), corruption abc; made by "
        "`python -m benchmarks.studies.roles MODEL`.",
        "",
        f"A head has a role if its attention reaches {limits['attention']:g}, and its effect reaches its "
        f"threshold and {limits['standard_errors']:g} standard errors over prompts. Thresholds: direct effect "
        f"{limits['direct_effect']:.3f} logits (2 % of the logit difference), path effects "
        f"{limits['path_effect']:g} of attention. Effects are those of patching one path from the corrupt "
        "run, all else clean. ± is one standard error.",
        "",
        "## What attention patterns had suggested, tested",
        "",
        *_expected(chosen, table, limits),
        "",
        "## Every head that passes",
        "",
        *_found(chosen, table),
        "",
        "“Other prompt” is the baseline of the effect on the movers' queries: the same path carries the "
        "change of another prompt. Near 0 or negative: the head speaks about its own prompt. “Copies” is how often "
        "the name is among the head's five top tokens when only its value and output weights act on it, "
        "“opposes” the same for the negated output.",
    ]
    PAGE.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _expected(chosen: Mapping[str, Mapping], table: Mapping[str, Evidence], limits: Mapping[str, float]) -> list[str]:
    rows, right, total = [], 0, 0
    for role, heads in EXPECTED.items():
        pair, key, _ = ROLES[role]
        for head in heads.split():
            if head not in table:
                return ["These heads are those of SmolLM2-135M; this model has other heads."]
            found = chosen.get(head, {}).get("role")
            right, total = right + (found == role), total + 1
            rows.append(
                f"| {head} | {ROLE_TITLES[role]} | {table[head][pair].mean():.2f} | "
                f"{EFFECTS[key]} {_number(table[head][key])} | "
                f"{_verdict(role, found, table[head], limits)} |"
            )
    return [
        f"{right} of {total} are confirmed, {total - right} refuted.",
        "",
        "| head | expected | attention | effect | verdict |",
        "|---|---|---:|---|---|",
        *rows,
    ]


def _verdict(role: str, found: str | None, evidence: Evidence, limits: Mapping[str, float]) -> str:
    if found == role:
        return "confirmed"
    pair, key, sign = ROLES[role]
    values = sign * evidence[key]
    limit = limits["direct_effect"] if key == "direct_effect" else limits["path_effect"]
    reasons = []
    if evidence[pair].mean() < limits["attention"]:
        reasons.append("it looks elsewhere")
    if not values.any():
        reasons.append("no path leads from it to the heads it would act on")
    elif values.mean() < limit:
        reasons.append("its effect is too small" if values.mean() > 0 else "its effect has the other sign")
    elif values.mean() < limits["standard_errors"] * _error(values):
        reasons.append("its effect varies too much between prompts")
    if found:
        reasons.append(f"its measured role is {ROLE_TITLES[found]}")
    return "refuted: " + ", ".join(reasons)


def _found(chosen: Mapping[str, Mapping], table: Mapping[str, Evidence]) -> list[str]:
    rows = [
        "| role | head | attention | effect | on movers' queries | other prompt | direct | copies | opposes |",
        "|---|---|---:|---|---:|---:|---:|---:|---:|",
    ]
    for role, (pair, key, _) in ROLES.items():
        heads = [head for head, found in chosen.items() if found["role"] == role]
        for head in sorted(heads, key=lambda h: -abs(table[h][key].mean())):
            more = chosen[head]["evidence"]
            rows.append(
                f"| {ROLE_TITLES[role]} | {head} | {pair.replace('->', '→')} {table[head][pair].mean():.2f} | "
                f"{EFFECTS[key]} {_number(table[head][key])} | {more['mover_effect']:+.3f} | "
                f"{more['mover_effect_elsewhere']:+.3f} | {more['direct_effect']:+.2f} | "
                f"{more['copy_score']:.0%} | {more['negative_copy_score']:.0%} |"
            )
    return rows


def _number(values: np.ndarray) -> str:
    return f"{values.mean():+.3f} ± {_error(values):.3f}"


def _error(values: np.ndarray) -> float:
    return float(values.std() / len(values) ** 0.5)


if __name__ == "__main__":
    main(sys.argv[1])
