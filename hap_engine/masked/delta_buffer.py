"""The delta buffer over the tokens of one zone, and what its readers mix of it.

``live_w - corrupt_w`` of every live writer is a row of a buffer ``[row, token, d_model]``, one buffer for the tokens
of each zone (`plan.Plan`). What a reader gets is its column of the mask with the rows before it. Two
classes do the same arithmetic:

* `Buffer` multiplies matrices, all tokens side by side. Layer by layer such a product has few columns and reads most
  of the buffer again. So a few layers are opened together (`workload.LOOK_AHEAD`): one product mixes for all their
  readers the rows written so far, and each layer then adds the few rows written since. The backward pass goes
  the same way back.
* `SparseBuffer` adds up, for each reader, the rows that it has an edge from, and in the backward pass for each row the
  gradients of the readers that it has an edge to. A sparse circuit has an edge in one of eight pairs of its
  writers and readers, and the products spend their time on the other seven.

A reader leaves its gradient in its row of `Buffer.readers`, where it found what it got.

Where the layers of a model are on several cards, each has buffers of its own: of the rows that its layers write, and of
those that its readers read from cards before it, which are sent there once (`Receive`) and whose gradients come back.

Torch's kernels for Apple's GPUs set some limits, which cost nothing elsewhere: rows are set by indexing
(``index_copy_`` is there since 2.8 only), no product is empty (in some versions it is whatever was in memory), and
none is written into a tensor with gaps.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import embedding_bag

from hap_engine.anatomy.norms import Norm
from hap_engine.machine.workload import SPARSE, look_ahead
from hap_engine.masked.plan import Plan, Positions
from hap_engine.masked.workspace import Workspace

PIECE = 64  # readers whose gradients are one product: enough for nine tenths of its full speed


class Buffer:
    """The delta buffer over the tokens of one zone, mixed by matrix products.

    Attributes:
        delta: ``[row, token, d_model]``, filled in writer order.
        mask: ``[reader, row]``, the mask's entries for the zone's readers, ascending.
        before: how many rows come before each reader.
        readers: ``[reader, token, d_model]``, what the readers get, and in the backward pass its gradients: of all
            readers if there will be one, else of those of the open layers, from number `first` on.
    """

    def __init__(
        self, zone: int, plan: Plan, tokens: int, mask: Tensor, d_model: int, workspace: Workspace, *, training: bool
    ) -> None:
        self.zone, self.workspace, self.indices = zone, workspace, plan.indices
        self.device, self.dtype = mask.device, mask.dtype
        self.tokens, self.d_model, self.training = tokens, d_model, training
        columns = plan.readers[zone]
        self.place = {column: place for place, column in enumerate(columns)}
        self.before = [plan.seen(zone, column) for column in columns]
        self.writers = plan.indices(plan.writers[zone].tolist(), mask.device)
        self.columns = plan.indices(columns, mask.device)
        self.mask = mask.T.index_select(0, self.columns).index_select(1, self.writers)
        self.delta = self._take("delta", len(self.writers))
        opened = range(plan.first, plan.end, look_ahead(plan.graph.slots))
        room = max(len(plan.columns(zone, layer)) for layer in opened)
        self.readers, self.first = self._take("readers", len(columns) if training else room), 0
        self._mixed: dict[int, int] = {}  # how many rows a reader has mixed, by its place
        self._start()

    def _start(self) -> None:
        """What this way of mixing needs besides."""
        self._mask_grad = torch.zeros_like(self.mask)
        self._grad: Tensor | None = None
        self._set = 0

    def _take(self, use: str, rows: int) -> Tensor:
        shape = (rows, self.tokens, self.d_model)
        return self.workspace.take((self.zone, use), shape, self.dtype, self.device)

    def places(self, columns: list[int]) -> slice:
        """Where neighbouring readers are."""
        first = self.place[columns[0]]
        return slice(first, first + len(columns))

    def open(self, places: slice) -> None:
        """Make room for what these readers will get."""
        if not self.training:
            self.first = places.start

    def at(self, places: slice) -> Float[Tensor, "reader token d_model"]:
        """The rows of neighbouring readers."""
        return self.readers[places.start - self.first : places.stop - self.first]

    def due(self, places: slice, seen: int) -> tuple[slice, slice] | None:
        """Which of these readers to mix for when `seen` rows are written, and which rows; they lack the same rows."""
        first = places.start not in self._mixed
        rows = slice(self._mixed.get(places.start, 0), seen)
        if rows.start == rows.stop and not first:
            return None
        self._mixed.update(dict.fromkeys(range(places.start, places.stop), seen))
        return places, rows

    def mix(self, places: slice, rows: slice) -> None:
        """Multiply some rows with their mask and add them to what readers have got of the rows before."""
        out = self.at(places)
        if rows.start == rows.stop:
            out.zero_()
            return
        out.flatten(1).addmm_(self.mask[places, rows], self.delta[rows].flatten(1), beta=int(rows.start > 0))

    def unmix(self, places: slice, rows: slice) -> None:
        """The backward pass of `mix`: gradients of the mask's entries and of the rows.

        A reader mixes a row once, so its entry is set. The readers come from last to first, so the rows that have a
        gradient already are those from some row on: onto these it is added, and the others need not be 0 before.
        """
        if rows.start == rows.stop:
            return
        grad = self.at(places).flatten(1)
        self._mask_grad[places, rows] = grad @ self.delta[rows].flatten(1).T
        if self._grad is None:
            self._grad, self._set = self._take("grad", len(self.writers)), rows.stop
            self._grad[rows.stop :].zero_()
        middle = max(rows.start, min(rows.stop, self._set))
        for part, beta in ((slice(rows.start, middle), 0), (slice(middle, rows.stop), 1)):
            if part.start < part.stop:
                self._grad[part].flatten(1).addmm_(self.mask[places, part].T, grad, beta=beta)
        self._set = min(self._set, rows.start)

    def row_grads(self, rows: list[int]) -> Float[Tensor, "row token d_model"]:
        """Gradients of ascending rows, once every reader has left its own; 0 if no reader has any for them."""
        if self._grad is None:
            self._grad = self._take("grad", len(self.writers)).zero_()
        return self.indices.rows(self._grad, rows)

    def add_grads(self, first: int, rows: list[int], grads: Float[Tensor, "row token d_model"]) -> None:
        """Add the gradients that readers on another card have for some rows, before any reader here leaves its own.

        Args:
            first: the first row that was written here: no other is read on another card.
        """
        if self._grad is None:
            self._grad, self._set = self._take("grad", len(self.writers)), first
            self._grad[first:].zero_()
        self._grad.index_add_(0, self.indices(rows, self.device), grads)

    def mask_grad(self) -> Float[Tensor, "reader row"]:
        """The gradient of `mask`, at the end of the backward pass."""
        return self._mask_grad

    def release(self) -> None:
        self.workspace.give((self.zone, "delta"), self.delta)
        self.workspace.give((self.zone, "readers"), self.readers)
        if self._grad is not None:
            self.workspace.give((self.zone, "grad"), self._grad)


class SparseBuffer(Buffer):
    """The same, mixed by sums over edges."""

    def _start(self) -> None:
        self._grad = None
        self._later = torch.arange(len(self.writers)) >= torch.tensor(self.before)[:, None]
        live = ((self.mask != 0) & ~self._later).numpy()
        self._in, self._out = Edges(live, self.mask), Edges(live.T, self.mask.T)
        self._token = torch.arange(self.tokens)[:, None]

    def due(self, places: slice, seen: int) -> tuple[slice, slice] | None:
        """Those of these readers that lack no row any more: what they get is summed up once."""
        due = [
            place
            for place in range(places.start, places.stop)
            if place not in self._mixed and self.before[place] <= seen
        ]
        self._mixed.update(dict.fromkeys(due, seen))
        return (slice(due[0], due[-1] + 1), slice(0, seen)) if due else None

    def mix(self, places: slice, rows: slice) -> None:
        which = list(range(places.start, places.stop))
        self.at(places).copy_(self._sums(self.delta, self._in, which))

    def unmix(self, places: slice, rows: slice) -> None:
        """Nothing yet: a row sums up its gradient when its writer asks for it."""

    def row_grads(self, rows: list[int]) -> Float[Tensor, "row token d_model"]:
        return self._sums(self.readers, self._out, rows)

    def mask_grad(self) -> Float[Tensor, "reader row"]:
        """All of it in a few products: some readers at a time with the rows before the last of them."""
        grad = torch.zeros_like(self.mask)
        for first in range(0, len(grad), PIECE):
            piece, rows = slice(first, first + PIECE), max(self.before[first : first + PIECE])
            if rows:
                grad[piece, :rows] = self.readers[piece].flatten(1) @ self.delta[:rows].flatten(1).T
        return grad.masked_fill_(self._later, 0)

    def _sums(self, table: Tensor, edges: Edges, which: list[int]) -> Tensor:
        """``[which, token, d_model]``: for each its sum of rows of `table`.

        Token by token, of ``d_model`` numbers each: the rows of a token stay in the cache while all sum over them.
        """
        low, high = which[0], which[-1] + 1
        first, end = int(edges.start[low]), int(edges.start[high])
        offsets = edges.start[low:high] - first + (end - first) * self._token
        found = embedding_bag(
            (edges.other[first:end] * self.tokens + self._token).flatten(),
            table.flatten(0, 1),
            offsets.flatten(),
            mode="sum",
            per_sample_weights=edges.value[first:end].expand(self.tokens, -1).flatten(),
        )
        found = found.view(self.tokens, -1, self.d_model).transpose(0, 1)
        return self.indices.rows(found, [one - low for one in which])


class Edges:
    """The edges at each reader (or row), and where they start: ``start[i]`` to ``start[i + 1]``.

    Attributes:
        other: the other end of each edge.
        value: its entry of the mask.
    """

    def __init__(self, live: Bool[np.ndarray, "one other"], mask: Float[Tensor, "one other"]) -> None:
        one, other = (torch.from_numpy(ends) for ends in live.nonzero())
        self.start = torch.from_numpy(np.concatenate([[0], live.sum(1).cumsum()]))
        self.other, self.value = other, mask[one, other]


def buffer_of(
    zone: int, plan: Plan, tokens: int, mask: Tensor, d_model: int, workspace: Workspace, *, training: bool
) -> Buffer:
    """The kind of buffer that is faster for a plan. GPUs multiply: sums were measured on processors only."""
    few = plan.edges(zone) < SPARSE * plan.pairs(zone)
    kind = SparseBuffer if few and mask.device.type == "cpu" else Buffer
    return kind(zone, plan, tokens, mask, d_model, workspace, training=training)


class Tape:
    """The buffers of one masked pass on one card.

    Args:
        plan: the card's part.
        written: the writers of its layers.
    """

    def __init__(
        self,
        plan: Plan,
        written: range,
        positions: Positions,
        mask: Tensor,
        d_model: int,
        dtype: torch.dtype,
        workspace: Workspace,
    ) -> None:
        self.plan, self.written, self.ends, self.dtype = plan, written, positions.ends, dtype
        training = mask.requires_grad and torch.is_grad_enabled()
        values = mask.detach().to(dtype)
        self.buffers = [
            buffer_of(zone, plan, len(tokens), values, d_model, workspace, training=training)
            for zone, tokens in enumerate(positions.tokens)
        ]

    def open(self, token: Tensor, layer: int) -> Tensor:
        """Mix what is written so far for the readers of this layer and the next few, if it is their turn."""
        if (layer - self.plan.first) % look_ahead(self.plan.graph.slots):
            return token
        for zone, buffer in enumerate(self.buffers):
            if columns := self.plan.columns(zone, layer):
                buffer.open(buffer.places(columns))
                token = self.mix(token, zone, columns, self.plan.graph.column(layer))
        return token

    def mix(self, token: Tensor, zone: int, columns: list[int], before: int) -> Tensor:
        """Add what is written before reader `before` for neighbouring readers that lack the same of it."""
        buffer = self.buffers[zone]
        due = buffer.due(buffer.places(columns), self.plan.seen(zone, before))
        return token if due is None else Mix.apply(token, buffer, *due)

    def rows(self, zone: int, columns: list[int]) -> Float[Tensor, "reader token d_model"]:
        """What neighbouring readers get, once all of it is mixed."""
        buffer = self.buffers[zone]
        return buffer.at(buffer.places(columns))

    def sent(self, other: Tape, zone: int) -> tuple[list[int], list[int]]:
        """Which rows of a zone another card has from here: where they are there, and here."""
        writers = other.plan.writers[zone]
        writers = writers[(writers >= self.written.start) & (writers < self.written.stop)]
        return other.plan.rows(zone, writers), self.plan.rows(zone, writers)

    def release(self) -> None:
        for buffer in self.buffers:
            buffer.release()


class FirstToken(torch.autograd.Function):
    """The token from which all parts of a pass hang; its backward runs last and hands over the mask's gradient."""

    @staticmethod
    def forward(ctx: Any, mask: Tensor, tape: Tape) -> Tensor:
        ctx.tape, ctx.like = tape, mask
        return mask.new_zeros((), dtype=torch.float32)

    @staticmethod
    def backward(ctx: Any, _: Tensor) -> tuple[Tensor, None]:
        grad = torch.zeros_like(ctx.like, dtype=torch.float32)
        for buffer in ctx.tape.buffers:
            grad[buffer.writers[:, None], buffer.columns] = buffer.mask_grad().T.float()
        ctx.tape.release()
        return grad.to(ctx.like.dtype), None


