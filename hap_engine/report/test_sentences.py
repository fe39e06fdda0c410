"""What the later tests of a run say, in plain words: ``statistics`` and ``stability`` read aloud (no torch).

Each `Finding` is a question that a careful reader asks of a circuit and the answer of this run, with the
numbers that it rests on and whether it speaks for the circuit. Nothing is called better, complete or needed
without its interval or its threshold; where a test could not be made (no wrong prompts, one prompt), the answer
says so.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from statistics import fmean
from typing import Any

from hap_engine.findings import Findings
from hap_engine.report.metric_sentences import NO, UNKNOWN, YES, Finding
from hap_engine.report.titles import circuit_title, role_title, say

SMALL = 0.1  # share of the task below which a gap or a rest is called small
LARGE = 0.5  # and above which it is called large
SUBSET = 0.1  # the size of the subsets of dropped edges that a sentence quotes
STABLE = 0.8  # mean Jaccard of circuits from resampled prompts that Méloux et al. 2025 (arXiv 2510.00845) ask for
HALF = 0.5  # of the searches that were compared: an edge that fewer keep is drawn faint
LISTED = 6  # nodes named in a sentence


TESTS = ("mistakes", "complement", "completeness", "minimality", "curves", "ablations", "missed")


def untested(run: Findings) -> list[Finding]:
    """The questions that this run leaves open, because their tests were not made."""
    tests = ([] if run.statistics else [*TESTS]) + ([] if run.stability else ["samples"])
    return [Finding(say(f"tests.{test}.question"), say("tests.untested")) for test in tests]


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
        return say("tests.p.unknown")
    return say(f"tests.p.{'least' if p < 0.001 else 'small' if p < 0.1 else 'large'}", p=p)


def _listed(names: Sequence[str]) -> str:
    more = len(names) - LISTED
    return ", ".join(names[:LISTED]) + (f" and {more} more" if more > 0 else "")


def _comparisons(run: Findings) -> Iterator[Finding]:
    ours = circuit_title(_main(run))
    for name, tests in run.statistics["comparisons"].items():
        kl, theirs = tests["kl"], circuit_title(name)
        paired = say("tests.paired", kl=kl, p=p_value(kl.get("p")))
        rest = f"{_only(tests['exact_match'], theirs)} {_heads(tests['heads'], ours, theirs)}"
        question = say("tests.closer.question", ours=ours, theirs=theirs)
        yield Finding(question, *_closer(kl, theirs, f"{paired} {rest}"))


def _closer(kl: Mapping[str, Any], theirs: str, detail: str) -> tuple[str, str, str]:
    """The answer, its detail and its mark."""
    mean, ends = kl.get("mean") or 0.0, _ends(kl)
    if not ends:
        return say("tests.closer.unknown", mean=mean), detail, UNKNOWN
    if ends[0] <= 0 <= ends[1]:
        return say("tests.closer.unsure", mean=mean, ends=ends), detail, UNKNOWN
    low, high = sorted(map(abs, ends))
    side, mark = ("lower", YES) if mean < 0 else ("higher", NO)
    return say(f"tests.closer.{side}", theirs=theirs, size=abs(mean), low=low, high=high), detail, mark


def _counts(test: Mapping[str, Any]) -> dict[str, Any]:
    """How often only one of two has something, and the chance of a difference as large."""
    one, other = test.get("first_only") or 0, test.get("second_only") or 0
    return {"one": one, "other": other, "p": p_value(test.get("p"))}


def _only(test: Mapping[str, Any], theirs: str) -> str:
    return say("tests.only", theirs=theirs, **_counts(test))


def _heads(test: Mapping[str, Any], ours: str, theirs: str) -> str:
    which, counts = say("tests.which.role" if test.get("roles") else "tests.which.any"), _counts(test)
    sentence = "tests.heads" if counts["one"] or counts["other"] else "tests.same_heads"
    return say(sentence, n=test["n"], which=which, ours=ours, theirs=theirs, **counts)


def _mistakes(run: Findings) -> Iterator[Finding]:
    sides = run.statistics["agreement"].get(_main(run))
    if not sides:
        return
    right, wrong = sides["top1"]["right"], sides["top1"]["wrong"]
    good, bad = _ends(right), _ends(wrong)
    answer = "unknown" if not wrong["n"] else "less" if good and bad and good[0] > bad[1] else "same"
    mark = {"unknown": UNKNOWN, "less": NO, "same": YES}[answer]
    parts = [
        say("tests.mistakes.detail", word=word, share=_share(side))
        for word, side in (("right", right), ("wrong", wrong))
        if side["n"]
    ]
    yield _finding("mistakes", answer, " ".join(parts), mark)


def _finding(test: str, answer: str, detail: str, mark: str, /, **values: Any) -> Finding:
    """A test's question with one of its answers."""
    return Finding(say(f"tests.{test}.question"), say(f"tests.{test}.{answer}", **values), detail, mark)


