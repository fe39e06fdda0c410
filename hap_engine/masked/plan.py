"""What a masked pass has to compute, at which positions, and on which cards.

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

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np
import torch
from jaxtyping import Bool, Int
from torch import Tensor

from hap_engine.graph.circuit import Circuit
from hap_engine.graph.graph import Graph
from hap_engine.machine.workload import LOOK_AHEAD


def look_ahead(graph: Graph) -> int:
    """How many layers' readers are mixed together."""
    return max(1, round(LOOK_AHEAD / (graph.slots + 1)))


@dataclass(frozen=True)
class Stretch:
    """Layers that follow one another on one card: from `first` to before `end`."""

    device: torch.device
    first: int
    end: int

    def writers(self, graph: Graph) -> range:
        """Those that write there: of these layers, and before layer 0 the input."""
        return range(graph.head_row(self.first) if self.first else 0, graph.head_row(self.end))


def stretches(devices: Sequence[torch.device]) -> list[Stretch]:
    """Of layers that are on these devices."""
    found, end = list[Stretch](), 0
    for device, layers in groupby(devices):
        first, end = end, end + len(list(layers))
        found.append(Stretch(device, first, end))
    return found


@dataclass(frozen=True)
class LayerPlan:
    """What one layer computes; reader columns are indices into ``graph.readers``.

    Heads are those that are written themselves or change what the norm writer writes.
    """

    wide_heads: list[int]
    narrow_heads: list[int]
    wide_slots: list[int]  # live columns read at every position, without the MLP's
    narrow_slots: list[int]  # live query columns of narrow heads
    norm: str | None  # "wide", "narrow" or None
    mlp: str | None  # likewise


class Plan:
    """The live part of a circuit, sorted into wide and narrow.

    Attributes:
        first, end: the layers whose readers it is of, from `first` to before `end`: all, or those of a card (`part`).
        writers: rows of each span's buffer: all that write, or those that write or are read there.
        readers: of each span.
    """

    def __init__(self, circuit: Circuit) -> None:
        self.graph = graph = circuit.graph
        self.first, self.end = 0, graph.n_layers
        self.indices = Indices()
        self._parts: dict[tuple[Stretch, bool], Plan] = {}
        self.live = circuit.live.kept
        self.written = written = np.asarray(self.live.any(axis=1))
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

    def part(self, stretch: Stretch, *, training: bool) -> Plan:
        """What of it concerns one card, which keeps the rows that its layers write and those that they read.

        Args:
            training: all that come before its readers, for the gradients of edges that are closed.
        """
        if (stretch.first, stretch.end) == (self.first, self.end):
            return self
        if (stretch, training) not in self._parts:
            made = self._parts[stretch, training] = copy.copy(self)
            made.first, made.end, made.indices = stretch.first, stretch.end, Indices()
            made.readers = {span: made._columns(span, made.first, made.end) for span in self.writers}
            own = np.isin(np.arange(len(self.written)), stretch.writers(self.graph))
            edges = self.graph.edge_mask if training else self.live
            here = {span: own | edges[:, readers].any(axis=1) for span, readers in made.readers.items()}
            made.writers = {span: writers[here[span][writers]] for span, writers in self.writers.items()}
        return self._parts[stretch, training]

    def columns(self, span: str, first: int) -> list[int]:
        """The live readers of a span in the layers opened with `first`, the logits after the last."""
        return self._columns(span, first, min(first + look_ahead(self.graph), self.end))

    def _columns(self, span: str, first: int, end: int) -> list[int]:
        found: list[int] = []
        for layer in range(first, end):
            found += self.layer_columns(span, layer)
        if span == "narrow" and end == self.graph.n_layers and self.read[-1]:
            found.append(len(self.read) - 1)
        return found

    def layer_columns(self, span: str, layer: int) -> list[int]:
        """The live readers of one layer in a span."""
        plan = self.layers[layer]
        slots = plan.wide_slots if span == "wide" else plan.narrow_slots
        return [*slots, self.graph.column(layer, self.graph.slots)] if plan.mlp == span else slots

    def _layer(self, layer: int, written: np.ndarray, wide_reader: np.ndarray) -> LayerPlan:
        """Plan a layer, knowing which readers of later layers are wide; marks its own."""
        graph, first = self.graph, self.graph.column(layer)
        mlp, column = graph.mlp_row(layer), first + graph.slots
        self.wide_writer[mlp] = (self.live[mlp] & wide_reader).any()
        wide_reader[column] = self.read[column] and self.wide_writer[mlp]
        norm = graph.norm_row(layer)
        if norm is not None:
            self.wide_writer[norm] = (self.live[norm] & wide_reader).any()
        read = self.read[first:column]
        moved = graph.slot_feeds[read].any(axis=0)  # heads that read anything live
        wide: list[int] = []
        narrow: list[int] = []
        for head in range(graph.n_heads):
            writer = graph.head_row(layer, head)
            renormed = norm is not None and moved[head]
            if not (written[writer] or (renormed and written[norm])):
                continue
            everywhere = (self.live[writer] & wide_reader).any() or (renormed and self.wide_writer[norm])
            self.wide_writer[writer] = written[writer] and everywhere
            (wide if everywhere else narrow).append(head)
        everywhere = graph.slot_feeds[:, wide].any(axis=1) | (np.arange(graph.slots) >= graph.n_heads)
        wide_slots, narrow_slots = ((first + np.flatnonzero(read & at)).tolist() for at in (everywhere, ~everywhere))
        wide_reader[wide_slots] = True

        def span(writer: int | None) -> str | None:
            if writer is None or not written[writer]:
                return None
            return "wide" if self.wide_writer[writer] else "narrow"

        return LayerPlan(wide, narrow, wide_slots, narrow_slots, span(norm), span(mlp))

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

    def on(self, device: torch.device) -> Positions:
        """The same on another card."""
        return Positions(self.wide.to(device), self.narrow.to(device), self.ends.to(device))

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
