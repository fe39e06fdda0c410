"""What one discovery found, as plain data, for all that puts it into words or draws it.

`runs.record.Run` is the same with a file and a picture.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from hap_engine.graph.circuit import Circuit
from hap_engine.graph.edge_order import EdgeOrder
from hap_engine.graph.graph import Graph

EDGE_VALUES = ("scores", "ranks", "gates")
METRICS = ("kl", "logit_diff", "faithfulness", "accuracy", "top1", "exact_match")  # a number or NaN in each row


@dataclass(frozen=True)
class CircuitRecord:
    """A circuit of live edges with what the run knows about each of them.

    Attributes:
        circuit: live edges only.
        n_raw: edges chosen before dead ones were removed.
        values: per edge, in the order of ``circuit.names()``: ``scores`` (EAP score), ``ranks`` (EAP
            rank, 1 = largest absolute score), ``gates`` (log alpha after EP; NaN where EP never saw
            the edge).
    """

    circuit: Circuit
    n_raw: int
    values: Mapping[str, np.ndarray] = field(default_factory=dict)


@dataclass(frozen=True)
class Findings:
    """Sections keep the shape that they have in the file (see docs/run-file.md)."""

    id: str
    created: str
    command: str
    versions: Mapping[str, str]
    machine: Mapping[str, Any]
    model: Mapping[str, Any]
    task: Mapping[str, Any]
    seed: int
    settings: Mapping[str, Any]
    graph: Graph
    circuits: Mapping[str, CircuitRecord]
    metrics: Mapping[str, Mapping[str, Any]]
    seconds: Mapping[str, float]
    prompts: Mapping[str, Sequence[Mapping[str, Any]]]
    roles: Mapping[str, Any] = field(default_factory=dict)
    heads: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    history: Sequence[Mapping[str, Any]] = ()
    replay: Mapping[str, Any] = field(default_factory=dict)
    attention: Sequence[Mapping[str, Any]] = ()
    statistics: Mapping[str, Any] = field(default_factory=dict)
    stability: Mapping[str, Any] = field(default_factory=dict)
    sizes: Mapping[str, Any] = field(default_factory=dict)
    rival: Mapping[str, Any] = field(default_factory=dict)
    prompt_circuits: Mapping[str, Any] = field(default_factory=dict)
    cuts: Mapping[str, Any] = field(default_factory=dict)
    notes: Mapping[str, Any] = field(default_factory=dict)
    name: str | None = None

    @property
    def title(self) -> str:
        return self.name or f"{self.model['name']} · {self.task['title']} · {self.sparsity:.1%} sparse"

    @cached_property
    def fingerprint(self) -> str:
        """Tells this content from that of the same run with other circuits; for caches of a process."""
        circuits = tuple((name, record.circuit) for name, record in self.circuits.items())
        parts = circuits, tuple(self.sizes.get("grid", ())), bool(self.cuts)
        return f"{self.id}-{self.created}-{hash(parts):x}"

    @cached_property
    def orders(self) -> dict[str, EdgeOrder]:
        """The orders of edges that give circuits of every size, by method or scorer; none in a run for one size."""
        cells = self.sizes.get("orders", {})
        return {name: EdgeOrder(self.graph, np.array(order, dtype=np.int64)) for name, order in cells.items()}

    @property
    def sparsity(self) -> float:
        return float(self.settings["sparsity"])

    @property
    def main(self) -> str:
        """Key of the circuit that the run set out to find (``hap``, ``ep`` or ``eap``)."""
        return str(self.settings["method"])

    @property
    def sides(self) -> tuple[str, str]:
        """The two circuits to compare unless others are asked for: plain EAP's, and the one that was sought."""
        others = [name for name in self.circuits if name != self.main]
        left = ("eap" if "eap" in others else others[0]) if others else self.main
        return left, self.main
