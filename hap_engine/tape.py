"""The delta buffers of the masked pass and how autograd sees them.

``live_w - corrupt_w`` of every live writer is a row of a buffer ``[row, token, d_model]``, one buffer for the
tokens of each span (`plan.Plan`: wide, narrow). `Write` fills rows. What readers get is a matrix product:
their columns of the mask with the rows before them, all tokens side by side.

Done layer by layer, such a product has few columns and reads most of the buffer again. So a few layers
are *opened* together (`plan.LOOK_AHEAD`): one product mixes for all their readers the rows written so far,
and each layer then adds the few rows written since. `Mix` is that product, and a reader takes its
row when it is complete: `ReadSlots`, `Read`. The backward pass goes the same way back: a reader leaves its
gradient in its row, and the backward pass of `Mix` multiplies all of them at once.

Torch's kernels for Apple's GPUs set some limits, which cost nothing elsewhere: rows are set by indexing (`index_copy_`
is there since 2.8 only), no product is empty (in some versions it is whatever was in memory), and none is
written into a tensor with gaps.

All are autograd functions that save next to nothing. A scalar *token* runs through all of them in
order, so that autograd calls `Write.backward` of a row only after every `Mix` that used it, a `Mix.backward`
only after every reader has left its gradient, and `Start.backward` last of all.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from hap_engine.indices import Indices
from hap_engine.norms import Norm
from hap_engine.plan import Plan, Positions, look_ahead
from hap_engine.workspace import Workspace


class Readers:
    """What the readers of the open layers get, a row each; in the backward pass, its gradients.

    Attributes:
        first: place of the first of them among the readers of the span.
        rows: ``[reader, token, d_model]``.
        done: how many rows of the delta buffer each of them has mixed, by its place.
    """

    def __init__(self, first: int, rows: Tensor, use: Hashable) -> None:
        self.first, self.rows, self.use = first, rows, use
        self.done: dict[int, int] = {}

    def at(self, places: slice) -> Float[Tensor, "reader token d_model"]:
        """The rows of neighbouring readers."""
        return self.rows[places.start - self.first : places.stop - self.first]


class Span:
    """The delta buffer over the tokens of one span, with the gradients that the backward pass gathers.

    Attributes:
        delta: ``[row, token, d_model]``, filled in writer order.
        mask: ``[reader, row]``, the mask's entries for the span's readers, ascending.
        readers: those of the open layers.
    """

    def __init__(
        self, name: str, writers: np.ndarray, columns: list[int], tokens: int, mask: Tensor,
        d_model: int, workspace: Workspace, indices: Indices,
    ) -> None:  # fmt: skip
        self.name, self.workspace = name, workspace
        self.device, self.dtype = mask.device, mask.dtype
        self.tokens, self.d_model = tokens, d_model
        self.place = {column: place for place, column in enumerate(columns)}
        self.writers = indices(writers.tolist(), mask.device)
        self.columns = indices(columns, mask.device)
        self.mask = mask.T.index_select(0, self.columns).index_select(1, self.writers)
        self.delta = self._take("delta", len(writers))
        self.mask_grad = torch.zeros_like(self.mask)
        self.readers: Readers | None = None
        self._grad: Tensor | None = None
        self._set = 0

    def _take(self, use: Hashable, rows: int) -> Tensor:
        shape = (rows, self.tokens, self.d_model)
        return self.workspace.take((self.name, use), shape, self.dtype, self.device)

    def open(self, columns: list[int], use: Hashable) -> None:
        """Make room for what these readers will get."""
        self.readers = Readers(self.place[columns[0]], self._take(use, len(columns)), use)

    def close(self, readers: Readers) -> None:
        self.workspace.give((self.name, readers.use), readers.rows)

    @property
    def grad(self) -> Float[Tensor, "row token d_model"]:
        """Gradients of the rows; those that no reader has left any for are 0."""
        if self._grad is None:
            self._grad = self._take("grad", len(self.writers)).zero_()
        return self._grad

    def places(self, columns: list[int]) -> slice:
        """Where neighbouring readers are."""
        first = self.place[columns[0]]
        return slice(first, first + len(columns))

    def mix(self, rows: slice, readers: slice, out: Tensor, *, add: bool) -> None:
        """Multiply some rows with their mask, into `out` or onto it."""
        if rows.start == rows.stop:
            out.zero_()
            return
        out.flatten(1).addmm_(self.mask[readers, rows], self.delta[rows].flatten(1), beta=int(add))

    def unmix(self, rows: slice, readers: slice, grad: Tensor) -> None:
        """The backward pass of `mix`: gradients of the mask's entries and of the rows.

        A reader mixes a row once, so its entry is set. The readers come from last to first, so the rows that have a
        gradient already are those from some row on: onto these it is added, and the others need not be 0 before.
        """
        if rows.start == rows.stop:
            return
        grad = grad.flatten(1)
        self.mask_grad[readers, rows] = grad @ self.delta[rows].flatten(1).T
        if self._grad is None:
            self._grad, self._set = self._take("grad", len(self.writers)), rows.stop
            self._grad[rows.stop :].zero_()
        middle = max(rows.start, min(rows.stop, self._set))
        for part, beta in ((slice(rows.start, middle), 0), (slice(middle, rows.stop), 1)):
            if part.start < part.stop:
                self._grad[part].flatten(1).addmm_(self.mask[readers, part].T, grad, beta=beta)
        self._set = min(self._set, rows.start)

    def release(self) -> None:
        self.workspace.give((self.name, "delta"), self.delta)
        if self._grad is not None:
            self.workspace.give((self.name, "grad"), self._grad)


class Tape:
    """The buffers of one masked pass."""

    def __init__(
        self,
        plan: Plan,
        positions: Positions,
        mask: Tensor,
        d_model: int,
        dtype: torch.dtype,
        workspace: Workspace,
    ) -> None:
        self.plan, self.ends, self.dtype = plan, positions.ends, dtype
        self.training = mask.requires_grad and torch.is_grad_enabled()
        values = mask.detach().to(dtype)
        self.spans = {
            name: Span(
                name,
                plan.writers[name],
                plan.readers[name],
                len(getattr(positions, name)),
                values,
                d_model,
                workspace,
                plan.indices,
            )
            for name in ("wide", "narrow")
        }

    def open(self, token: Tensor, layer: int) -> Tensor:
        """Mix what is written so far for the readers of this layer and the next few, if it is their turn."""
        if layer % look_ahead(self.plan.graph):
            return token
        for name, span in self.spans.items():
            if span.readers is not None and not self.training:
                span.close(span.readers)
            span.readers, columns = None, self.plan.columns(name, layer)
            if columns:
                span.open(columns, layer if self.training else "readers")
                token = self.mix(token, name, columns, self.plan.column(layer, 0))
        return token

    def mix(self, token: Tensor, span_name: str, columns: list[int], before: int) -> Tensor:
        """Add what is written before reader `before` for neighbouring readers that lack the same of it."""
        span = self.spans[span_name]
        readers, places = span.readers, span.places(columns)
        assert readers is not None
        first = places.start not in readers.done
        rows = slice(readers.done.get(places.start, 0), self.plan.seen(span_name, before))
        if rows.start == rows.stop and not first:
            return token
        readers.done.update(dict.fromkeys(range(places.start, places.stop), rows.stop))
        return Mix.apply(token, span, readers, places, rows, first)

    def rows(self, span_name: str, columns: list[int]) -> Float[Tensor, "reader token d_model"]:
        """What neighbouring readers get, once all of it is mixed."""
        span = self.spans[span_name]
        assert span.readers is not None
        return span.readers.at(span.places(columns))

    def release(self) -> None:
        for span in self.spans.values():
            if span.readers is not None and not self.training:
                span.close(span.readers)
            span.release()


class Start(torch.autograd.Function):
    """Gives the first token; its backward runs last and hands over the mask's gradient."""

    @staticmethod
    def forward(ctx: Any, mask: Tensor, tape: Tape) -> Tensor:
        ctx.tape, ctx.like = tape, mask
        return mask.new_zeros((), dtype=torch.float32)

    @staticmethod
    def backward(ctx: Any, _: Tensor) -> tuple[Tensor, None]:
        grad = torch.zeros_like(ctx.like, dtype=torch.float32)
        for span in ctx.tape.spans.values():
            grad[span.writers[:, None], span.columns] = span.mask_grad.T.float()
        ctx.tape.release()
        return grad.to(ctx.like.dtype), None


