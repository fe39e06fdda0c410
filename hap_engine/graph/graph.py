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

Two things are not the same in every model, and are measured when it is opened:

* Where the sum of a layer's heads is normed before it enters the stream (Gemma 2), a head's share of it depends on all
  of them. Heads then write at the scale of the corrupted run, and one more writer a layer, its *norm writer* ``n5``,
  carries what the change of scale adds. It comes after the heads and before the MLP.
* Where heads act on each other inside attention (a norm over the queries of all of them: OLMo 2), a slot feeds
  several heads (`Graph.coupled`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from jaxtyping import Bool, Int

from hap_engine.errors import RunFileError, UnknownNameError
from hap_engine.words import say

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

    `head` counts KV heads where `slot` is ``k`` or ``v``.
    """

    name: str
    kind: str
    layer: int
    head: int | None = None
    slot: str = ""


@dataclass(frozen=True)
class Graph:
    """All writers, readers and real edges of one architecture.

    Attributes:
        parallel: attention and MLP of a block read the same residual stream (GPT-NeoX), so an MLP
            does not see the heads of its own layer.
        post_norm: the sum of a layer's heads is normed, so each layer has a norm writer.
        coupled: of each slot of a layer, the heads that it feeds; empty where a query feeds its head, and keys and
            values the heads of their group.
    """

    n_layers: int
    n_heads: int
    n_kv_heads: int
    parallel: bool = False
    post_norm: bool = False
    coupled: tuple[tuple[int, ...], ...] = ()

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
        cells = layers**2 * (heads + 1) * (heads + 2 * kv + 1)
        if cells > MAX_CELLS:
            raise RunFileError(say("graph.too_large", layers=layers, heads=heads, cells=cells, most=MAX_CELLS))
        if sizes[1] % sizes[2]:
            raise RunFileError(f"{sizes[1]} heads cannot share {sizes[2]} KV heads evenly.")
        coupled = tuple(tuple(map(int, fed)) for fed in data.get("coupled", ()))
        if coupled and (len(coupled) != heads + 2 * kv or not all(0 <= head < heads for head in sum(coupled, ()))):
            raise RunFileError(f"Expected the heads that each of {heads + 2 * kv} slots feeds, got {coupled}.")
        return cls(layers, heads, kv, bool(data.get("parallel")), bool(data.get("post_norm")), coupled)

    def to_dict(self) -> dict[str, Any]:
        more: dict[str, Any] = {"post_norm": True} if self.post_norm else {}
        if self.coupled:
            more["coupled"] = [list(fed) for fed in self.coupled]
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

    def column(self, layer: int, slot: int = 0) -> int:
        """Of a layer's slot (q heads, k heads, v heads, then the MLP)."""
        return layer * (self.slots + 1) + slot

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
        found = []
        for layer in range(self.n_layers):
            for slot in "qkv":
                found += [
                    Reader(f"a{layer}.h{h}<{slot}>", "head", layer, h, slot)
                    for h in range(self.n_heads if slot == "q" else self.n_kv_heads)
                ]
            found.append(Reader(f"m{layer}", "mlp", layer))
        return (*found, Reader("logits", "logits", self.n_layers))

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
        """True where an edge is real."""
        return np.arange(len(self.writers))[:, None] < self.upstream[None, :]

    @cached_property
    def feeds(self) -> Bool[np.ndarray, "reader writer"]:
        """True where a reader is an input of a writer: a slot of the heads that it feeds (k and v usually of all heads
        of their group) and of its layer's norm writer."""
        found = np.zeros((len(self.readers), len(self.writers)), dtype=bool)
        for layer in range(self.n_layers):
            first, row, mlp = self.column(layer), self.head_row(layer), self.mlp_row(layer)
            found[first : first + self.slots, row : row + self.n_heads] = self.slot_feeds
            found[first : first + self.slots, row + self.n_heads : mlp] = True
            found[first + self.slots, mlp] = True
        return found

    @cached_property
    def stages(self) -> tuple[tuple[slice, slice], ...]:
        """Writers that do not see one another (a layer's heads and norm writer; an MLP) with the readers that feed
        them, in order."""
        found = []
        for layer in range(self.n_layers):
            row, mlp, first = self.head_row(layer), self.mlp_row(layer), self.column(layer)
            found.append((slice(row, mlp), slice(first, first + self.slots)))
            found.append((slice(mlp, mlp + 1), slice(first + self.slots, first + self.slots + 1)))
        return tuple(found)

    @property
    def n_edges(self) -> int:
        return int(self.upstream.sum())

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