class Receive(torch.autograd.Function):
    """Bring a card the rows of cards before it that its readers read; their gradients go back."""

    @staticmethod
    def forward(ctx: Any, token: Tensor, tape: Tape, before: list[Tape]) -> Tensor:
        ctx.tape, ctx.before = tape, before
        for sender in before:
            for zone, buffer in enumerate(tape.buffers):
                here, there = sender.sent(tape, zone)
                if here:
                    rows = sender.plan.indices.rows(sender.buffers[zone].delta, there)
                    buffer.delta[here[0] : here[-1] + 1].copy_(rows)
        return token.clone()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        for sender in ctx.before:
            for zone, buffer in enumerate(ctx.tape.buffers):
                here, there = sender.sent(ctx.tape, zone)
                if here:
                    first, into = sender.plan.rows(zone, [sender.written.start])[0], sender.buffers[zone]
                    into.add_grads(first, there, buffer.row_grads(here).to(into.device))
        return grad, None, None


class Mix(torch.autograd.Function):
    """Have a buffer mix some rows for some readers."""

    @staticmethod
    def forward(ctx: Any, token: Tensor, buffer: Buffer, places: slice, rows: slice) -> Tensor:
        ctx.kept = buffer, places, rows
        buffer.mix(places, rows)
        return token.clone()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        buffer, places, rows = ctx.kept
        buffer.unmix(places, rows)
        return (grad, *[None] * 3)


