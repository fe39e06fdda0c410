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
from typing import TYPE_CHECKING

import numpy as np

from hap_engine.errors import SettingsError
from hap_engine.graph.circuit import Circuit, full_circuit
from hap_engine.graph.edits import Change, apply, edges_of
from hap_engine.graph.ranking import top_edges
from hap_engine.progress import Progress, relabelled
from hap_engine.report.missed_heads import EdgeEffect, Explanation
from hap_engine.runs.record import Run

if TYPE_CHECKING:
    from hap_engine.explain.what_if import Reading
    from hap_engine.masked.masked_pass import MaskedModel

PROMPTS = 8  # an exact effect costs a pass of the whole model; 8 prompts take 2 s on SmolLM2
MAX_EDGES = 16  # of one head, the ones with the best EAP ranks


def chosen_edges(run: Run, head: str, right: str) -> list[tuple[int, int]]:
    """The head's edges in the right circuit, best EAP rank first, at most `MAX_EDGES`."""
    record = run.circuits[right]
    cells = [cell for cell in edges_of(run.graph, head) if record.circuit.kept[cell]]
    ranks = np.full(record.circuit.kept.shape, np.inf)
    if "ranks" in record.values:
        ranks[record.circuit.kept] = np.nan_to_num(record.values["ranks"], nan=np.inf)
    return sorted(cells, key=lambda cell: ranks[cell])[:MAX_EDGES]


def explain(masked: MaskedModel, run: Run, head: str, left: str, right: str) -> Generator[Progress, None, Explanation]:
    """Measure every edge of a missed head that the right circuit keeps.

    Raises:
        SettingsError: if the right circuit keeps no edge of the head.
    """
    from hap_engine.attribution.scorers import score
    from hap_engine.evaluation.stored_prompts import stored_prompts
    from hap_engine.explain.what_if import Bench
    from hap_engine.masked.prompt_cache import Prepared

    cells = chosen_edges(run, head, right)
    if not cells:
        raise SettingsError(f"The circuit {right} keeps no edge of {head}, so there is no effect.")
    masked, pairs = stored_prompts(masked, run, "test", PROMPTS)
    total = len(cells) + 1
    prepared = Prepared(masked, pairs)
    first = {"phase": "score", "step": 0, "total": total, "message": f"Estimating the edges of {head} as EAP does"}
    yield from relabelled(prepared.run(), **first)
    scores = yield from relabelled(score(prepared, "eap"), **first)
    bench = Bench(masked, pairs)
    whole, small = full_circuit(run.graph), run.circuits[right].circuit

    def change(reading: Reading, before: Reading) -> float:
        return float((reading.logit_diff - before.logit_diff).mean())

    model, circuit = bench.full(), bench.read(small)
    off = [Change(False, (head,))]
    head_exact = change(bench.read(apply(whole, off)), model)
    head_inside = change(bench.read(apply(small, off)), circuit)
    effects = []
    for done, cell in enumerate(cells, 1):
        names = run.graph.writers[cell[0]].name, run.graph.readers[cell[1]].name
        yield Progress("score", done, total, f"Cutting {' → '.join(names)}")
        kept = small.kept.copy()
        kept[cell] = False
        exact = change(bench.without_edge(cell), model)
        inside = change(bench.read(Circuit(run.graph, kept)), circuit)
        effects.append(EdgeEffect(*names, float(scores[cell]), exact, inside))
    return Explanation(
        head,
        left,
        right,
        tuple(effects),
        head_exact,
        head_inside,
        *_passed(run, head, left, scores),
        len(pairs),
        run.heads.get(head, {}).get("eap_rank") if left == "eap" else None,
        run.circuits[left].n_raw,
    )


def _passed(run: Run, head: str, left: str, scores: np.ndarray) -> tuple[float, int, int, bool]:
    """The left circuit's cut in these scores, the head's edges in and out that reach it, and whether
    they keep it."""
    chosen = top_edges(run.graph, scores, run.circuits[left].n_raw)
    cut = float(np.abs(scores[chosen.kept]).min())
    row = run.graph.writer_index[head]
    into = chosen.kept[:, run.graph.feeds[:, row]]
    return cut, int(into.sum()), int(chosen.kept[row].sum()), head in chosen.heads
