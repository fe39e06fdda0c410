"""What a masked pass has to compute, and at which positions.

Two facts make most of the work unnecessary, and neither changes a number:

* A component without a live edge in equals its corrupt twin (its delta is exactly 0), and one without a
  path to the logits changes nothing. Only the *live* part of a mask (`Circuit.live`) is computed.
* The logits read one position, the scored one. A writer whose live edges all lead to readers that
  are themselves needed there only (the logits, queries of such heads, such MLPs) is needed there
  only. Keys and values are needed everywhere. In a full model this holds for the last layer; in a
  sparse circuit for most name movers, S-inhibition heads and late MLPs.

So every live writer and reader is *wide* (needed at every position) or *narrow* (at the scored one).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Int
from torch import Tensor

from hap_engine.graph.circuit import Circuit
from hap_engine.graph.graph import Graph
from hap_engine.machine.workload import LOOK_AHEAD


def look_ahead(graph: Graph) -> int:
    """How many layers' readers are mixed together."""
    return max(1, round(LOOK_AHEAD / (graph.n_heads + 2 * graph.n_kv_heads + 1)))


@dataclass(frozen=True)
class LayerPlan:
    """What one layer computes; reader columns are indices into ``graph.readers``."""

    wide_heads: list[int]
    narrow_heads: list[int]
    wide_slots: list[int]  # live columns read at every position, without the MLP's
    narrow_slots: list[int]  # live query columns of narrow heads
    mlp: str | None  # "wide", "narrow" or None


class Plan:
    """The live part of a circuit, sorted into wide and narrow."""

    def __init__(self, circuit: Circuit) -> None:
        self.graph = graph = circuit.graph
        self.indices = Indices()
        self.live = circuit.live.kept
        written: Bool[np.ndarray, " writer"] = np.asarray(self.live.any(axis=1))
        self.read: Bool[np.ndarray, " reader"] = np.asarray(self.live.any(axis=0))
        self.wide_writer = np.zeros_like(written)
        wide_reader = np.zeros_like(self.read)
        self.layers: list[LayerPlan] = []
        for layer in reversed(range(graph.n_layers)):
            self.layers.insert(0, self._layer(layer, written, wide_reader))
        self.wide_writer[0] = written[0] and (self.live[0] & wide_reader).any()
        self.writes_input = bool(written[0])
        self.writers = {
            "wide": np.flatnonzero(written & self.wide_writer),
            "narrow": np.flatnonzero(written),  # a wide writer is read at the scored position too
        }
        self.readers = {span: self._columns(span, 0, graph.n_layers) for span in self.writers}

    @classmethod
    def of(cls, graph: Graph, mask: Tensor) -> Plan:
        """The plan of a mask's edges that are not exactly 0."""
        nonzero: Bool[np.ndarray, "writer reader"] = (mask.detach() != 0).cpu().numpy()
        return cls(Circuit(graph, nonzero & graph.edge_mask))

    def columns(self, span: str, first: int) -> list[int]:
        """The live readers of a span in the layers opened with `first`, the logits after the last."""
        return self._columns(span, first, first + look_ahead(self.graph))

    def _columns(self, span: str, first: int, end: int) -> list[int]:
        found: list[int] = []
        for layer in range(first, min(end, self.graph.n_layers)):
            found += self.layer_columns(span, layer)
        if span == "narrow" and end >= self.graph.n_layers and self.read[-1]:
            found.append(len(self.read) - 1)
        return found

    def layer_columns(self, span: str, layer: int) -> list[int]:
        """The live readers of one layer in a span."""
        plan = self.layers[layer]
        slots = plan.wide_slots if span == "wide" else plan.narrow_slots
        return [*slots, self.column(layer + 1, -1)] if plan.mlp == span else slots

    def _layer(self, layer: int, written: np.ndarray, wide_reader: np.ndarray) -> LayerPlan:
        """Plan a layer, knowing which readers of later layers are wide; marks its own."""
        graph = self.graph
        heads, kv_heads = graph.n_heads, graph.n_kv_heads
        mlp, column = (layer + 1) * (heads + 1), self.column(layer, heads + 2 * kv_heads)
        self.wide_writer[mlp] = (self.live[mlp] & wide_reader).any()
        wide_reader[column] = self.read[column] and self.wide_writer[mlp]
        wide: list[int] = []
        narrow: list[int] = []
        for head in range(heads):
            writer = 1 + layer * (heads + 1) + head
            if not written[writer]:
                continue
            self.wide_writer[writer] = (self.live[writer] & wide_reader).any()
            (wide if self.wide_writer[writer] else narrow).append(head)
        first = self.column(layer, 0)
        keys_values = range(first + heads, first + heads + 2 * kv_heads)
        wide_slots = [first + head for head in wide if self.read[first + head]]
        wide_slots += [slot for slot in keys_values if self.read[slot]]
        wide_reader[wide_slots] = True
        return LayerPlan(
            wide,
            narrow,
            wide_slots,
            [first + head for head in narrow if self.read[first + head]],
            None if not written[mlp] else "wide" if self.wide_writer[mlp] else "narrow",
        )

    def column(self, layer: int, slot: int) -> int:
        """Reader index of a slot (q heads, k heads, v heads, MLP) of a layer."""
        return layer * (self.graph.n_heads + 2 * self.graph.n_kv_heads + 1) + slot

    def rows(self, span: str, writers: Int[np.ndarray, " n"] | list[int]) -> list[int]:
        """Rows of writers in the delta buffer of a span."""
        return [int(row) for row in np.searchsorted(self.writers[span], writers)]

    def pairs(self, span: str) -> int:
        """How many rows of a span's buffer its readers mix, together."""
        before = self.graph.upstream[self.readers[span]]
        return int(np.searchsorted(self.writers[span], before).sum())

    def edges(self, span: str) -> int:
        """How many edges lead to the readers of a span."""
        return int(self.live[:, self.readers[span]].sum())

    def seen(self, span: str, column: int) -> int:
        """How many rows of a span's buffer come before a reader."""
        return int(np.searchsorted(self.writers[span], self.graph.upstream[column]))


