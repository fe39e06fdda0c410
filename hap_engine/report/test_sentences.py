"""What the later tests of a run say, in plain words: ``statistics`` and ``stability`` read aloud (no torch).

Each `Finding` is a question that a careful reader asks of a circuit and the answer of this run, with the
numbers that it rests on. Nothing is called better, complete or needed without its interval or its
threshold; where a test could not be made (no wrong prompts, one prompt), the answer says so.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from hap_engine.findings import Findings
from hap_engine.report.titles import circuit_title, role_title

SMALL = 0.1  # share of the task below which a gap or a rest is called small
LARGE = 0.5  # and above which it is called large
SUBSET = 0.1  # the size of the subsets of dropped edges that a sentence quotes
LISTED = 6  # nodes named in a sentence


@dataclass(frozen=True)
class Finding:
    """A question about a circuit, what the run's tests answer, and the numbers behind the answer."""

    question: str
    answer: str
    detail: str = ""


def findings(run: Findings) -> list[Finding]:
    """Everything that ``statistics`` and ``stability`` say, in the order in which to read it."""
    told: list[Finding] = []
    if run.statistics:
        for part in (_comparisons, _mistakes, _complement, _completeness, _minimality, _curves, _ablations, _missed):
            told += part(run)
    if run.stability:
        told.append(_stability(run))
    return told


def _main(run: Findings) -> str:
    return str(run.statistics["main"])


def _ends(test: Mapping[str, Any]) -> tuple[float, float] | None:
    """The two ends of an interval; None where the run states none."""
    ends = test.get("interval")
    return (float(ends[0]), float(ends[1])) if ends and len(ends) == 2 else None


def p_value(p: float | None) -> str:
    """A p-value in words; never "p = 0"."""
    if p is None:
        return "p unknown"
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}" if p < 0.1 else f"p = {p:.2f}"


def _listed(names: Sequence[str]) -> str:
    more = len(names) - LISTED
    return ", ".join(names[:LISTED]) + (f" and {more} more" if more > 0 else "")


def _comparisons(run: Findings) -> Iterator[Finding]:
    ours = circuit_title(_main(run))
    for name, tests in run.statistics["comparisons"].items():
        kl, theirs = tests["kl"], circuit_title(name)
        paired = f"Compared prompt by prompt on {kl['n']:,} prompts, sign-flip {p_value(kl.get('p'))}."
        rest = f"{_only(tests['exact_match'], theirs)} {_heads(tests['heads'], ours, theirs)}"
        question = f"Is {ours} closer to the model than {theirs}, beyond chance?"
        yield Finding(question, _closer(kl, theirs), f"{paired} {rest}")


def _closer(kl: Mapping[str, Any], theirs: str) -> str:
    mean, ends = kl.get("mean") or 0.0, _ends(kl)
    if not ends:
        return f"Cannot be told: one prompt, on which its KL differs by {mean:+.2f} nats, has no interval."
    low, high = sorted(map(abs, ends))
    if ends[0] <= 0 <= ends[1]:
        return (
            f"These prompts do not tell: its KL differs by {mean:+.2f} nats "
            f"(95 % interval {ends[0]:+.2f} to {ends[1]:+.2f})."
        )
    word, start = ("lower", "Yes") if mean < 0 else ("higher", f"No, {theirs} is")
    return f"{start}: its KL is {abs(mean):.2f} nats {word} (95 % interval {low:.2f} to {high:.2f})."


def _only(test: Mapping[str, Any], theirs: str) -> str:
    one, other = test.get("first_only") or 0, test.get("second_only") or 0
    return (
        f"It makes the model's first choice on {one:,} prompts where {theirs} does not, the reverse on "
        f"{other:,} (McNemar {p_value(test.get('p'))})."
    )


def _heads(test: Mapping[str, Any], ours: str, theirs: str) -> str:
    which = "heads with a measured role" if test.get("roles") else "heads that either keeps"
    one, other = test.get("first_only") or 0, test.get("second_only") or 0
    if not one and not other:
        return f"Of the {test['n']} {which}, both keep the same."
    return (
        f"Of the {test['n']} {which}, {ours} alone keeps {one} and {theirs} alone {other} "
        f"(McNemar {p_value(test.get('p'))})."
    )


def _mistakes(run: Findings) -> Iterator[Finding]:
    sides = run.statistics["agreement"].get(_main(run))
    if not sides:
        return
    right, wrong = sides["top1"]["right"], sides["top1"]["wrong"]
    good, bad = _ends(right), _ends(wrong)
    if not wrong["n"]:
        answer = "Cannot be told: the model's first choice is wrong on none of these prompts."
    elif good and bad and good[0] > bad[1]:
        answer = "Less than its right answers: part of why the model errs lies outside the circuit."
    else:
        answer = "No sign that it copies only the right answers."
    parts = [
        f"Where the model's first choice is {word}, the circuit makes the same on {_share(side)}."
        for word, side in (("right", right), ("wrong", wrong))
        if side["n"]
    ]
    yield Finding("Does it make the model's mistakes too?", answer, " ".join(parts))


def _share(side: Mapping[str, Any]) -> str:
    ends = _ends(side)
    between = f" (95 % interval {ends[0]:.0%} to {ends[1]:.0%})" if ends else ""
    return f"{side.get('share') or 0:.0%} of {side['n']:,} prompts{between}"


