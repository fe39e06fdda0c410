"""What each number of a circuit says, in plain words and beside its controls (no torch)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from hap_engine.findings import Findings
from hap_engine.report.titles import circuit_title

TITLES = {
    "kl": "KL divergence",
    "logit_diff": "Logit difference",
    "faithfulness": "Faithfulness",
    "accuracy": "Right beats wrong",
    "top1": "Right is first",
    "exact_match": "Same first choice",
}


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
    titles = [circuit_title(key) for key in (left, right)]
    if a[0] > b[1] or b[0] > a[1]:
        near = titles[1] if b[1] < a[0] else titles[0]
        return f"The 95 % intervals of the two KLs do not overlap: {near} is closer to the full model."
    return (
        f"The 95 % intervals of the KLs of {titles[0]} and {titles[1]} overlap, so these prompts alone "
        "do not tell which is closer to the full model."
    )


Row = Mapping[str, Any]


def _kl(key: str, value: float, full: Row, empty: Row, random: Row) -> str:
    text = f"Its next-word probabilities are {value:.2f} nats from the full model's"
    worst = empty.get("kl")
    if not worst:
        return text + "."
    beside = f"; with everything corrupted it is {worst:.2f}"
    if isinstance(random.get("kl"), float):
        beside += f", for random circuits of this size {random['kl']:.2f}"
    return f"{text}{beside}. So it closes {max(0.0, 1 - value / worst):.0%} of the distance."


def _logit_diff(key: str, value: float, full: Row, empty: Row, random: Row) -> str:
    side = "the right answer over the wrong one" if value >= 0 else "the wrong answer"
    text = f"It prefers {side} by {abs(value):.2f} logits"
    if abs(value) < 12:
        text += f" (odds of {math.exp(abs(value)):,.0f} to 1)"
    return f"{text}; the full model by {full['logit_diff']:.2f}." if "logit_diff" in full else text + "."


def _faithfulness(key: str, value: float, full: Row, empty: Row, random: Row) -> str:
    text = f"{value:.0%} of what the corruption destroys is recovered"
    if value < 0:
        return text + ": it points the wrong way."
    if value > 1.05:
        return text + ": more than all, because parts that hold the model back were cut too."
    if value > 0.95:
        return text + ": as strong a preference as the full model's."
    return text + ": the rest is lost with the edges that were cut."


def _share(key: str, value: float, full: Row, empty: Row, random: Row) -> str:
    what = "beats the wrong one" if key == "accuracy" else "is its first choice of all words"
    text = f"The right answer {what} on {value:.0%} of the prompts"
    if key in full and key in empty:
        text += f" (full model {full[key]:.0%}, everything corrupted {empty[key]:.0%})"
    return text + "."


def _exact(key: str, value: float, full: Row, empty: Row, random: Row) -> str:
    return f"Its first choice is the full model's first choice on {value:.0%} of the prompts, right or wrong."


def _interval(run: Findings, name: str, key: str) -> str:
    ends = interval(run, name, key)
    return f" 95 % interval over prompts: {ends[0]:.2f} to {ends[1]:.2f}." if ends else ""