@dataclass(frozen=True, eq=False)
class Positions:
    """The tokens a masked pass computes, as indices into ``batch * pos``.

    Before the first token in which the prompts differ every delta is 0, and after the scored position
    nothing is read: both are left out.

    Attributes:
        wide: the tokens of every prompt from its first difference to its scored position.
        narrow: the scored position of every prompt.
        ends: where in `wide` the narrow ones are.
    """

    wide: Int[Tensor, " token"]
    narrow: Int[Tensor, " batch"]
    ends: Int[Tensor, " batch"]

    @classmethod
    def of(cls, differs: Bool[Tensor, "batch pos"], last: Int[Tensor, " batch"]) -> Positions:
        at = torch.arange(differs.shape[1], device=differs.device)
        end = at == last[:, None]
        active = ((differs.cumsum(1) > 0) & (at <= last[:, None])) | end
        wide = active.flatten().nonzero()[:, 0]
        return cls(wide, end.flatten().nonzero()[:, 0], end.flatten()[wide].nonzero()[:, 0])

    @classmethod
    def all(cls, last: Int[Tensor, " batch"], length: int) -> Positions:
        """All positions as wide ones, whatever the prompts: of a known number, but more than needed."""
        narrow = torch.arange(len(last), device=last.device) * length + last
        return cls(torch.arange(len(last) * length, device=last.device), narrow, narrow)


class Indices:
    """The lists of one plan, which its passes use again.

    Indexing by a list makes a tensor each time, and copies it to a GPU, which waits for all that was started
    before. A recording (`gate_loss.Recorded`) needs them to stay where they are as long as its plan.
    """

    def __init__(self) -> None:
        self._made: dict[tuple[int, ...], Tensor] = {}

    def __call__(self, numbers: Sequence[int], device: torch.device) -> Int[Tensor, " n"]:
        """The numbers as a tensor that nobody may change."""
        key = tuple(numbers)
        if key not in self._made:
            self._made[key] = torch.tensor(key, dtype=torch.long, device=device)
        return self._made[key]

    def rows(self, x: Tensor, numbers: Sequence[int]) -> Tensor:
        """The rows of `x` with these ascending numbers; no copy where they are neighbours."""
        first, count = numbers[0], len(numbers)
        if numbers[-1] - first == count - 1:
            return x[first : first + count]
        return x.index_select(0, self(numbers, x.device))
