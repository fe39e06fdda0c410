"""What a masked pass has to compute, at which positions, and on which cards.

Two facts make most of the work unnecessary, and neither changes a number:

* A component without a live edge in equals its corrupt twin (its delta is exactly 0), and one without a
  path to the logits changes nothing. Only the *live* part of a mask (`Circuit.live`) is computed.
* The logits read one position, the scored one. A writer whose live edges all lead to readers that
  are themselves needed there only (the logits, queries of such heads, such MLPs) is needed there
  only. Keys and values are needed everywhere. In a full model this holds for the last layer; in a
  sparse circuit for most name movers, S-inhibition heads and late MLPs.

So what is computed stands at a *zone*, some tokens of every prompt. The last zone is the scored position. Before it
comes one with all tokens, for what is needed everywhere. In a positional graph it is the other way round: there each
span is a zone, its readers say what is needed there, and the last span is the scored position.
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
from hap_engine.machine.workload import look_ahead
from hap_engine.narrow.weights import Narrow


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
    """What one layer computes at each zone; slots are numbered within the layer.

    Heads are those that are written themselves or change what the norm writer writes.
    """

    heads: tuple[list[int], ...]
    slots: tuple[list[int], ...]  # live ones
    norm: list[int]  # zones at which its norm writer is computed
    mlp: list[int]  # likewise


class Plan:
    """The live part of a circuit, sorted by zones.

    Attributes:
        zones: how many there are.
        copied: what the first zone has is read at the last one too, which it contains.
        first, end: the layers whose readers it is of, from `first` to before `end`: all, or those of a card (`part`).
        writers: rows of each zone's buffer: all that write, or those that write or are read there.
        readers: of each zone.
    """

    def __init__(self, circuit: Circuit) -> None:
        self.graph = graph = circuit.graph
        self.first, self.end = 0, graph.n_layers
        self.indices = Indices()
        self._parts: dict[tuple[Stretch, bool], Plan] = {}
        self.live = circuit.live.kept
        self.read: Bool[np.ndarray, " reader"] = np.asarray(self.live.any(axis=0))
        self.copied = not graph.positional
        self.zones = 2 if self.copied else len(graph.spans)
        at = graph.reader_spans[None] == np.arange(len(graph.spans))[:, None]
        read_at = np.stack([self.live[:, here].any(axis=1) for here in at], axis=1)
        self.computed = self._computed(read_at)
        self.written: Bool[np.ndarray, "writer zone"] = self.computed & read_at
        self.layers = [self._layer(layer) for layer in range(graph.n_layers)]
        rows = [*self.written.T]
        if self.copied:
            rows[-1] = self.written.any(axis=1)
        self.writers = [np.flatnonzero(one) for one in rows]
        self.readers = [self._columns(zone, 0, graph.n_layers) for zone in range(self.zones)]

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
            made.readers = [made._columns(zone, made.first, made.end) for zone in range(self.zones)]
            own = np.isin(np.arange(len(self.live)), stretch.writers(self.graph))
            edges = self.graph.edge_mask if training else self.live
            here = [own | edges[:, readers].any(axis=1) for readers in made.readers]
            made.writers = [rows[needed[rows]] for rows, needed in zip(self.writers, here, strict=True)]
        return self._parts[stretch, training]

    def columns(self, zone: int, first: int) -> list[int]:
        """The live readers of a zone in the layers opened with `first`, the logits after the last."""
        return self._columns(zone, first, min(first + look_ahead(self.graph.slots), self.end))

    def _columns(self, zone: int, first: int, end: int) -> list[int]:
        found: list[int] = []
        for layer in range(first, end):
            found += self.layer_columns(zone, layer)
        if zone == self.zones - 1 and end == self.graph.n_layers and self.read[-1]:
            found.append(len(self.read) - 1)
        return found

    def layer_columns(self, zone: int, layer: int) -> list[int]:
        """The live readers of one layer at a zone."""
        plan, first = self.layers[layer], self.column(layer, 0, zone)
        columns = [first + slot for slot in plan.slots[zone]]
        return [*columns, self.column(layer, self.graph.slots, zone)] if zone in plan.mlp else columns

    def column(self, layer: int, slot: int, zone: int) -> int:
        """Of what a layer's slot reads at a zone."""
        return self.graph.column(layer, slot, 0 if self.copied else zone)

    def _computed(self, read_at: Bool[np.ndarray, "writer span"]) -> Bool[np.ndarray, "writer zone"]:
        """Where each writer is computed: where it is read, and a head where it changes what its norm writer writes."""
        graph = self.graph
        renormed = np.zeros_like(read_at)
        for writers, readers, feeds in graph.stages:
            if (norm := graph.norm_row(graph.writers[writers.start].layer)) in range(writers.start, writers.stop):
                renormed[writers] = feeds[self.read[readers]].any(axis=0) & read_at[norm]
                renormed[norm] = False
        needed = read_at | renormed
        if not self.copied:
            return needed
        everywhere = np.zeros(len(needed), dtype=bool)
        wide = np.zeros_like(self.read)  # readers that read at all tokens
        for layer in reversed(range(graph.n_layers)):
            first, row, mlp = graph.column(layer), graph.head_row(layer), graph.mlp_row(layer)
            column, norm, heads = first + graph.slots, graph.norm_row(layer), slice(row, row + graph.n_heads)
            everywhere[mlp] = (self.live[mlp] & wide).any()
            wide[column] = self.read[column] and everywhere[mlp]
            everywhere[row:mlp] = (self.live[row:mlp] & wide).any(axis=1)
            if norm is not None:
                everywhere[heads] |= renormed[heads, 0] & everywhere[norm]
            slots = graph.slot_feeds[:, everywhere[heads]].any(axis=1) | (np.arange(graph.slots) >= graph.n_heads)
            wide[first:column] = self.read[first:column] & slots
        everywhere[0] = (self.live[0] & wide).any()
        return np.stack([needed[:, 0] & everywhere, needed[:, 0] & ~everywhere], axis=1)

    def _layer(self, layer: int) -> LayerPlan:
        graph, row = self.graph, self.graph.head_row(layer)
        here = self.computed[row : row + graph.n_heads]
        read = [self.read[(first := self.column(layer, 0, zone)) : first + graph.slots] for zone in range(self.zones)]
        if self.copied:  # keys and values are needed everywhere, and the queries of heads that are
            wide = graph.slot_feeds[:, here[:, 0]].any(axis=1) | (np.arange(graph.slots) >= graph.n_heads)
            read = [read[0] & wide, read[1] & ~wide]
        norm = graph.norm_row(layer)
        return LayerPlan(
            tuple(np.flatnonzero(heads).tolist() for heads in here.T),
            tuple(np.flatnonzero(slots).tolist() for slots in read),
            [] if norm is None else np.flatnonzero(self.computed[norm]).tolist(),
            np.flatnonzero(self.computed[graph.mlp_row(layer)]).tolist(),
        )

    def rows(self, zone: int, writers: Int[np.ndarray, " n"] | list[int]) -> list[int]:
        """Rows of writers in the delta buffer of a zone."""
        return [int(row) for row in np.searchsorted(self.writers[zone], writers)]

    def pairs(self, zone: int) -> int:
        """How many rows of a zone's buffer its readers mix, together."""
        before = self.graph.upstream[self.readers[zone]]
        return int(np.searchsorted(self.writers[zone], before).sum())

    def edges(self, zone: int) -> int:
        """How many edges lead to the readers of a zone."""
        return int(self.live[:, self.readers[zone]].sum())

    def seen(self, zone: int, column: int) -> int:
        """How many rows of a zone's buffer come before a reader."""
        return int(np.searchsorted(self.writers[zone], self.graph.upstream[column]))


