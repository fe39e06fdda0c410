"""The computational graph of a transformer: writers, readers and the edges between them.

Every component *writes* to the residual stream (the embedding ``input``, each head ``a5.h1``, each
MLP ``m5``) and every component *reads* from it (a head through its query, key and value inputs
``a5.h1<q>``, ``a5.h0<k>``, ``a5.h0<v>``; an MLP ``m5``; the unembedding ``logits``). An edge joins a
writer to a reader that comes later in the forward pass. On grouped-query models the k and v
readers count KV heads, and one such reader feeds every query head of its group.

Writers are stored in the order in which they are computed, so the writers that a reader can see
are always a prefix: ``writers[:graph.upstream[reader]]``. Matrices over ``[writer, reader]`` hold all
data; the dataclasses are names for their rows and columns (the idea is EAP-IG's).

With L layers, H heads and K KV heads there are ``1 + L(H+1)`` writers and ``L(H+2K+1) + 1`` readers.

A *positional* graph has the parts of its prompts as `spans` (Haklay et al. 2025, arXiv 2502.04577). What a component
reads at the tokens of one span is then a reader of its own, ``a5.h1<q>@END``, and an edge acts at its reader's span:
a writer's output there is read there. Between spans things move by attention alone, from the keys and values at one
span to a head at the same or a later one (`Span.sees`). A graph without spans is the case of one.

Two things are not the same in every model, and are measured when it is opened:

* Where the sum of a layer's heads is normed before it enters the stream (Gemma 2), a head's share of it depends on all
  of them. Heads then write at the scale of the corrupted run, and one more writer a layer, its *norm writer* ``n5``,
  carries what the change of scale adds. It comes after the heads and before the MLP.
* Where heads act on each other inside attention (a norm over the queries of all of them: OLMo 2), a slot feeds
  several heads (`Graph.coupled`).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import chain
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from hap_engine.errors import RunFileError, UnknownNameError
from hap_engine.words import say

MAX_SPANS = 64  # a circuit of more has no picture that can be read
NAME = re.compile(r"(?! )[\w+/. -]{1,40}(?<! )")  # of a span: it stands in readers' names, pages and files
MAX_CELLS = 100_000_000  # one byte each; Llama-70B has 34 million


@dataclass(frozen=True)
class Writer:
    """A row: ``kind`` is ``input``, ``head``, ``norm`` or ``mlp``; `layer` is -1 for the embedding."""

    name: str
    kind: str
    layer: int
    head: int | None = None


@dataclass(frozen=True)
class Reader:
    """A column: ``kind`` is ``head``, ``mlp`` or ``logits``; `slot` is ``q``, ``k``, ``v`` or empty.

    `head` counts KV heads where `slot` is ``k`` or ``v``; `span` is the number of the span at which it reads.
    """

    name: str
    kind: str
    layer: int
    head: int | None = None
    slot: str = ""
    span: int = 0

    @property
    def place(self) -> str:
        """Its name without the span."""
        return self.name.partition("@")[0]


@dataclass(frozen=True)
class Span:
    """A part of the prompts, each of which has it once; a whole prompt is its spans without a gap.

    Attributes:
        sees: the numbers of the spans with a token before some token of this one, or in it: itself and others.
        differs: whether clean and corrupted prompts differ there. Where they never do the input changes nothing.
    """

    name: str
    sees: tuple[int, ...]
    differs: bool = True


WHOLE = (Span("", (0,)),)  # of a graph that does not ask where


@dataclass(frozen=True)
class Graph:
    """All writers, readers and real edges of one architecture.

    Attributes:
        parallel: attention and MLP of a block read the same residual stream (GPT-NeoX), so an MLP
            does not see the heads of its own layer.
        post_norm: the sum of a layer's heads is normed, so each layer has a norm writer.
        coupled: of each slot of a layer, the heads that it feeds; empty where a query feeds its head, and keys and
            values the heads of their group.
        spans: the parts of the prompts, the one with the scored position last. By default the whole prompt.
    """

    n_layers: int
    n_heads: int
    n_kv_heads: int
    parallel: bool = False
    post_norm: bool = False
    coupled: tuple[tuple[int, ...], ...] = ()
    spans: tuple[Span, ...] = WHOLE

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Graph:
        """The inverse of `to_dict`.

        Raises:
            RunFileError: if a size is missing or impossible.
        """
        sizes: list[Any] = [data.get(key) for key in ("n_layers", "n_heads", "n_kv_heads")]
        if not all(type(size) is int and 1 <= size <= 1024 for size in sizes):
            raise RunFileError(f"Expected graph sizes n_layers, n_heads, n_kv_heads between 1 and 1024, got {sizes}.")
        layers, heads, kv = sizes
        if heads % kv:
            raise RunFileError(f"{heads} heads cannot share {kv} KV heads evenly.")
        rows, coupled = ([] if data.get(key) is None else data[key] for key in ("spans", "coupled"))
        if not _lists(coupled, int):
            raise RunFileError(say("graph.no_coupling", slots=heads + 2 * kv, coupled=str(coupled)[:80]))
        if not isinstance(rows, list) or len(rows) > MAX_SPANS:
            raise RunFileError(say("graph.no_span", row=str(rows)[:80]))
        spans, fed = tuple(map(_span, rows)) or WHOLE, tuple(map(tuple, coupled))
        return cls(layers, heads, kv, bool(data.get("parallel")), bool(data.get("post_norm")), fed, spans).checked()

    def checked(self) -> Graph:
        """Itself: a graph that a file may hold.

        Raises:
            RunFileError: if its matrices are too large, or what is coupled or a span is none.
        """
        spans, within = len(self.spans), (self.slots + 1) * (self.n_heads + 1)
        cells = max(self.n_layers**2 * within * spans, within * spans**2)  # of its edges; of `stages`
        if cells > MAX_CELLS:
            raise RunFileError(say("graph.too_large", graph=self, spans=spans, cells=cells, most=MAX_CELLS))
        heads = {*range(self.n_heads)}
        if self.coupled and (len(self.coupled) != self.slots or not {*chain(*self.coupled)} <= heads):
            raise RunFileError(say("graph.no_coupling", slots=self.slots, coupled=str(self.coupled)[:80]))
        names = Counter(span.name for span in self.spans)
        for at, span in enumerate(self.spans if self.positional else ()):
            known = NAME.fullmatch(span.name) and names[span.name] == 1
            if not known or not {at} <= {*span.sees} <= {*range(spans)}:
                raise RunFileError(say("graph.no_span", row=str(span)[:80]))
        return self

    def to_dict(self) -> dict[str, Any]:
        more: dict[str, Any] = {"post_norm": True} if self.post_norm else {}
        if self.coupled:
            more["coupled"] = [list(fed) for fed in self.coupled]
        if self.positional:
            more["spans"] = [{"name": s.name, "sees": [*s.sees], "differs": s.differs} for s in self.spans]
        return {
            "n_layers": self.n_layers,
            "n_heads": self.n_heads,
            "n_kv_heads": self.n_kv_heads,
            "parallel": self.parallel,
            **more,
            "n_writers": len(self.writers),
            "n_readers": len(self.readers),
            "n_edges": self.n_edges,
        }

    # -- where things are in the matrices ------------------------------------------------------------

    @property
    def slots(self) -> int:
        """Readers of a layer's heads: q of every head, k and v of every KV head."""
        return self.n_heads + 2 * self.n_kv_heads

    def head_row(self, layer: int, head: int = 0) -> int:
        return 1 + layer * (self.n_heads + self.post_norm + 1) + head

    def norm_row(self, layer: int) -> int | None:
        """None where the model has no norm writers."""
        return self.head_row(layer, self.n_heads) if self.post_norm else None

    def mlp_row(self, layer: int) -> int:
        return self.head_row(layer, self.n_heads + self.post_norm)

    @property
    def positional(self) -> bool:
        return self.spans != WHOLE

    def column(self, layer: int, slot: int = 0, span: int = 0) -> int:
        """Of a layer's slot (q heads, k heads, v heads, then the MLP) at a span.

        A layer has the slots of its heads at one span after the other, then its MLP at each.
        """
        spans = len(self.spans)
        first = layer * spans * (self.slots + 1)
        return first + (spans * slot + span if slot == self.slots else span * self.slots + slot)

    @cached_property
    def slot_feeds(self) -> Bool[np.ndarray, "slot head"]:
        """Which of a layer's slots feed which of its heads."""
        heads = np.arange(self.n_heads)
        if self.coupled:
            return np.array([np.isin(heads, fed) for fed in self.coupled])
        groups = np.arange(self.n_kv_heads)[:, None] == heads // (self.n_heads // self.n_kv_heads)
        return np.concatenate([np.eye(self.n_heads, dtype=bool), groups, groups])

    @cached_property
    def writers(self) -> tuple[Writer, ...]:
        found = [Writer("input", "input", -1)]
        for layer in range(self.n_layers):
            found += [Writer(f"a{layer}.h{h}", "head", layer, h) for h in range(self.n_heads)]
            found += [Writer(f"n{layer}", "norm", layer)] * self.post_norm
            found.append(Writer(f"m{layer}", "mlp", layer))
        return tuple(found)

    @cached_property
    def readers(self) -> tuple[Reader, ...]:
        found, places = [], [(f"@{span.name}" if span.name else "", at) for at, span in enumerate(self.spans)]
        for layer in range(self.n_layers):
            for suffix, at in places:
                for slot in "qkv":
                    found += [
                        Reader(f"a{layer}.h{h}<{slot}>{suffix}", "head", layer, h, slot, at)
                        for h in range(self.n_heads if slot == "q" else self.n_kv_heads)
                    ]
            found += [Reader(f"m{layer}{suffix}", "mlp", layer, span=at) for suffix, at in places]
        return (*found, Reader("logits", "logits", self.n_layers, span=len(self.spans) - 1))

    @cached_property
    def writer_index(self) -> dict[str, int]:
        return {writer.name: index for index, writer in enumerate(self.writers)}

    @cached_property
    def reader_index(self) -> dict[str, int]:
        return {reader.name: index for index, reader in enumerate(self.readers)}

    @cached_property
    def upstream(self) -> Int[np.ndarray, " reader"]:
        """Number of writers that each reader can see (they are a prefix of `writers`)."""
        return np.array(
            [
                self.mlp_row(r.layer) if r.kind == "mlp" and not self.parallel else self.head_row(r.layer)
                for r in self.readers
            ]
        )

    @cached_property
    def edge_mask(self) -> Bool[np.ndarray, "writer reader"]:
        """True where an edge is real: its writer comes before its reader and, at the reader's span, can carry a change
        from the input to the logits."""
        before = np.arange(len(self.writers))[:, None] < self.upstream[None, :]
        return self.live(before) if self.positional else before

    @cached_property
    def feeds(self) -> Bool[np.ndarray, "reader writer"]:
        """True where a reader is an input of a writer at some span: a slot of the heads that it feeds (k and v usually
        of all heads of their group) and of its layer's norm writer."""
        found = np.zeros((len(self.readers), len(self.writers)), dtype=bool)
        for writers, readers, feeds in self.stages:
            found[readers, writers] = feeds.any(axis=2)
        return found

    @cached_property
    def reader_spans(self) -> Int[np.ndarray, " reader"]:
        return np.array([reader.span for reader in self.readers])

    @cached_property
    def stages(self) -> tuple[tuple[slice, slice, Bool[np.ndarray, "reader writer span"]], ...]:
        """Writers that do not see one another (a layer's heads and norm writer; an MLP) with the readers that feed
        them, in order, and at which spans they do."""
        spans = len(self.spans)
        here = np.eye(spans, dtype=bool)
        sees = np.array([[one in span.sees for span in self.spans] for one in range(spans)])
        query = np.arange(self.slots) < self.n_heads
        fed = np.concatenate([self.slot_feeds, np.ones((self.slots, int(self.post_norm)), dtype=bool)], axis=1)
        to = np.where(query[:, None], here[:, None], sees[:, None])  # [span of the slot, slot, span of the head]
        heads = (to[:, :, None] & fed[None, :, :, None]).reshape(spans * self.slots, -1, spans)
        found = []
        for layer in range(self.n_layers):
            row, mlp, first = self.head_row(layer), self.mlp_row(layer), self.column(layer)
            middle = self.column(layer, self.slots)
            found.append((slice(row, mlp), slice(first, middle), heads))
            found.append((slice(mlp, mlp + 1), slice(middle, middle + spans), here[:, None]))
        return tuple(found)

    def live(self, kept: Bool[np.ndarray, "writer reader"]) -> Bool[np.ndarray, "writer reader"]:
        """The kept edges that lie on a path from ``input`` to ``logits``: no other changes the logits."""
        spans, at = len(self.spans), self.reader_spans
        fed = np.zeros((len(self.writers), spans), dtype=bool)
        fed[0] = [span.differs for span in self.spans]
        for writers, readers, feeds in self.stages:
            reached = (kept[: writers.start, readers] & fed[: writers.start, at[readers]]).any(axis=0)
            fed[writers] = feeds[reached].any(axis=0)
        useful = np.zeros(len(self.readers), dtype=bool)
        useful[-1] = True
        wanted = np.zeros_like(fed)
        for writers, readers, feeds in reversed(self.stages):
            later = kept[writers, readers.stop :] & useful[readers.stop :]
            for span in range(spans):
                wanted[writers, span] = later[:, at[readers.stop :] == span].any(axis=1)
            useful[readers] = (feeds & wanted[writers]).any(axis=(1, 2))
        return np.asarray(kept & fed[:, at] & useful[None, :])

    @property
    def whole(self) -> Graph:
        """The same graph without spans."""
        return replace(self, spans=WHOLE)

    def over_spans(self, values: Float[np.ndarray, "writer reader"]) -> Float[np.ndarray, "writer whole"]:
        """Sums over spans, for the readers of `whole`: a score is a sum over tokens."""
        found = np.zeros((len(self.writers), len(self.whole.readers)))
        index = self.whole.reader_index
        np.add.at(found.T, [index[reader.place] for reader in self.readers], values.T)
        return found

    def inputs(self, writer: int, span: int) -> Bool[np.ndarray, " reader"]:
        """The readers that feed a writer at a span."""
        found = np.zeros(len(self.readers), dtype=bool)
        if writer:
            writers, readers, feeds = self.stages[self._stage(self.writers[writer])]
            found[readers] = feeds[:, writer - writers.start, span]
        return found

    def fed_by(self, reader: int) -> Bool[np.ndarray, "writer span"]:
        """The writers that a reader feeds, and at which spans."""
        found = np.zeros((len(self.writers), len(self.spans)), dtype=bool)
        if self.readers[reader].kind != "logits":
            writers, readers, feeds = self.stages[self._stage(self.readers[reader])]
            found[writers] = feeds[reader - readers.start]
        return found

    def _stage(self, node: Writer | Reader) -> int:
        return 2 * node.layer + (node.kind == "mlp")

    @property
    def n_edges(self) -> int:
        return int(self.edge_mask.sum()) if self.positional else int(self.upstream.sum())

    @cached_property
    def heads(self) -> tuple[str, ...]:
        return tuple(writer.name for writer in self.writers if writer.kind == "head")

    def edge(self, writer: str, reader: str) -> tuple[int, int]:
        """Indices of a named edge.

        Raises:
            UnknownNameError: if a name is unknown, or the writer does not come before the reader.
        """
        if writer not in self.writer_index:
            raise UnknownNameError("writer", writer, self.writer_index)
        if reader not in self.reader_index:
            raise UnknownNameError("reader", reader, self.reader_index)
        w, r = self.writer_index[writer], self.reader_index[reader]
        if not self.edge_mask[w, r]:
            visible = [known.name for known in self.writers[: self.upstream[r]]]
            raise UnknownNameError(f"writer before {reader}", writer, visible)
        return w, r


def _span(row: Any) -> Span:
    """Raises RunFileError for what `Graph.to_dict` would not write."""
    named = isinstance(row, dict) and isinstance(row.get("name"), str) and row["name"]
    if not named or not _lists([row.get("sees")], int) or type(row.get("differs", True)) is not bool:
        raise RunFileError(say("graph.no_span", row=str(row)[:80]))
    return Span(row["name"], tuple(sorted({*row["sees"]})), row.get("differs", True))


def _lists(value: Any, kind: type) -> bool:
    """Whether it is a list of lists of a kind."""
    return isinstance(value, list) and all(isinstance(row, list) and {*map(type, row)} <= {kind} for row in value)