def _mark(passed: bool) -> str:
    return YES if passed else NO


def _share(side: Mapping[str, Any]) -> str:
    ends = _ends(side)
    between = say("tests.between", low=ends[0], high=ends[1]) if ends else ""
    return say("tests.mistakes.share", share=side.get("share") or 0, n=side["n"], between=between)


def _complement(run: Findings) -> Iterator[Finding]:
    row = run.statistics["complement"].get(_main(run))
    if not row:
        return
    left = row["faithfulness"]
    much, detail = "most" if left > LARGE else "part", say("tests.complement.detail", row=row)
    yield _finding("complement", "yes" if left < SMALL else "no", detail, _mark(left < SMALL), left=left, much=much)


def _completeness(run: Findings) -> Iterator[Finding]:
    sets = run.statistics["completeness"]["sets"]
    if not sets:
        return
    mean, worst = fmean(row["gap"] for row in sets), max(sets, key=lambda row: row["gap"])
    answer = "yes" if worst["gap"] < SMALL else "model" if worst["model"] > worst["circuit"] else "circuit"
    told = {"name": role_title(worst["name"]), "nodes": _listed(worst["nodes"])}
    detail = say("tests.completeness.detail", mean=mean, worst=worst, **told)
    yield _finding("completeness", answer, detail, _mark(answer == "yes"))


def _minimality(run: Findings) -> Iterator[Finding]:
    test = run.statistics["minimality"]
    rows = test["nodes"]
    if not rows:
        return
    spare = [row["node"] for row in rows if row["effect"] < test["threshold"]]
    detail = say("tests.minimality.most", row=rows[0])
    if spare:
        detail += say("tests.minimality.spare", spare=_listed(spare))
    yield _finding("minimality", "answer", detail, _mark(not spare), test=test, all=len(rows))


def _curves(run: Findings) -> Iterator[Finding]:
    curves = run.statistics["curves"]
    if not curves:
        return
    best = min(curves, key=lambda name: curves[name]["cmd"])
    areas = [say("tests.curves.area", title=circuit_title(name), row=row) for name, row in curves.items()]
    detail = say("tests.curves.detail", areas="; ".join(areas))
    yield _finding("curves", "answer", detail, _mark(best == _main(run)), best=circuit_title(best))


def _ablations(run: Findings) -> Iterator[Finding]:
    best: dict[str, str] = {}
    for kind, rows in (run.statistics.get("ablations") or {}).items():
        sought = {name: row["kl"] for name, row in rows.items() if name in run.circuits}
        if len(sought) > 1:
            best[kind] = circuit_title(min(sought, key=sought.__getitem__))
    if not best:
        return
    each = ", ".join(say("tests.ablations.each", title=title, kind=kind) for kind, title in best.items())
    same = len(set(best.values())) == 1
    told = {"best": next(iter(best.values())), "each": each}
    yield _finding("ablations", "no" if same else "yes", say("tests.ablations.detail"), _mark(same), **told)


def _missed(run: Findings) -> Iterator[Finding]:
    missed = run.statistics.get("missed")
    if not missed:
        return
    worst = run.metrics.get("empty", {}).get("kl")
    part = say("tests.missed.part", part=missed["all"] / worst) if worst else ""
    detail = say("tests.missed.detail", dropped=missed["n_dropped"], edges=run.graph.n_edges)
    for row in missed["subsets"]:
        if row["share"] == SUBSET:
            detail += say("tests.missed.subset", row=row, confidence=missed["confidence"])
    mark = _mark(missed["all"] < SMALL * worst) if worst else UNKNOWN
    yield _finding("missed", "answer", detail, mark, all=missed["all"], part=part)


def _stability(run: Findings) -> Finding:
    found, shares = run.stability, run.stability["heads"].items()
    always = [head for head, share in shares if share >= 1]
    sometimes = [head for head, share in shares if share < 1]
    told = {"seeds": ", ".join(map(str, found["seeds"])), "always": _listed(always) or "none"}
    faint, test = sum(share < HALF for share in found["edges"]), "samples" if "resamples" in found else "stability"
    detail = say(f"tests.{test}.detail", found=found, faint=faint, edges=len(found["edges"]), **told)
    if sometimes:
        detail += say("tests.stability.some", heads=_listed(sometimes))
    stable = found["jaccard"] >= STABLE
    judged = say(f"tests.samples.{'stable' if stable else 'unstable'}", bar=STABLE)
    return _finding(test, "answer", detail, _mark(stable), found=found, judged=judged)