class ReadSlots(torch.autograd.Function):
    """Values of some slots of a layer, each reading its own mix.

    A slot reads ``x = c + mix`` with c the corrupt residual stream, and its value is ``x @ w / sigma(x) + b``.
    By linearity ``x @ w`` is the corrupt product plus ``mix @ w``: low precision touches only the mix.
    """

    @staticmethod
    def forward(
        ctx: Any,
        token: Tensor,
        own: Float[Tensor, "slot token d_model"],
        centred: Float[Tensor, "token d_model"],
        corrupt: Float[Tensor, "slot token d_head"],
        weight: Float[Tensor, "slot d_model d_head"],
        bias: Float[Tensor, "slot 1 d_head"],
        norm: Norm,
    ) -> Float[Tensor, "slot token d_head"]:
        """`own` are the readers' rows; `corrupt` is the product of `centred` with the weights, not
        divided by sigma; both are taken over."""
        if norm.recentres:
            own.sub_(own.mean(-1, keepdim=True))
        product = corrupt.add_(torch.bmm(own, weight.to(own.dtype)))
        own.add_(centred.to(own.dtype))  # in place: from here on x itself
        length = torch.linalg.vector_norm(own.float(), dim=-1, keepdim=True)
        inverse = (length.square() / centred.shape[-1] + norm.eps).rsqrt()
        if not norm.divides:
            inverse = torch.ones_like(inverse)
        ctx.kept = own, product, inverse, weight, norm
        return product * inverse + bias

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        own, product, inverse, weight, norm = ctx.kept
        scaled = -(grad * product).sum(-1, keepdim=True) * inverse**3 / own.shape[-1]
        own.mul_(scaled.to(own.dtype) * norm.divides).baddbmm_((grad * inverse).to(own.dtype), weight.to(own.dtype).mT)
        if norm.recentres:
            own.sub_(own.mean(-1, keepdim=True))
        return (grad.new_zeros(()), *[None] * 6)


