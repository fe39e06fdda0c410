"""The delta buffers of the masked pass and how autograd sees them.

``live_w - corrupt_w`` of every live writer is a row of a buffer ``[token, row, d_model]``, one buffer for the
tokens of each span (`plan.Plan`: wide, narrow). `Write` fills rows; `ReadSlots` and `Read` mix a prefix of
them, which is one small matrix product per token and cheap to cache. All are autograd functions
that save next to nothing: their backward passes read the buffer again and gather the rows' gradients
in a second one. A scalar *token* runs through all of them in order, so that autograd calls a row's
`Write.backward` only after every reader that used the row, and `Start.backward` last of all.

A layer's MLP sees the same writers as its slots and then the layer's own heads. The first part is mixed
in the same product as the slots and *carried* to the MLP; its gradient is carried back.
"""

from __future__ import annotations

import math
from collections.abc import Hashable
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from hap_engine.blocks import Norm
from hap_engine.plan import Plan, Positions


class Workspace:
    """Large scratch tensors, kept from pass to pass under the name of their use.

    Measured: touching fresh memory costs as much as the arithmetic on it. One tensor is kept for each
    use, so no more memory is held than one pass needs.
    """

    ROOM = 1.125  # batches differ a little in length: a tensor that had to grow gets this much room

    def __init__(self) -> None:
        self._free: dict[Hashable, Tensor] = {}

    def take(
        self, use: Hashable, shape: tuple[int, ...], dtype: torch.dtype, device: torch.device
    ) -> Tensor:
        """A tensor of arbitrary content."""
        count, kept = math.prod(shape), self._free.pop(use, None)
        if kept is None or kept.dtype != dtype:
            kept = torch.empty(count, dtype=dtype, device=device)
        elif kept.numel() < count:
            del kept  # before the larger one is made
            kept = torch.empty(int(count * self.ROOM), dtype=dtype, device=device)
        return kept[:count].view(shape)

    def clear(self) -> None:
        """Let go of all of them: what comes next has other sizes."""
        self._free.clear()

    def give(self, use: Hashable, tensor: Tensor) -> None:
        """Hand back what `take` gave for that use."""
        if tensor._base is not None:
            self._free[use] = tensor._base


class Span:
    """The delta buffer over the tokens of one span, with the gradients that the backward pass gathers.

    Attributes:
        delta: ``[token, row, d_model]``, filled in writer order.
        mask: the mask's rows for these writers, all columns.
    """

    def __init__(
        self, name: str, writers: np.ndarray, tokens: int, mask: Tensor, d_model: int,
        workspace: Workspace,
    ) -> None:  # fmt: skip
        self.name, self.workspace, self.device, self.dtype = (
            name,
            workspace,
            mask.device,
            mask.dtype,
        )
        self.writers = torch.from_numpy(writers).to(mask.device)
        self.mask = mask[self.writers]
        self.tokens, self.d_model = tokens, d_model
        self.delta = self.scratch("delta", len(writers))
        self.mask_grad = torch.zeros_like(self.mask, dtype=torch.float32)
        self._grad: Tensor | None = None

    def scratch(self, use: Hashable, rows: int) -> Tensor:
        shape = (self.tokens, rows, self.d_model)
        return self.workspace.take((self.name, use), shape, self.dtype, self.device)

    def give(self, use: Hashable, tensor: Tensor) -> None:
        self.workspace.give((self.name, use), tensor)

    @property
    def grad(self) -> Float[Tensor, "token row d_model"]:
        if self._grad is None:
            self._grad = self.scratch("grad", len(self.writers)).zero_()
        return self._grad

    def weights(self, rows: slice, columns: Tensor) -> Float[Tensor, "token reader row"]:
        return self.mask[rows, columns].T.expand(self.tokens, -1, -1)

    def mix(
        self, use: Hashable, rows: slice, columns: Tensor
    ) -> Float[Tensor, "token reader d_model"]:
        """What readers get from some rows, in scratch memory to hand back."""
        out = self.scratch(use, len(columns))
        return torch.bmm(self.weights(rows, columns), self.delta[:, rows], out=out)

    def unmix(self, rows: slice, columns: Tensor, grad: Tensor) -> None:
        """The backward pass of `mix`: gradients of the mask's entries and of the rows."""
        products = torch.bmm(grad, self.delta[:, rows].mT).sum(0, dtype=torch.float32)
        self.mask_grad[rows, columns] += products.T
        self.grad[:, rows].baddbmm_(self.weights(rows, columns).mT, grad)

    def release(self) -> None:
        self.give("delta", self.delta)
        if self._grad is not None:
            self.give("grad", self._grad)


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
        values = mask.detach().to(dtype)
        self.spans = {
            name: Span(
                name, plan.writers[name], len(getattr(positions, name)), values, d_model, workspace
            )
            for name in ("wide", "narrow")
        }
        self.carried: dict[int, Tensor] = {}  # by MLP column: what the slots' product mixed for it
        self.carried_grad: dict[int, Tensor] = {}

    def release(self) -> None:
        for span in self.spans.values():
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
            grad[span.writers] += span.mask_grad
        ctx.tape.release()
        return grad.to(ctx.like.dtype), None


