"""Why did EAP miss a head? Its estimate of each edge beside what cutting that one edge really does.

EAP's score is the first-order change of the logit difference when one edge of the *full* model is
corrupted. It can mislead in two ways, which `Explanation.why` tells apart by measuring:

* the true change differs from the estimate: the answer bends (saturated attention, thresholds);
* the estimate is fair, but in the full model other heads stand in for the edge; in the small circuit,
  where they are gone, it matters. No score of single edges in the full model can see that.

And a cut edge by edge can drop a head whose outputs score well, because none of its many weak inputs
does (`Explanation.how`).

All three numbers of an edge are means over the same test prompts: EAP's estimate on them, the exact
change in the full model, and the exact change in the circuit.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from hap_engine.circuit import Circuit, full_circuit, top_edges
from hap_engine.edits import Change, apply, edges_of
from hap_engine.errors import SettingsError
from hap_engine.progress import Progress
from hap_engine.runs import Run
from hap_engine.verdict import METHOD_TITLES, heads_of_role

if TYPE_CHECKING:
    from hap_engine.intervention import Reading
    from hap_engine.patching import MaskedModel

T = TypeVar("T")
PROMPTS = 8  # an exact effect costs a pass of the whole model; 8 prompts take 2 s on SmolLM2
MAX_EDGES = 16  # of one head, the ones with the best EAP ranks
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
        left = METHOD_TITLES.get(self.left, self.left)
        cut = f"{left}'s cut (a score beyond {self.cut:.3g})"
        if self.close:
            close = (
                f"It was close: on these {self.n_prompts} prompts {left} would keep {self.head}; "
            )
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
        left, right = (METHOD_TITLES.get(name, name) for name in (self.left, self.right))
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


def missed_heads(run: Run, left: str, right: str) -> tuple[str, ...]:
    """Heads that only the right circuit keeps, S-inhibition heads first, then those with any role."""
    only = run.circuits[right].circuit.heads - run.circuits[left].circuit.heads
    first = heads_of_role(run, "s_inhibition")
    named = run.roles.get("heads") or {}
    return tuple(
        head
        for group in (first, tuple(named), run.graph.heads)
        for head in dict.fromkeys(group)
        if head in only
        and not (group is not first and head in first)
        and not (group is run.graph.heads and head in named)
    )


def chosen_edges(run: Run, head: str, right: str) -> list[tuple[int, int]]:
    """The head's edges in the right circuit, best EAP rank first, at most `MAX_EDGES`."""
    record = run.circuits[right]
    cells = [cell for cell in edges_of(run.graph, head) if record.circuit.kept[cell]]
    ranks = np.full(record.circuit.kept.shape, np.inf)
    if "ranks" in record.values:
        ranks[record.circuit.kept] = np.nan_to_num(record.values["ranks"], nan=np.inf)
    return sorted(cells, key=lambda cell: ranks[cell])[:MAX_EDGES]


def explain(
    masked: MaskedModel, run: Run, head: str, left: str, right: str
) -> Generator[Progress, None, Explanation]:
    """Measure every edge of a missed head that the right circuit keeps.

    Raises:
        SettingsError: if the right circuit keeps no edge of the head.
    """
    from hap_engine.attribution import score
    from hap_engine.intervention import Bench, encode_prompt
    from hap_engine.prepared import Prepared

    cells = chosen_edges(run, head, right)
    if not cells:
        raise SettingsError(f"The circuit {right} keeps no edge of {head}, so there is no effect.")
    pairs = [encode_prompt(masked, prompt) for prompt in run.prompts.get("test", [])[:PROMPTS]]
    if not pairs:
        raise SettingsError("The run file holds no test prompts. Compute the run again.")
    total = len(cells) + 1
    prepared = Prepared(masked, pairs)
    text = f"Estimating the edges of {head} as EAP does"
    yield from _as_one(prepared.run(), total, text)
    scores = yield from _as_one(score(prepared, "eap"), total, text)
    bench = Bench(masked, pairs)
    whole, small = full_circuit(run.graph), run.circuits[right].circuit

    def change(reading: Reading, before: Reading) -> float:
        return float((reading.logit_diff - before.logit_diff).mean())

    model, circuit = bench.full(), bench.read(small)
    off = [Change(False, (head,))]
    head_exact = change(bench.read(apply(whole, off)), model)
    head_inside = change(bench.read(apply(small, off)), circuit)
    found = []
    for done, cell in enumerate(cells, 1):
        names = run.graph.writers[cell[0]].name, run.graph.readers[cell[1]].name
        yield Progress("score", done, total, f"Cutting {' → '.join(names)}")
        kept = small.kept.copy()
        kept[cell] = False
        exact = change(bench.without_edge(cell), model)
        inside = change(bench.read(Circuit(run.graph, kept)), circuit)
        found.append(EdgeEffect(*names, float(scores[cell]), exact, inside))
    return Explanation(
        head, left, right, tuple(found), head_exact, head_inside,
        *_passed(run, head, left, scores), len(pairs),
        run.heads.get(head, {}).get("eap_rank") if left == "eap" else None, run.circuits[left].n_raw,
    )  # fmt: skip


def _passed(run: Run, head: str, left: str, scores: np.ndarray) -> tuple[float, int, int, bool]:
    """The left circuit's cut in these scores, the head's edges in and out that reach it, and whether
    they keep it."""
    chosen = top_edges(run.graph, scores, run.circuits[left].n_raw)
    cut = float(np.abs(scores[chosen.kept]).min())
    row = run.graph.writer_index[head]
    into = chosen.kept[:, run.graph.feeds[:, row]]
    return cut, int(into.sum()), int(chosen.kept[row].sum()), head in chosen.heads


def _as_one(
    records: Generator[Progress, None, T], total: int, text: str
) -> Generator[Progress, None, T]:
    """The records of a part as the first step of the whole."""
    while True:
        try:
            next(records)
        except StopIteration as end:
            return end.value
        yield Progress("score", 0, total, text)


def _edges(count: int) -> str:
    return f"{count} edge" + ("s" if count != 1 else "")
