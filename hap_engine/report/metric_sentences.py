"""What each number of a circuit says, in plain words and beside its controls, and whether it passes (no torch)."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from hap_engine.findings import Findings
from hap_engine.graph.circuit import Circuit
from hap_engine.report.by_prompt import closer, measured
from hap_engine.report.titles import METRIC_TITLES, circuit_title, say

NEAR = 0.1  # how far from the model, on a scale to everything corrupted or in shares, a circuit may be and pass
YES, NO, UNKNOWN = "✓", "✗", "?"


@dataclass(frozen=True)
class Finding:
    """A question about a circuit, what the run answers, the numbers behind it, and whether that speaks for it."""

    question: str
    answer: str
    detail: str = ""
    mark: str = UNKNOWN


def scores(run: Findings, name: str, other: str = "") -> Iterator[Finding]:
    """A row for each metric of a circuit: passed if its whole interval is near the model, failed if all of it is not.

    Args:
        other: a circuit to compare it with by their intervals; empty for none.
    """
    row, full, empty = (run.metrics.get(key, {}) for key in (name, "full", "empty"))
    told = read(run, name)
    targets = {"faithfulness": 1.0, "accuracy": full.get("accuracy"), "top1": full.get("top1"), "exact_match": 1.0}
    worst, control = empty.get("kl"), row.get("random_kl", run.metrics.get("random", {}).get("kl"))
    bars = {"kl": (-math.inf, NEAR * worst)} if worst else {}
    bars |= {key: (at - NEAR, at + NEAR) for key, at in targets.items() if at is not None}
    for key, question in say.parts("metrics.questions").items():
        if key in told:
            detail = told[key] if key != "faithfulness" else f"{told.get('logit_diff', '')} {told[key]}".strip()
            answer = say("metrics.answer", title=METRIC_TITLES[key], value=row[key])
            mark = _passed(run, name, key, *bars[key]) if key in bars else UNKNOWN
            yield Finding(question, answer, f"{detail} {say('metrics.bars.' + key)}", mark)
    if "kl" in told and control is not None and math.isfinite(control):
        answer = say("metrics.random.answer", value=row["kl"], random=control)
        mark = _passed(run, name, "kl", -math.inf, control)
        yield Finding(say("metrics.random.question"), answer, say("metrics.random.detail"), mark)
    ours, theirs = interval(run, name, "kl"), interval(run, other, "kl")
    if ours and theirs and name != other:
        mark = YES if ours[1] < theirs[0] else NO if ours[0] > theirs[1] else UNKNOWN
        titles = {"title": circuit_title(name), "other": circuit_title(other)}
        detail = closer(run, other, name) if measured(run, name) and measured(run, other) else ""
        yield Finding(say("metrics.closer", **titles), overlap(run, name, other), detail, mark)


def _passed(run: Findings, name: str, key: str, low: float, high: float) -> str:
    value = run.metrics[name][key]
    least, most = interval(run, name, key) or (value, value)
    return YES if low <= least and most <= high else NO if most < low or least > high else UNKNOWN


def read(run: Findings, name: str) -> dict[str, str]:
    """A sentence for each metric of a circuit, metrics that are not there left out."""
    row, full, empty, random = (run.metrics.get(key, {}) for key in (name, "full", "empty", "random"))
    known = {key: value for key, value in row.items() if isinstance(value, int | float)}
    writers = {
        "kl": _kl,
        "logit_diff": _logit_diff,
        "faithfulness": _faithfulness,
        "accuracy": _share,
        "top1": _share,
        "exact_match": _exact,
    }
    return {
        key: write(key, known[key], full, empty, random) + _interval(run, name, key)
        for key, write in writers.items()
        if key in known and not math.isnan(known[key])
    }


def interval(run: Findings, name: str, key: str) -> tuple[float, float] | None:
    """The 95 % interval of a metric, if the run states a whole one."""
    ends = (run.metrics.get(name, {}).get("interval") or {}).get(key)
    if not isinstance(ends, list) or len(ends) != 2:
        return None
    if not all(isinstance(end, int | float) and math.isfinite(end) for end in ends):
        return None
    return float(ends[0]), float(ends[1])


def overlap(run: Findings, left: str, right: str) -> str:
    """Do the intervals of the two circuits' KL overlap? One sentence, empty without intervals."""
    a, b = (interval(run, key, "kl") for key in (left, right))
    if a is None or b is None or left == right:
        return ""
    titles = {"left": circuit_title(left), "right": circuit_title(right)}
    if a[0] > b[1] or b[0] > a[1]:
        return say("metrics.apart", near=titles["right" if b[1] < a[0] else "left"])
    return say("metrics.overlap", **titles)