class Mix(torch.autograd.Function):
    """Mix some rows for some readers; the backward pass of the first product hands their memory back."""

    @staticmethod
    def forward(
        ctx: Any, token: Tensor, span: Span, readers: Readers, places: slice, rows: slice,
        first: bool,
    ) -> Tensor:  # fmt: skip
        ctx.kept = span, readers, places, rows, first
        span.mix(rows, places, readers.at(places), add=not first)
        return token.clone()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        span, readers, places, rows, first = ctx.kept
        span.unmix(rows, places, readers.at(places))
        if first:
            span.close(readers)
        return (grad, *[None] * 5)


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
        product = corrupt.add_(torch.bmm(own, weight))
        own.add_(centred.to(own.dtype))  # in place: from here on x itself
        length = torch.linalg.vector_norm(own.float(), dim=-1, keepdim=True)
        inverse = (length.square() / centred.shape[-1] + norm.eps).rsqrt()
        ctx.kept = own, product, inverse, weight
        return product * inverse + bias

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        own, product, inverse, weight = ctx.kept
        scaled = -(grad * product).sum(-1, keepdim=True) * inverse**3 / own.shape[-1]
        own.mul_(scaled.to(own.dtype)).baddbmm_((grad * inverse).to(own.dtype), weight.mT)
        return (grad.new_zeros(()), *[None] * 6)