def _complement(run: Findings) -> Iterator[Finding]:
    row = run.statistics["complement"].get(_main(run))
    if not row:
        return
    left = row["faithfulness"]
    if left < SMALL:
        answer = f"Yes: without them {left:.0%} of it is left."
    else:
        answer = (
            f"Not only: without them {left:.0%} of it is left, so {'most' if left > LARGE else 'part'} can take other"
            " ways."
        )
    detail = (
        "The circuit's edges corrupted, all others whole: "
        f"logit difference {row['logit_diff']:.2f}, KL {row['kl']:.2f}."
    )
    yield Finding("Does the task go through these edges?", answer, detail)


def _completeness(run: Findings) -> Iterator[Finding]:
    sets = run.statistics["completeness"]["sets"]
    if not sets:
        return
    gaps = [row["gap"] for row in sets]
    worst = max(sets, key=lambda row: row["gap"])
    if worst["gap"] < SMALL:
        answer = "No sign of a back-up in the model that the circuit lacks."
    elif worst["model"] > worst["circuit"]:
        answer = "Not all: without some of its parts the model falls less than the circuit, so it has a back-up."
    else:
        answer = (
            "Not all: without some of its parts the circuit falls less than the model, so it lacks what works against"
            " them."
        )
    name = role_title(worst["name"])
    detail = (
        f"The same heads and MLPs knocked out of circuit and model leave the two {fmean(gaps):.1%} of the task "
        f"apart on average, {worst['gap']:.1%} at most ({name}: {_listed(worst['nodes'])})."
    )
    yield Finding("Is it all of the mechanism?", answer, detail)


def _minimality(run: Findings) -> Iterator[Finding]:
    test = run.statistics["minimality"]
    rows = test["nodes"]
    if not rows:
        return
    spare = [row["node"] for row in rows if row["effect"] < test["threshold"]]
    answer = (
        f"{test['needed']} of its {len(rows)} heads and MLPs are: each carries at least {test['threshold']:.0%} of"
        " the task."
    )
    detail = f"The most: {rows[0]['node']} ({rows[0]['effect']:.0%})."
    if spare:
        detail += f" Not needed on these prompts: {_listed(spare)}."
    yield Finding("Is all of it needed?", answer, detail)


def _curves(run: Findings) -> Iterator[Finding]:
    curves = run.statistics["curves"]
    if not curves:
        return
    best = min(curves, key=lambda name: curves[name]["cmd"])
    answer = f"Over all sizes together, {circuit_title(best)}'s order of the edges stays closest to the model."
    parts = [f"{circuit_title(name)} {areas['cpr']:.2f} and {areas['cmd']:.2f}" for name, areas in curves.items()]
    detail = f"Area under the faithfulness (CPR) and under its distance to 1 (CMD, 0 is best): {'; '.join(parts)}."
    yield Finding("And at other sizes?", answer, detail)


def _ablations(run: Findings) -> Iterator[Finding]:
    best: dict[str, str] = {}
    for kind, rows in (run.statistics.get("ablations") or {}).items():
        sought = {name: row["kl"] for name, row in rows.items() if name in run.circuits}
        if len(sought) > 1:
            best[kind] = min(sought, key=sought.__getitem__)
    if not best:
        return
    if len(set(best.values())) == 1:
        answer = f"Not for the order: {circuit_title(next(iter(best.values())))} has the lowest KL under every kind."
    else:
        each = ", ".join(f"{circuit_title(name)} under {kind}" for kind, name in best.items())
        answer = f"Yes: the lowest KL has {each}."
    detail = "Circuits are sought under resample ablation; the other kinds ask more of them."
    yield Finding("Does the kind of ablation matter?", answer, detail)


def _missed(run: Findings) -> Iterator[Finding]:
    missed = run.statistics.get("missed")
    if not missed:
        return
    worst = run.metrics.get("empty", {}).get("kl")
    part = f", {missed['all'] / worst:.1%} of what corrupting everything does" if worst else ""
    answer = f"All of it together moves the whole model by {missed['all']:.3f} nats{part}."
    detail = f"It dropped {missed['n_dropped']:,} of {run.graph.n_edges:,} edges."
    for row in missed["subsets"]:
        if row["share"] == SUBSET:
            detail += (
                f" A random {row['share']:.0%} of them: {row['mean']:.3f} nats on average and {row['max']:.3f} at most "
                f"in {row['n_subsets']} draws, so with {missed['confidence']:.0%} confidence at most "
                f"{row['exceeded_at_most']:.0%} of such draws do worse."
            )
    yield Finding("What did the first filter throw away?", answer, detail)


def _stability(run: Findings) -> Finding:
    stability = run.stability
    always = [head for head, share in stability["heads"].items() if share >= 1]
    sometimes = [head for head, share in stability["heads"].items() if share < 1]
    answer = f"Two seeds' circuits share {stability['jaccard']:.0%} of their edges on average."
    detail = (
        f"Seeds {', '.join(map(str, stability['seeds']))}; {stability['always']:,} of the {stability['ever']:,} edges "
        f"are in every circuit. Heads that every seed keeps: {_listed(always) or 'none'}."
    )
    if sometimes:
        detail += f" Only some keep: {_listed(sometimes)}."
    return Finding("Would another seed find the same?", answer, detail)
