"""How autograd sees the delta buffers of the masked pass (`hap_engine.spans`).

`Write` fills rows of a span's buffer, `Mix` has the span mix for readers, and a reader takes its row when it is
complete: `ReadSlots`, `Read`. The backward pass goes the same way back: a reader leaves its gradient in its row.

All are autograd functions that save next to nothing. A scalar *token* runs through all of them in
order, so that autograd calls `Write.backward` of a row only after every `Mix` that used it, a `Mix.backward`
only after every reader has left its gradient, and `Start.backward` last of all.
"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from hap_engine.norms import Norm
from hap_engine.plan import Plan, Positions, look_ahead
from hap_engine.spans import Span, span_of
from hap_engine.workspace import Workspace


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
        training = mask.requires_grad and torch.is_grad_enabled()
        values = mask.detach().to(dtype)
        self.spans = {}
        for name in ("wide", "narrow"):
            tokens = len(getattr(positions, name))
            self.spans[name] = span_of(
                name, plan, tokens, values, d_model, workspace, training=training
            )

    def open(self, token: Tensor, layer: int) -> Tensor:
        """Mix what is written so far for the readers of this layer and the next few, if it is their turn."""
        if layer % look_ahead(self.plan.graph):
            return token
        for name, span in self.spans.items():
            if columns := self.plan.columns(name, layer):
                span.open(span.places(columns))
                token = self.mix(token, name, columns, self.plan.column(layer, 0))
        return token

    def mix(self, token: Tensor, span_name: str, columns: list[int], before: int) -> Tensor:
        """Add what is written before reader `before` for neighbouring readers that lack the same of it."""
        span = self.spans[span_name]
        due = span.due(span.places(columns), self.plan.seen(span_name, before))
        return token if due is None else Mix.apply(token, span, *due)

    def rows(self, span_name: str, columns: list[int]) -> Float[Tensor, "reader token d_model"]:
        """What neighbouring readers get, once all of it is mixed."""
        span = self.spans[span_name]
        return span.at(span.places(columns))

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
            grad[span.writers[:, None], span.columns] = span.mask_grad().T.float()
        ctx.tape.release()
        return grad.to(ctx.like.dtype), None


class Mix(torch.autograd.Function):
    """Have a span mix some rows for some readers."""

    @staticmethod
    def forward(ctx: Any, token: Tensor, span: Span, places: slice, rows: slice) -> Tensor:
        ctx.kept = span, places, rows
        span.mix(places, rows)
        return token.clone()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        span, places, rows = ctx.kept
        span.unmix(places, rows)
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
        narrow, ctx.late = tape.spans["narrow"], tape.plan.rows("narrow", writers)
        late = tape.plan.indices(ctx.late, token.device)
        if span_name == "narrow":
            rows = value if weight is None else torch.bmm(value, weight)
            narrow.delta[late] = rows
            return token.clone()
        ctx.rows = tape.plan.rows("wide", writers)
        rows = tape.plan.indices.rows(tape.spans["wide"].delta, ctx.rows)
        if weight is None:
            rows.copy_(value)
        else:
            torch.bmm(value, weight, out=rows)
        narrow.delta[late] = rows.index_select(1, tape.ends)
        return token.clone()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        rows = ctx.tape.spans["narrow"].row_grads(ctx.late)
        if ctx.span_name == "wide":
            late, rows = rows, ctx.tape.spans["wide"].row_grads(ctx.rows)
            rows.index_add_(1, ctx.tape.ends, late)
        if ctx.weight is not None:
            rows = torch.bmm(rows, ctx.weight.mT)
        return rows, None, grad, None, None, None