class Read(torch.autograd.Function):
    """What one reader (an MLP, the logits) reads: its mix on top of the corrupt residual stream."""

    @staticmethod
    def forward(
        ctx: Any,
        token: Tensor,
        row: Float[Tensor, "token d_model"],
        corrupt: Float[Tensor, "token d_model"],
    ) -> Float[Tensor, "token d_model"]:
        ctx.row = row
        return corrupt + row

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        ctx.row.copy_(grad)
        return grad.new_zeros(()), None, None


class Write(torch.autograd.Function):
    """Put rows into a span's buffer: `value` itself, or ``value @ weight`` for heads.

    A wide row is copied to the narrow buffer as well: readers at the scored position look there.
    """

    @staticmethod
    def forward(
        ctx: Any,
        value: Float[Tensor, "row token d_value"],
        weight: Float[Tensor, "row d_value d_model"] | None,
        token: Tensor,
        tape: Tape,
        span_name: str,
        writers: list[int],
    ) -> Tensor:
        ctx.tape, ctx.span_name, ctx.weight = tape, span_name, weight
        narrow = tape.spans["narrow"]
        ctx.narrow = tape.plan.indices(tape.plan.rows("narrow", writers), token.device)
        if span_name == "narrow":
            rows = value if weight is None else torch.bmm(value, weight)
            narrow.delta[ctx.narrow] = rows
            return token.clone()
        start = tape.plan.rows("wide", writers)[0]
        ctx.rows = slice(start, start + len(writers))
        rows = tape.spans["wide"].delta[ctx.rows]
        if weight is None:
            rows.copy_(value)
        else:
            torch.bmm(value, weight, out=rows)
        narrow.delta[ctx.narrow] = rows.index_select(1, tape.ends)
        return token.clone()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        rows = ctx.tape.spans["narrow"].grad.index_select(0, ctx.narrow)
        if ctx.span_name == "wide":
            late, rows = rows, ctx.tape.spans["wide"].grad[ctx.rows]
            rows.index_add_(1, ctx.tape.ends, late)
        if ctx.weight is not None:
            rows = torch.bmm(rows, ctx.weight.mT)
        return rows, None, grad, None, None, None
