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

from hap_engine.runs import Run
from hap_engine.verdict import METHOD_TITLES, ROLE_TITLES

SMALL = 0.1  # share of the task below which a gap or a rest is called small
LARGE = 0.5  # and above which it is called large
SUBSET = 0.1  # the size of the subsets of dropped edges that a sentence quotes
LISTED = 6  # nodes named in a sentence


@dataclass(frozen=True)
class Finding:
    """A question about a circuit, and what the run's tests answer."""

    question: str
    answer: str


def findings(run: Run) -> list[Finding]:
    """Everything that ``statistics`` and ``stability`` say, in the order in which to read it."""
    found: list[Finding] = []
    if run.statistics:
        found += [*_comparisons(run), *_mistakes(run), *_complement(run)]
        found += [
            *_completeness(run),
            *_minimality(run),
            *_curves(run),
            *_ablations(run),
            *_missed(run),
        ]
    if run.stability:
        found.append(_stability(run))
    return found


def _title(name: str) -> str:
    return METHOD_TITLES.get(name, name)


def _main(run: Run) -> str:
    return str(run.statistics["main"])


def _comparisons(run: Run) -> Iterator[Finding]:
    ours = _title(_main(run))
    for name, tests in run.statistics["comparisons"].items():
        kl, same, theirs = tests["kl"], tests["exact_match"], _title(name)
        yield Finding(
            f"Is {ours} closer to the model than {theirs}, beyond chance?",
            f"{_closer(kl, ours, theirs)} {_only(same, ours, theirs)} {_heads(tests['heads'], ours, theirs)}",
        )


def _ends(found: Mapping[str, Any]) -> tuple[float, float] | None:
    """The two ends of an interval; None where the run states none."""
    ends = found.get("interval")
    return (float(ends[0]), float(ends[1])) if ends and len(ends) == 2 else None


def _closer(kl: Mapping[str, Any], ours: str, theirs: str) -> str:
    mean, ends = kl.get("mean") or 0.0, _ends(kl)
    if not ends:
        return f"On this one prompt {ours}'s KL differs from {theirs}'s by {mean:+.2f}; one prompt has no interval."
    numbers = (
        f"prompt by prompt, {ours}'s KL minus {theirs}'s is {mean:+.2f} nats on average "
        f"(95 % interval {ends[0]:+.2f} to {ends[1]:+.2f}, sign-flip {p_value(kl.get('p'))}, {kl['n']:,} prompts)"
    )
    if ends[0] <= 0 <= ends[1]:
        return f"These prompts do not tell: {numbers}."
    return f"{'Yes' if mean < 0 else f'No, {theirs} is closer'}: {numbers}."


def _only(test: Mapping[str, Any], ours: str, theirs: str) -> str:
    return (
        f"It makes the model's first choice on {test.get('first_only') or 0:,} prompts where {theirs} does "
        f"not; the reverse happens on {test.get('second_only') or 0:,} (McNemar {p_value(test.get('p'))})."
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


def p_value(p: float | None) -> str:
    if p is None:
        return "p unknown"
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}" if p < 0.1 else f"p = {p:.2f}"


def _mistakes(run: Run) -> Iterator[Finding]:
    sides = run.statistics["agreement"].get(_main(run))
    if not sides:
        return
    right, wrong = sides["top1"]["right"], sides["top1"]["wrong"]
    parts = [
        f"Where the model's first choice is {word}, {_title(_main(run))} makes the same choice on {_share(side)}."
        for word, side in (("right", right), ("wrong", wrong))
        if side["n"]
    ]
    good, bad = _ends(right), _ends(wrong)
    if not wrong["n"]:
        parts.append(
            "The model is wrong on none of these prompts, so its mistakes cannot be compared."
        )
    elif good and bad and good[0] > bad[1]:
        parts.append(
            "So it copies the right answers better than the mistakes: part of why the model errs lies elsewhere."
        )
    elif good and bad:
        parts.append("The two intervals overlap: no sign that it copies only the right answers.")
    yield Finding("Does it make the model's mistakes too?", " ".join(parts))


def _share(side: Mapping[str, Any]) -> str:
    ends = _ends(side)
    between = f" (95 % interval {ends[0]:.0%} to {ends[1]:.0%})" if ends else ""
    return f"{side.get('share') or 0:.0%} of {side['n']:,} prompts{between}"


def _complement(run: Run) -> Iterator[Finding]:
    row = run.statistics["complement"].get(_main(run))
    if not row:
        return
    left = row["faithfulness"]
    text = (
        f"With the circuit's edges corrupted and all others whole, {left:.0%} of the task is left "
        f"(logit difference {row['logit_diff']:.2f}, KL {row['kl']:.2f})"
    )
    if left < SMALL:
        rest = "without them the model cannot do it"
    else:
        rest = f"{'most' if left > LARGE else 'part'} of it can take other ways"
    yield Finding("Does the task go through these edges?", f"{text}: {rest}.")


