"""Two circuits of one run that are about as good: how much do they share, and what does that say? (no torch)"""

from __future__ import annotations

from hap_engine.findings import Findings
from hap_engine.graph.overlap import edge_overlap, head_overlap
from hap_engine.report.titles import RIVAL, circuit_title, say

SLACK = 0.1  # of a KL, within which another is about the same: searches with other seeds differ by as much
LEAST = 0.002  # of the KL with everything corrupted: below it all circuits are as good as the model
FEW = 0.5  # Jaccard below which two circuits share few edges: at equal size fewer than two thirds of them


def alike(kl: float, other: float, empty: float) -> bool:
    """Whether a circuit of KL `kl` is at least about as good as one of `other`."""
    return kl <= other + max(SLACK * other, LEAST * empty)


def as_good(run: Findings) -> bool:
    """Whether the rival is about as good as the run's own circuit on unseen prompts."""
    ours, theirs, empty = (float(run.metrics[name]["kl"]) for name in (run.main, RIVAL, "empty"))
    return alike(theirs, ours, empty)


def rival_verdict(run: Findings) -> str:
    """What the search for a rival found, in two sentences; "" where there was none."""
    if RIVAL not in run.circuits or RIVAL not in run.metrics or not run.rival:
        return ""
    one, two = run.circuits[run.main].circuit, run.circuits[RIVAL].circuit
    edges, heads = edge_overlap(one, two), head_overlap(one, two)
    rows = {"ours": run.metrics[run.main], "theirs": run.metrics[RIVAL]}
    said = say("rival.shared", title=circuit_title(run.main), edges=edges, heads=heads, **rows)
    judged = ("two" if edges.jaccard < FEW else "one") if as_good(run) else "worse"
    return f"{said} {say(f'rival.{judged}', title=circuit_title(run.main))}"


def rival_finding(run: Findings) -> str:
    """The verdict where it is one that a reader of the run's own circuit should know; most often ""."""
    said = rival_verdict(run)
    few = said and edge_overlap(run.circuits[run.main].circuit, run.circuits[RIVAL].circuit).jaccard < FEW
    return said if few and as_good(run) else ""
