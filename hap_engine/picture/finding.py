"""What a picture leads with and what a click on it opens, as plain data: the prompt, the distances, the heads' facts.

The browser fills the sentences (``finding`` in the report's words), for which heads differ follows its slider.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from hap_engine.findings import Findings
from hap_engine.report.every_size import evidence_of, size_verdict
from hap_engine.report.missed_heads import how_dropped, misplaced, missed_heads
from hap_engine.report.titles import circuit_title, role_title, say
from hap_engine.report.verdict import warnings


def finding(run: Findings, left: str, right: str, prompt: int = 0) -> dict[str, Any]:
    """All texts are plain; the browser writes them with ``textContent``.

    Args:
        left, right: the circuits of the two panels.
        prompt: index of the test prompt on which everything is shown.
    """
    kls = {name: _finite(run.metrics[name].get("kl")) for name in (left, right, "empty") if name in run.metrics}
    return {
        "words": say.parts("finding"),
        "prompt": _prompt(run, prompt),
        "methods": {
            side: {"title": say("sizes.alone") if name == "eap" else circuit_title(name), "kl": kls.get(name)}
            for side, name in (("left", left), ("right", right))
        },
        "empty": kls.get("empty"),
        "eap": left == "eap",
        "sizes": size_verdict(run),
        "warnings": warnings(run),
        "places": [found.sentence for found in misplaced(run, left, right)],
        "heads": {head: _head(run, head, facts) for head, facts in run.heads.items()},
        "dropped": {head: how_dropped(run, head, left) for head in missed_heads(run, left, right)},
        "attention": _attention(run, prompt),
        "cuts": _cuts(run, {"left": left, "right": right}, prompt),
        "promoted": _promoted(run, prompt),
    }


def _prompt(run: Findings, index: int) -> dict[str, Any]:
    """The tokens with their roles; without stored tokens the whole prompt is one."""
    tests = run.prompts.get("test", ())
    if index >= len(tests):
        return {"tokens": [], "answer": "", "instead": ""}
    test, tokens = tests[index], [tests[index].get("clean", "")]
    roles: Mapping[str, int] = {}
    if index < len(run.attention):
        tokens, roles = run.attention[index]["tokens"]["clean"], run.attention[index].get("roles") or {}
    by_place: dict[int, list[str]] = {}
    for role, place in roles.items():
        by_place.setdefault(place, []).append(role)
    named = [[token, ", ".join(by_place.get(place, []))] for place, token in enumerate(tokens)]
    return {"tokens": named, "answer": test.get("answer", "").strip(), "instead": test.get("distractor", "").strip()}


def _head(run: Findings, head: str, facts: Mapping[str, Any]) -> dict[str, Any]:
    known = (run.roles.get("heads") or {}).get(head) or {}
    told = {"rank": facts.get("eap_rank"), "direct": _finite(facts.get("direct_effect"))}
    if not known:
        return told
    role = str(known["role"])
    key, effect, marginal = evidence_of(run, role, head)
    size = say("effect.logits" if key == "direct_effect" else "effect.attention", effect=effect)
    return told | {
        "role": role_title(role),
        "does": say.parts("finding.roles").get(role, ""),
        "evidence": known.get("sentence", ""),
        "effect": effect,
        "said": size if effect else "",
        "marginal": marginal,
    }


def _attention(run: Findings, prompt: int) -> dict[str, list[list[float]]]:
    """Of each head whose pattern is stored a row a token, up to itself."""
    stored = run.attention[prompt]["heads"] if prompt < len(run.attention) else {}
    return {
        head: [[round(_finite(x) or 0.0, 2) for x in row[: place + 1]] for place, row in enumerate(sides["clean"])]
        for head, sides in stored.items()
    }


def _cuts(run: Findings, sides: Mapping[str, str], prompt: int) -> dict[str, Any]:
    """The answer's probability on this prompt: a side, ``base`` and by head ``off`` and ``on``, where it is stored."""
    if prompt >= run.cuts.get("n_prompts", 0):
        return {}
    rows = {side: run.cuts["circuits"][name] for side, name in sides.items() if name in run.cuts["circuits"]}
    return {
        side: {"base": row["base"][prompt]}
        | {state: {head: shares[prompt] for head, shares in row[state].items()} for state in ("off", "on")}
        for side, row in rows.items()
    }


def _promoted(run: Findings, prompt: int) -> dict[str, dict[str, list[tuple[str, float]]]]:
    """Of each node whose words are stored those that it promotes and holds back on this prompt, strongest first."""
    if prompt >= run.cuts.get("n_prompts", 0):
        return {}
    stored = run.cuts.get("promoted", {})
    return {node: {way: list(words.items()) for way, words in rows[prompt].items()} for node, rows in stored.items()}


def _finite(value: Any) -> float | None:
    """A number that JSON can hold."""
    return value if isinstance(value, int | float) and math.isfinite(value) else None
