"""Is there another circuit as good? The run's own edges are given a price, and the descent looks for others.

With a price each open gate of the first circuit adds to the loss, so the search keeps one of its edges only where
that saves more KL than it costs. Short searches try prices from the highest down (the highest forbids the edges) to the
first whose circuit is about as good as that of a short search without a price; a search as long as the run's own then
has that price. What both score on unseen prompts decides whether they are rivals (`hap_engine.report.rivals`).
"""

from __future__ import annotations

import math
from collections.abc import Generator
from dataclasses import replace
from typing import Any

import numpy as np

from hap_engine.errors import SettingsError
from hap_engine.evaluation.measure import circuit_kl
from hap_engine.graph.circuit import Circuit, empty_circuit
from hap_engine.graph.ranking import rank_matrix
from hap_engine.masked.masked_pass import MaskedModel
from hap_engine.progress import Progress
from hap_engine.report.rivals import alike
from hap_engine.report.titles import RIVAL
from hap_engine.runs.continue_run import again
from hap_engine.runs.record import Run
from hap_engine.runs.schema import ADDED_VERSION
from hap_engine.runs.unfinished import NOWHERE, Place
from hap_engine.settings import SHORT, VALIDATED
from hap_engine.words import say
from hap_engine.workflows.add_to_run import add_circuit
from hap_engine.workflows.search_again import part_of, reopen, search
from hap_engine.workflows.two_stages import score_edges

# Of an edge of the circuit, in times what one is worth on average: the KL with everything corrupted over its edges.
PRICES = (math.inf, 4.0, 1.0, 1 / 4, 1 / 16, 1 / 64)


def find_rival(
    masked: MaskedModel, run: Run, steps: int = SHORT, place: Place = NOWHERE
) -> Generator[Progress, None, Run]:
    """The run with the circuit ``rival`` of as many edges and, in ``rival``, what was tried on the way.

    Args:
        steps: of Edge Pruning in each of the short searches.

    Raises:
        SettingsError: for a run of scores alone, or as `reopen` and `add_circuit` do.
    """
    if run.main == "eap":
        raise SettingsError(say("workflows.no_descent"))
    found = yield from reopen(masked, run, steps)
    scores = yield from score_edges(found.exact.masked, found.exact, found.config.candidate_scorer, place.at("score"))
    first, judged = run.circuits[run.main].circuit, found.prepared.first(VALIDATED)
    empty, config, tried = circuit_kl(judged, empty_circuit(run.graph)), found.seeded(1), list[dict[str, Any]]()
    prices = (0.0, *(times * empty / found.size for times in PRICES))
    parts = len(prices) + math.ceil(again(run).pruning.steps / steps)

    def searched(price: float, number: int, whole: bool = False) -> Generator[Progress, None, Circuit]:
        asked = replace(config, pruning=again(run).pruning) if whole else config
        costs = np.where(first.kept, np.float32(price), np.float32(0))
        work = search(asked, found.prepared, scores, found.size, place.at(f"search {number}"), costs)
        order = yield from part_of(work, number, parts, "Search")
        return order.circuit(found.size)

    chosen = 0.0
    for number, price in enumerate(prices):
        try:
            circuit = yield from searched(price, number)
        except SettingsError:  # without the first circuit's edges too few are left
            continue
        kl = circuit_kl(judged, circuit)
        tried.append({"price": price, "kl": kl, "shared": len(circuit & first)})
        if price and alike(kl, tried[0]["kl"], empty):
            chosen = price
            break
    circuit = yield from searched(chosen, parts - 1, whole=True)
    told = {"version": ADDED_VERSION, "price": chosen, "steps": steps, "n_prompts": len(judged), "tried": tried}
    added = yield from add_circuit(masked, run, circuit, RIVAL, place.at("test"))
    record, ranks = added.circuits[RIVAL], rank_matrix(run.graph, scores["eap"])
    kept = record.circuit.kept
    values = {"scores": scores["eap"][kept], "ranks": ranks[kept].astype(float)}
    return replace(added, circuits={**added.circuits, RIVAL: replace(record, values=values)}, rival=told)