class ReadSlots(torch.autograd.Function):
    """Values of some slots of a layer, each reading its own mix.

    A slot reads ``x = c + mix`` with c the corrupt residual stream, and its value is ``x @ w / sigma(x) + b``.
    By linearity ``x @ w`` is the corrupt product plus ``mix @ w``, and ``|x|^2`` follows from ``|c|^2``,
    ``c · mix`` and ``|mix|^2``: x itself is never formed, and low precision touches only the mix.
    """

    @staticmethod
    def forward(
        ctx: Any,
        token: Tensor,
        tape: Tape,
        span_name: str,
        columns: list[int],
        carry: int | None,
        centred: Float[Tensor, "token d_model"],
        corrupt: Float[Tensor, "slot token d_head"],
        weight: Float[Tensor, "slot d_model d_head"],
        bias: Float[Tensor, "slot 1 d_head"],
        norm: Norm,
    ) -> Float[Tensor, "slot token d_head"]:
        """`corrupt` is the product of `centred` with the weights, not divided by sigma; `carry` names
        the MLP's column if its part is to be mixed as well."""
        span = tape.spans[span_name]
        rows = slice(0, tape.plan.seen(span_name, columns[0]))
        every = torch.tensor(columns + ([] if carry is None else [carry]), device=token.device)
        mixed = span.mix(columns[0], rows, every)
        own = mixed[:, : len(columns)]
        if carry is not None:
            tape.carried[carry] = mixed[:, -1].float()
        low = centred.to(mixed.dtype)
        square = centred.square().sum(-1)[:, None]
        square = square + 2 * torch.bmm(own, low[..., None])[..., 0].float()
        square = square + torch.linalg.vector_norm(own, dim=-1, dtype=torch.float32).square()
        inverse = (square / centred.shape[-1] + norm.eps).rsqrt().T[..., None]
        product = corrupt + torch.bmm(own.transpose(0, 1), weight).float()
        if ctx.needs_input_grad[0]:
            ctx.tape, ctx.span, ctx.rows, ctx.every, ctx.carry = tape, span, rows, every, carry
            ctx.kept = mixed, low, product, inverse, weight, columns[0]
        else:
            span.give(columns[0], mixed)
        return product * inverse + bias

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        mixed, low, product, inverse, weight, use = ctx.kept
        count, d_model = len(weight), low.shape[-1]
        scaled = -(grad * product).sum(-1, keepdim=True) * inverse**3 / d_model
        scaled = scaled.transpose(0, 1).to(mixed.dtype)
        out = ctx.span.scratch("out", mixed.shape[1])
        own = out[:, :count]
        torch.bmm((grad * inverse).to(mixed.dtype), weight.mT, out=own.transpose(0, 1))
        own.addcmul_(mixed[:, :count], scaled).addcmul_(low[:, None], scaled)
        if ctx.carry is not None:
            out[:, count] = ctx.tape.carried_grad.pop(ctx.carry)
        ctx.span.unmix(ctx.rows, ctx.every, out)
        ctx.span.give("out", out)
        ctx.span.give(use, mixed)
        return (grad.new_zeros(()), *[None] * 9)


class Read(torch.autograd.Function):
    """What one reader (an MLP, the logits) gets, without its corrupt part."""

    @staticmethod
    def forward(
        ctx: Any, token: Tensor, tape: Tape, span_name: str, column: int
    ) -> Float[Tensor, "token d_model"]:
        span, carried = tape.spans[span_name], tape.carried.pop(column, None)
        done = 0 if carried is None else tape.plan.seen(span_name, column - 1)
        ctx.tape, ctx.span, ctx.column, ctx.done = tape, span, column, done
        ctx.rows = slice(done, tape.plan.seen(span_name, column))
        ctx.columns = torch.tensor([column], device=token.device)
        if carried is not None and ctx.rows.start == ctx.rows.stop:
            return carried
        mixed = span.mix("one", ctx.rows, ctx.columns)
        out = mixed[:, 0].float() + (0 if carried is None else carried)
        span.give("one", mixed)
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        low = grad.to(ctx.span.dtype)
        if ctx.rows.start != ctx.rows.stop:
            ctx.span.unmix(ctx.rows, ctx.columns, low[:, None])
        if ctx.done:
            ctx.tape.carried_grad[ctx.column] = low
        return grad.new_zeros(()), None, None, None


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
        ctx.narrow = torch.tensor(tape.plan.rows("narrow", writers), device=token.device)
        if span_name == "narrow":
            made = value if weight is None else torch.bmm(value, weight)
            narrow.delta[:, ctx.narrow] = made.transpose(0, 1)
            return token.clone()
        start = tape.plan.rows("wide", writers)[0]
        ctx.rows = slice(start, start + len(writers))
        rows = tape.spans["wide"].delta[:, ctx.rows]
        if weight is None:
            rows.copy_(value.transpose(0, 1))
        else:
            torch.bmm(value, weight, out=rows.transpose(0, 1))
        narrow.delta[:, ctx.narrow] = rows[tape.ends]
        return token.clone()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        rows = ctx.tape.spans["narrow"].grad[:, ctx.narrow]
        if ctx.span_name == "wide":
            late, rows = rows, ctx.tape.spans["wide"].grad[:, ctx.rows]
            rows.index_add_(0, ctx.tape.ends, late)
        rows = rows.transpose(0, 1)
        if ctx.weight is not None:
            rows = torch.bmm(rows, ctx.weight.mT)
        return rows, None, grad, None, None, None