class Read(torch.autograd.Function):
    """What one reader (an MLP, the logits) reads: its mix on top of the corrupt residual stream."""

    @staticmethod
    def forward(
        ctx: Any, token: Tensor, row: Float[Tensor, "token d_model"], corrupt: Float[Tensor, "token d_model"]
    ) -> Float[Tensor, "token d_model"]:
        ctx.row = row
        return corrupt + row

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        ctx.row.copy_(grad)
        return grad.new_zeros(()), None, None


class Write(torch.autograd.Function):
    """Put rows into a zone's buffer: `value` itself, or ``value @ weight`` for heads.

    A row of all tokens is copied to the last zone as well: readers at the scored position look there.
    """

    @staticmethod
    def forward(
        ctx: Any,
        value: Float[Tensor, "row token d_value"],
        weight: Float[Tensor, "row d_value d_model"] | None,
        token: Tensor,
        tape: Tape,
        zone: int,
        writers: list[int],
    ) -> Tensor:
        ctx.tape, ctx.zone, ctx.weight = tape, zone, weight
        ctx.rows = tape.plan.rows(zone, writers)
        late = zone == tape.plan.zones - 1
        if late and tape.plan.copied:  # rows of the other zone lie between them
            rows = value if weight is None else torch.bmm(value, weight.to(value.dtype))
            tape.buffers[zone].delta[tape.plan.indices(ctx.rows, token.device)] = rows
            return token.clone()
        rows = tape.plan.indices.rows(tape.buffers[zone].delta, ctx.rows)
        if weight is None:
            rows.copy_(value)
        else:
            torch.bmm(value, weight.to(value.dtype), out=rows)
        if tape.plan.copied:
            ctx.late = tape.plan.rows(zone + 1, writers)
            tape.buffers[zone + 1].delta[tape.plan.indices(ctx.late, token.device)] = rows.index_select(1, tape.ends)
        return token.clone()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        tape, zone = ctx.tape, ctx.zone
        rows = tape.buffers[zone].row_grads(ctx.rows)
        if tape.plan.copied and zone == 0:
            rows.index_add_(1, tape.ends, tape.buffers[1].row_grads(ctx.late))
        if ctx.weight is not None:
            rows = torch.bmm(rows, ctx.weight.to(rows.dtype).mT)
        return rows, None, grad, None, None, None
