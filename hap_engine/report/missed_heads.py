"""Heads that one method keeps and another misses, or keeps elsewhere, and the sentences that explain one of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hap_engine.findings import Findings
from hap_engine.graph.circuit import Circuit
from hap_engine.report.titles import circuit_title, say
from hap_engine.report.verdict import heads_of_role

OFF = 2.0  # an estimate is "far" off, others "stand in", or edges act "together", from this factor on
MATTERS = 0.02  # of the full model's logit difference: what is smaller matters nowhere
FAIR = 1.25  # up to this factor an estimate is fair


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
        told = {"found": self, "left": left, "cut": say("missed.cut", left=left, found=self)}
        if self.close:
            kept = self.rank is not None and self.rank <= self.kept
            return say("missed.kept" if kept else "missed.close", **told)
        if not self.passed_in and not self.passed_out:
            return say("missed.none", **told)
        if self.passed_in and self.passed_out:
            return say("missed.both", edges=_edges(self.passed_in), **told)
        some, none = ("out of", "into") if self.passed_out else ("into", "out of")
        return say("missed.one", edges=_edges(self.passed_in or self.passed_out), some=some, none=none, **told)

    @property
    def why(self) -> str:
        """Was the estimate wrong, or did the full model hide what matters? One or two sentences."""
        titles, edge = {"left": circuit_title(self.left), "right": circuit_title(self.right)}, self.strongest
        estimate, exact, inside = edge.estimate, edge.exact, edge.in_circuit
        least = 0.1 * self.cut  # below this, two numbers differ by noise
        under, over = abs(exact) / max(abs(estimate), least), abs(estimate) / max(abs(exact), least)
        if max(under, over) < OFF and abs(exact) > least and estimate * exact < 0:
            judged = "sign"
        elif max(under, over) > FAIR:
            judged = ("far_" if max(under, over) >= OFF else "") + ("small" if under > over else "large")
        elif abs(inside) >= OFF * max(abs(exact), least):
            judged = "hidden"
        else:
            judged = "together" if abs(self.head_in_circuit) >= OFF * max(abs(inside), least) else "fair"
        return say("missed.take", edge=edge, judged=say(f"missed.{judged}", found=self, **titles), **titles)


def missed_heads(run: Findings, left: str, right: str) -> tuple[str, ...]:
    """Heads that only the right circuit keeps, S-inhibition heads first, then those with any role."""
    only = run.circuits[right].circuit.heads - run.circuits[left].circuit.heads
    order = dict.fromkeys((*heads_of_role(run, "s_inhibition"), *(run.roles.get("heads") or {}), *run.graph.heads))
    return tuple(head for head in order if head in only)


def fate(run: Findings, head: str) -> str:
    """How EAP came to lack a head: ``unranked`` where no rank is stored, ``beyond`` the cut, or ``dead``: its best edge
    is among those that EAP took, but no path of them runs through the head."""
    rank = run.heads.get(head, {}).get("eap_rank")
    return "beyond" if rank and rank > run.circuits["eap"].n_raw else "dead" if rank else "unranked"


def how_dropped(run: Findings, head: str, left: str) -> str:
    """Where EAP's ranking has a head's best edge and, if `left` is EAP's circuit, how it lost the head; plain text,
    empty where no rank is stored. Measured on the run's training prompts, as `Explanation.how` is on others."""
    known, cut = run.heads.get(head, {}), run.circuits[left]
    if not known.get("eap_rank"):
        return ""
    told = {"left": circuit_title(left), "raw": cut.n_raw, "live": len(cut.circuit), "edges": run.graph.n_edges}
    edge, ends = " → ".join(map(str, known.get("eap_edge") or ())), ""
    if left == "eap":
        ends = say(f"missed.{fate(run, head)}", **told)
    return say("missed.ranked", head=head, edge=edge, rank=known["eap_rank"], ends=ends, **told).strip()


def _edges(count: int) -> str:
    return f"{count} edge" + ("s" if count != 1 else "")


@dataclass(frozen=True)
class Misplaced:
    """A head that both circuits keep, the left one not at the span at which it matters most.

    Attributes:
        effect: by how much the logit difference falls if the head's output at that span alone is corrupted.
        reads: the spans from which the right circuit's head reads there: of its live keys and values.
        instead: where the left circuit has it.
    """

    head: str
    span: str
    effect: float
    reads: tuple[str, ...]
    instead: tuple[str, ...]
    left: str
    right: str

    @property
    def sentence(self) -> str:
        titles = {"left": circuit_title(self.left), "right": circuit_title(self.right)}
        reads = say("misplaced.reads", spans=" and ".join(self.reads)) if self.reads else ""
        return say("misplaced.sentence", found=self, instead=" and ".join(self.instead), reads=reads, **titles)


def misplaced(run: Findings, left: str, right: str) -> list[Misplaced]:
    """Such heads, those with the largest effect first; none where the run did not measure effects at spans."""
    both = run.circuits[left].circuit.heads & run.circuits[right].circuit.heads
    full = run.metrics.get("full", {}).get("logit_diff") or 0.0
    found = []
    for head in both:
        effects = run.heads.get(head, {}).get("effects_at_spans") or {}
        if not effects:
            continue
        span = max(effects, key=lambda name: abs(effects[name]))
        here, there = (acts_at(run.circuits[name].circuit, head) for name in (left, right))
        if abs(effects[span]) >= MATTERS * abs(full) and span in there and span not in here:
            reads = reads_from(run.circuits[right].circuit, head)
            found.append(Misplaced(head, span, effects[span], reads, here, left, right))
    return sorted(found, key=lambda one: -abs(one.effect))


def acts_at(circuit: Circuit, head: str) -> tuple[str, ...]:
    """The spans at which a circuit reads a head's output."""
    graph = circuit.graph
    columns = circuit.live.kept[graph.writer_index[head]]
    return tuple(graph.spans[at].name for at in np.unique(graph.reader_spans[columns]))


def reads_from(circuit: Circuit, head: str) -> tuple[str, ...]:
    """The spans at which a circuit's head has keys or values."""
    graph = circuit.graph
    row, read = graph.writer_index[head], circuit.live.kept.any(axis=0)
    columns = [at for at in np.flatnonzero(graph.feeds[:, row] & read) if graph.readers[at].slot in ("k", "v")]
    return tuple(graph.spans[at].name for at in np.unique(graph.reader_spans[columns]))