Row = Mapping[str, Any]


def _kl(key: str, value: float, full: Row, empty: Row, random: Row) -> str:
    text, worst = say("metrics.kl", value=value), empty.get("kl")
    if not worst:
        return text + "."
    text += say("metrics.kl_worst", worst=worst)
    if isinstance(random.get("kl"), float):
        text += say("metrics.kl_random", random=random["kl"])
    return text + say("metrics.kl_closes", closed=max(0.0, 1 - value / worst))


def _logit_diff(key: str, value: float, full: Row, empty: Row, random: Row) -> str:
    text = say("metrics.prefers", side=say("metrics.right" if value >= 0 else "metrics.wrong"), size=abs(value))
    if abs(value) < 12:
        text += say("metrics.odds", odds=math.exp(abs(value)))
    return text + (say("metrics.full", full=full["logit_diff"]) if "logit_diff" in full else "") + "."


def _faithfulness(key: str, value: float, full: Row, empty: Row, random: Row) -> str:
    verdict = "wrong_way" if value < 0 else "beyond" if value > 1.05 else "whole" if value > 0.95 else "part"
    return say("metrics.recovered", value=value, verdict=say(f"metrics.{verdict}"))


def _share(key: str, value: float, full: Row, empty: Row, random: Row) -> str:
    known = key in full and key in empty
    beside = say("metrics.share_beside", full=full[key], empty=empty[key]) if known else ""
    what = say("metrics.beats" if key == "accuracy" else "metrics.first")
    return say("metrics.share", what=what, value=value, beside=beside)


def _exact(key: str, value: float, full: Row, empty: Row, random: Row) -> str:
    return say("metrics.exact", value=value)


def _interval(run: Findings, name: str, key: str) -> str:
    ends = interval(run, name, key)
    return say("metrics.interval", low=ends[0], high=ends[1]) if ends else ""


def distinct(circuit: Circuit) -> int:
    """Edges that a circuit keeps at some span."""
    return len(circuit.collapsed())


def distinct_edges(run: Findings) -> dict[str, int]:
    """Of each row of the metrics of a run with spans; none without, or where edges were drawn at random."""
    if not run.graph.positional:
        return {}
    ends = {"full": run.graph.whole.n_edges, "empty": 0}
    return ends | {name: distinct(record.circuit) for name, record in run.circuits.items()}


def kl_at_distinct(run: Findings, name: str, count: int) -> float | None:
    """KL of an order's circuit with so many distinct edges, between the two sizes of its curve around it (linear in the
    logarithms of both); None where the curve does not reach there."""
    kls = run.sizes.get("metrics", {}).get(name, {}).get("kl", ())
    order = run.orders.get(name)
    if order is None or count < 1:
        return None
    points = [(distinct(order.circuit(size)), kl) for size, kl in zip(run.sizes["grid"], kls, strict=True)]
    known = sorted((math.log(edges), math.log(kl)) for edges, kl in points if edges and kl > 0)
    if not known or not known[0][0] <= math.log(count) <= known[-1][0]:
        return None
    edges, logs = zip(*known, strict=True)
    return float(np.exp(np.interp(math.log(count), edges, logs)))


def distinct_sentence(run: Findings, names: Sequence[str]) -> str:
    """How many distinct edges the circuits have, and what the others reach with as many as the main one; plain text,
    empty for a run without spans."""
    counts = distinct_edges(run)
    if run.main not in counts:
        return ""
    told = ", ".join(f"{circuit_title(name)} {counts[name]:,}" for name in names if name in counts)
    equal = [(name, kl_at_distinct(run, name, counts[run.main])) for name in names if name != run.main]
    others = ", ".join(f"{circuit_title(name)} {kl:.2f}" for name, kl in equal if kl is not None)
    more = say("distinct.equal", others=others, count=counts[run.main], main=circuit_title(run.main)) if others else ""
    return say("distinct.counts", told=told) + more
