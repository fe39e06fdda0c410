"""Two runs side by side, as numbers: what differs, what both circuits share (no Streamlit here)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hap_engine.findings import METRICS, Findings
from hap_engine.report.titles import ROLE_TITLES, circuit_title, role_title, say
from hap_engine.report.verdict import has_roles, heads_of_role


def comparable(one: Findings, two: Findings) -> str:
    """Why the nodes of two runs cannot be matched, or an empty text if they can."""
    if one.graph != two.graph and one.graph.whole == two.graph.whole:
        theirs, others = (", ".join(filter(None, (s.name for s in run.graph.spans))) or "none" for run in (one, two))
        return say("two.spans", one=one.title, two=two.title, theirs=theirs, others=others)
    if one.graph != two.graph:
        return say("two.graphs", one=one.model["name"], two=two.model["name"])
    return ""


def caution(one: Findings, two: Findings) -> str:
    """A reason to read the overlap with care, or an empty text."""
    if one.graph == two.graph and one.model.get("sha256") != two.model.get("sha256"):
        return say("two.weights")
    if one.task["name"] != two.task["name"]:
        return say("two.tasks")
    return ""


def differences(one: Findings, two: Findings) -> list[tuple[str, str, str]]:
    """Settings in which two runs differ: (name, one, two), the ones that matter most first."""
    return [(name, a, b) for name, a, b in _settings(one, two) if a != b]


def short_labels(one: Findings, two: Findings) -> tuple[str, str]:
    """A name for each circuit that says what differs, short enough for a panel's title."""
    pairs = [(a, b) for name, a, b in differences(one, two) if name in ("method", "task", "sparsity", "seed", "model")]
    if not pairs:
        return tuple(f"{circuit_title(run.main)} of {run.id[:8]}" for run in (one, two))  # type: ignore[return-value]
    base = circuit_title(one.main) if one.main == two.main else ""
    left, right = (", ".join(filter(None, (base, *(pair[i] for pair in pairs[:2])))) for i in (0, 1))
    return left, right


def metric_rows(one: Findings, two: Findings) -> list[dict[str, Any]]:
    """One row a measure of both main circuits, with the difference."""
    a, b = (run.metrics.get(run.main, {}) for run in (one, two))
    rows: list[dict[str, Any]] = [
        _row("Live edges", len(one.circuits[one.main].circuit), len(two.circuits[two.main].circuit))
    ]
    rows += [_row(key, a.get(key), b.get(key)) for key in METRICS if key in a or key in b]
    return rows


def role_rows(one: Findings, two: Findings) -> list[dict[str, Any]]:
    """Per role: how many heads were measured to play it, and how many each circuit keeps."""
    measured = [head["role"] for run in (one, two) for head in run.roles.get("heads", {}).values()]
    return [
        {"Role": role_title(role), **_counts("left", one, role), **_counts("right", two, role)}
        for role in dict.fromkeys((*ROLE_TITLES, *measured))
        if role in measured
    ]


def _counts(side: str, run: Findings, role: str) -> dict[str, int | None]:
    """Heads of a role and how many are kept; blank where roles were not measured."""
    heads, kept = heads_of_role(run, role), run.circuits[run.main].circuit.heads
    known = has_roles(run)
    return {f"Heads, {side}": len(heads) if known else None, f"Kept, {side}": len(kept & {*heads}) if known else None}


def _settings(one: Findings, two: Findings) -> list[tuple[str, str, str]]:
    def facts(run: Findings) -> Mapping[str, str]:
        pruning = run.settings.get("pruning") or {}
        return {
            "model": str(run.model["name"]),
            "task": str(run.task["title"]),
            "method": circuit_title(run.main),
            "sparsity": f"{run.sparsity:.2%} sparse",
            "seed": f"seed {run.seed}",
            "corruption": str(run.task.get("corruption", "")),
            "scorer": circuit_title(str(run.settings.get("scorer", ""))),
            "steps": f"{pruning.get('steps', '')} steps",
            "budget method": str(pruning.get("budget", "")),
            "training precision": str(run.settings.get("dtype", "")),
            "weights": str(run.model.get("sha256", ""))[:12],
        }

    left, right = facts(one), facts(two)
    return [(name, left[name], right[name]) for name in left]


def _row(name: str, a: float | None, b: float | None) -> dict[str, Any]:
    known = a is not None and b is not None
    return {"Measure": name, "Left": a, "Right": b, "Difference": b - a if known else None}  # type: ignore[operator]
