"""The run of a toy: its planted circuit as what a method found, with the toy's prompts in every split."""

from __future__ import annotations

from typing import Any

from hap_engine.findings import CircuitRecord
from hap_engine.runs.record import Run
from hap_engine.settings import DiscoveryConfig, PruningConfig
from hap_engine.tasks.task import SplitSizes
from tests.builders.fakes import fake_run
from tests.builders.planted import Planted


def planted_run(toy: Planted, method: str = "hap", **changes: Any) -> Run:
    """A valid run whose file says how it would have been searched, of the first of the toy's right circuits."""
    graph, (truth, *_), count = toy.model.graph, toy.truths, len(toy.pairs)
    # Half the default step size: the toys have few edges and few prompts, so gradients are large.
    config = DiscoveryConfig(
        model=toy.name,
        method=method,
        sparsity=1 - toy.size / graph.n_edges,
        scorer="eap-ig",
        keep=4 * toy.size / graph.n_edges,
        sizes=SplitSizes(count, count, count),
        pruning=PruningConfig(lr=0.5),
    )
    texts = [pair.pair.to_dict() for pair in toy.pairs]
    rows = [{**row, "answer": f" {row['answer']}", "distractor": f" {row['distractor']}", "roles": {}} for row in texts]
    given = {
        "model": toy.model.to_dict(),
        "settings": config.to_dict(),
        "circuits": {method: CircuitRecord(truth, toy.size)},
        "prompts": {"train": rows, "test": rows},
        "roles": {},
        "heads": {},
    }
    return fake_run(graph, **given | changes)