@dataclass(frozen=True, eq=False)
class Positions:
    """The tokens a masked pass computes, as indices into ``batch * pos``.

    Before the first token in which the prompts differ every delta is 0, and after the scored position
    nothing is read: both are left out.

    Attributes:
        tokens: of each zone: those of every prompt from its first difference on, all of them or those of a span; last
            the scored positions.
        ends: where among the first zone's tokens the scored positions are, if it has all.
    """

    tokens: tuple[Int[Tensor, " _"], ...]
    ends: Int[Tensor, " batch"]

    @classmethod
    def of(
        cls,
        differs: Bool[Tensor, "batch pos"],
        last: Int[Tensor, " batch"],
        spans: Int[Tensor, "batch pos"] | None = None,
        count: int = 2,
    ) -> Positions:
        """Of prompts that differ at some tokens; `spans` has the number of each token's span, the last of `count` being
        the scored position."""
        at = torch.arange(differs.shape[1], device=differs.device)
        end = at == last[:, None]
        active = ((differs.cumsum(1) > 0) & (at <= last[:, None])) | end
        parts = [active] if spans is None else [active & ~end & (spans == span) for span in range(count - 1)]
        first, *others = (part.flatten().nonzero()[:, 0] for part in (*parts, end))
        ends = end.flatten()[first].nonzero()[:, 0] if spans is None else first[:0]
        return cls((first, *others), ends)

    def on(self, device: torch.device) -> Positions:
        """The same on another card."""
        return Positions(tuple(tokens.to(device) for tokens in self.tokens), self.ends.to(device))

    @classmethod
    def all(cls, last: Int[Tensor, " batch"], length: int) -> Positions:
        """All positions in the first zone, whatever the prompts: of a known number, but more than needed."""
        scored = torch.arange(len(last), device=last.device) * length + last
        return cls((torch.arange(len(last) * length, device=last.device), scored), scored)


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
        if isinstance(x, Narrow) and len(x.parts) == len(x):
            return x.rows(numbers)
        first, count = numbers[0], len(numbers)
        if numbers[-1] - first == count - 1:
            return x[first : first + count]
        return x.index_select(0, self(numbers, x.device))
