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
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from jaxtyping import Bool, Int

from hap_engine.errors import RunFileError, UnknownNameError

MAX_CELLS = 100_000_000  # one byte each; Llama-70B has 34 million


@dataclass(frozen=True)
class Writer:
    """A row: ``kind`` is ``input``, ``head`` or ``mlp``; `layer` is -1 for the embedding."""

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
class Edge:
    """One writer seen by one reader."""

    writer: Writer
    reader: Reader

    @property
    def name(self) -> str:
        return f"{self.writer.name}->{self.reader.name}"


@dataclass(frozen=True)
class Graph:
    """All writers, readers and real edges of one architecture.

    Attributes:
        parallel: attention and MLP of a block read the same residual stream (GPT-NeoX), so an MLP
            does not see the heads of its own layer.
    """

    n_layers: int
    n_heads: int
    n_kv_heads: int
    parallel: bool = False

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
            raise RunFileError(
                f"A graph of {layers} layers and {heads} heads is too large to draw "
                f"({cells:,} pairs of writer and reader, at most {MAX_CELLS:,})."
            )
        if sizes[1] % sizes[2]:
            raise RunFileError(f"{sizes[1]} heads cannot share {sizes[2]} KV heads evenly.")
        return cls(sizes[0], sizes[1], sizes[2], parallel=bool(data.get("parallel", False)))

    def to_dict(self) -> dict[str, Any]:
        return {
            "n_layers": self.n_layers,
            "n_heads": self.n_heads,
            "n_kv_heads": self.n_kv_heads,
            "parallel": self.parallel,
            "n_writers": len(self.writers),
            "n_readers": len(self.readers),
            "n_edges": self.n_edges,
        }

    @cached_property
    def writers(self) -> tuple[Writer, ...]:
        found = [Writer("input", "input", -1)]
        for layer in range(self.n_layers):
            found += [Writer(f"a{layer}.h{h}", "head", layer, h) for h in range(self.n_heads)]
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
        before_layer = 1 + np.arange(self.n_layers + 1) * (self.n_heads + 1)
        return np.array(
            [
                before_layer[r.layer] + (self.n_heads if r.kind == "mlp" and not self.parallel else 0)
                for r in self.readers
            ]
        )

    @cached_property
    def edge_mask(self) -> Bool[np.ndarray, "writer reader"]:
        """True where an edge is real."""
        return np.arange(len(self.writers))[:, None] < self.upstream[None, :]

    @cached_property
    def feeds(self) -> Bool[np.ndarray, "reader writer"]:
        """True where a reader is an input of a writer (k and v feed every head of their group)."""
        group = self.n_heads // self.n_kv_heads
        return np.array(
            [
                [
                    w.kind == r.kind
                    and w.layer == r.layer
                    and (w.head is None or r.head == (w.head if r.slot == "q" else w.head // group))
                    for w in self.writers
                ]
                for r in self.readers
            ]
        )

    @cached_property
    def stages(self) -> tuple[tuple[slice, slice], ...]:
        """Writers that do not see one another (a layer's heads; an MLP) with the readers that feed them, in order."""
        heads, slots = self.n_heads, self.n_heads + 2 * self.n_kv_heads
        found = []
        for layer in range(self.n_layers):
            w, r = 1 + layer * (heads + 1), layer * (slots + 1)
            found.append((slice(w, w + heads), slice(r, r + slots)))
            found.append((slice(w + heads, w + heads + 1), slice(r + slots, r + slots + 1)))
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