def _completeness(run: Run) -> Iterator[Finding]:
    found = run.statistics["completeness"]
    if not found["sets"]:
        return
    gaps = [row["gap"] for row in found["sets"]]
    worst = max(found["sets"], key=lambda row: row["gap"])
    name = ROLE_TITLES.get(worst["name"], worst["name"])
    text = (
        f"Knocked out in circuit and model alike, the same heads and MLPs leave the two {fmean(gaps):.1%} of "
        f"the task apart on average, {max(gaps):.1%} at most ({name}: {_listed(worst['nodes'])})"
    )
    if max(gaps) < SMALL:
        rest = "no sign of a back-up in the model that the circuit lacks."
    elif worst["model"] > worst["circuit"]:
        rest = "there the model falls less, so it has a back-up that the circuit lacks."
    else:
        rest = "there the circuit falls less than the model, so it has lost something that works against it."
    yield Finding("Is it all of the mechanism?", f"{text}: {rest}")


def _minimality(run: Run) -> Iterator[Finding]:
    found = run.statistics["minimality"]
    rows = found["nodes"]
    if not rows:
        return
    spare = [row["node"] for row in rows if row["effect"] < found["threshold"]]
    text = (
        f"{found['needed']} of its {len(rows)} heads and MLPs each carry at least {found['threshold']:.0%} of the "
        f"task; the most {rows[0]['node']} ({rows[0]['effect']:.0%})."
    )
    if spare:
        text += f" Not needed on these prompts: {_listed(spare)}."
    yield Finding("Is all of it needed?", text)


def _listed(names: Sequence[str]) -> str:
    more = len(names) - LISTED
    return ", ".join(names[:LISTED]) + (f" and {more} more" if more > 0 else "")


def _curves(run: Run) -> Iterator[Finding]:
    curves = run.statistics["curves"]
    if not curves:
        return
    parts = [
        f"{_title(name)} {c['cpr']:.2f} (distance to 1: {c['cmd']:.2f})"
        for name, c in curves.items()
    ]
    best = min(curves, key=lambda name: curves[name]["cmd"])
    text = f"Area under the faithfulness over all sizes (CPR, and CMD in brackets): {', '.join(parts)}."
    if len(curves) > 1:
        text += f" {_title(best)}'s order of edges stays closest to the model over the sizes as a whole."
    yield Finding("Does it depend on the size?", text)


def _ablations(run: Run) -> Iterator[Finding]:
    kinds = run.statistics.get("ablations") or {}
    best: dict[str, str] = {}
    for kind, rows in kinds.items():
        sought = {name: row["kl"] for name, row in rows.items() if name in run.circuits}
        if len(sought) > 1:
            best[kind] = min(sought, key=sought.__getitem__)
    if not best:
        return
    if len(set(best.values())) == 1:
        text = f"No: {_title(next(iter(best.values())))} has the lowest KL under each of {', '.join(best)}."
    else:
        each = ", ".join(f"under {kind} {_title(name)}" for kind, name in best.items())
        text = f"Yes, the lowest KL has {each}. Circuits were sought under resample; the others ask more of them."
    yield Finding("Does the kind of ablation matter?", text)


def _missed(run: Run) -> Iterator[Finding]:
    found = run.statistics.get("missed")
    if not found:
        return
    text = (
        f"It dropped {found['n_dropped']:,} of {run.graph.n_edges:,} edges. Corrupting all of them moves the whole "
        f"model by {found['all']:.3f} nats{_of_everything(run, found['all'])}."
    )
    for row in found["subsets"]:
        if row["share"] == SUBSET:
            text += (
                f" A random {row['share']:.0%} of them: {row['mean']:.3f} on average and {row['max']:.3f} at most in "
                f"{row['n_subsets']} draws, so with 95 % confidence at most {row['exceeded_at_most']:.0%} of such draws do worse."
            )
    yield Finding("What did the first filter throw away?", text)


def _of_everything(run: Run, kl: float) -> str:
    worst = run.metrics.get("empty", {}).get("kl")
    return f", {kl / worst:.1%} of what corrupting everything does" if worst else ""


def _stability(run: Run) -> Finding:
    found = run.stability
    seeds, heads = found["seeds"], found["heads"]
    always = [head for head, share in heads.items() if share >= 1]
    sometimes = [head for head, share in heads.items() if share < 1]
    text = (
        f"With seeds {', '.join(map(str, seeds))}, two of the circuits share {found['jaccard']:.0%} of their edges on "
        f"average, and {found['always']:,} of the {found['ever']:,} edges are in every one. "
    )
    text += (
        f"Heads that every seed keeps: {_listed(always)}."
        if always
        else "No head is kept by every seed."
    )
    if sometimes:
        text += f" Only by some: {_listed(sometimes)}."
    return Finding("Would another seed find the same?", text)
