"""Heads that one method keeps and another misses, and the sentences that explain one of them."""

from __future__ import annotations

from dataclasses import dataclass

from hap_engine.findings import Findings
from hap_engine.report.titles import circuit_title
from hap_engine.report.verdict import heads_of_role

OFF = 2.0  # an estimate is "far" off, or others "stand in", from this factor on


@dataclass(frozen=True)
class EdgeEffect:
    """One edge of the head; effects are changes of the logit difference when it is cut."""

    writer: str
    reader: str
    estimate: float
    exact: float
    in_circuit: float


@dataclass(frozen=True)
class Explanation:
    """What EAP thought of a head's edges and what they do.

    Attributes:
        edges: those that the right circuit keeps, best EAP rank first (at least one).
        head_exact: effect of cutting all edges out of the head at once, in the full model.
        cut: the absolute score that an edge needed to be among the left circuit's, on these prompts.
        passed_in: edges into the head (of all there are) that reach the cut; `passed_out` out of it.
        close: on these few prompts alone the left method would have kept the head.
        rank: of the head's best edge on the run's training prompts, where the left method keeps `kept`.
    """

    head: str
    left: str
    right: str
    edges: tuple[EdgeEffect, ...]
    head_exact: float
    head_in_circuit: float
    cut: float
    passed_in: int
    passed_out: int
    close: bool
    n_prompts: int
    rank: int | None = None
    kept: int = 0

    @property
    def strongest(self) -> EdgeEffect:
        return max(self.edges, key=lambda edge: abs(edge.in_circuit))

    @property
    def how(self) -> str:
        """How the head fell out: one sentence."""
        left = circuit_title(self.left)
        cut = f"{left}'s cut (a score beyond {self.cut:.3g})"
        if self.close:
            close = f"It was close: on these {self.n_prompts} prompts {left} would keep {self.head}; "
            if self.rank is not None and self.rank <= self.kept:
                return (
                    f"{close}on the run's training prompts its best edge is kept too (rank {self.rank:,} of "
                    f"{self.kept:,}), but none that would complete a path through it, so it falls out as dead."
                )
            return f"{close}on the run's training prompts its edges fall below the cut."
        if not self.passed_in and not self.passed_out:
            return f"No single edge of {self.head} reaches {cut}."
        if self.passed_in and self.passed_out:
            return (
                f"{_edges(self.passed_in)} into {self.head} and {self.passed_out} out of it reach {cut}, "
                "but their other ends lead nowhere in that circuit, so the head falls out as dead."
            )
        some, none = ("out of", "into") if self.passed_out else ("into", "out of")
        count = self.passed_in or self.passed_out
        return (
            f"{_edges(count)} {some} {self.head} would pass {cut}, but not one {none} it: what it does "
            "comes in small parts from many places. Without a path, the head falls out as dead."
        )

    @property
    def why(self) -> str:
        """Was the estimate wrong, or did the full model hide what matters? One or two sentences."""
        left, right = (circuit_title(name) for name in (self.left, self.right))
        top = self.strongest
        estimate, exact, inside = top.estimate, top.exact, top.in_circuit
        text = (
            f"Take {top.writer} → {top.reader}, whose cut changes the logit difference of the {right} "
            f"circuit most ({inside:+.2f}). For the full model {left} expects {estimate:+.3f}; the true "
            f"change is {exact:+.3f}"
        )
        small = 0.1 * self.cut  # below this, two numbers differ by noise
        if abs(exact) >= OFF * max(abs(estimate), small):
            return f"{text}: the straight-line estimate is far too small."
        if abs(estimate) >= OFF * max(abs(exact), small):
            return f"{text}: the straight-line estimate is far too large."
        if abs(exact) > small and estimate * exact < 0:
            return f"{text}: the straight-line estimate has the wrong sign."
        if abs(inside) >= OFF * max(abs(exact), small):
            return (
                f"{text}: a fair estimate, but in the full model other parts stand in when one edge is "
                f"cut. In the {right} circuit they are gone, and the edge matters. No score of single "
                "edges in the full model can see that."
            )
        return f"{text}: a fair estimate. {right} keeps the head for what its edges do together."


def missed_heads(run: Findings, left: str, right: str) -> tuple[str, ...]:
    """Heads that only the right circuit keeps, S-inhibition heads first, then those with any role."""
    only = run.circuits[right].circuit.heads - run.circuits[left].circuit.heads
    order = dict.fromkeys((*heads_of_role(run, "s_inhibition"), *(run.roles.get("heads") or {}), *run.graph.heads))
    return tuple(head for head in order if head in only)


def _edges(count: int) -> str:
    return f"{count} edge" + ("s" if count != 1 else "")
