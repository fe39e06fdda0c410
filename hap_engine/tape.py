"""The delta buffer of the masked pass and how autograd sees it.

``live_w - corrupt_w`` of every live writer is one row of a buffer. `Write` fills rows, `Read` mixes a
prefix of them for a group of readers, and both are small autograd functions that save nothing but
the mask: their backward passes read the buffer again and gather the rows' gradients in a second one.
A scalar *token* runs through all of them in order, so that autograd calls a row's `Write.backward`
only after every `Read.backward` that used the row, and `Start.backward` last of all.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from hap_engine.circuit import Circuit
from hap_engine.graph import Graph


class Plan:
    """Which rows and columns of a mask are live, as the masked pass needs them."""

    def __init__(self, graph: Graph, mask: Tensor) -> None:
        nonzero: Bool[np.ndarray, "writer reader"] = (mask.detach() != 0).cpu().numpy()
        live = Circuit(graph, nonzero & graph.edge_mask).live.kept
        writers = np.flatnonzero(live.any(axis=1))
        self.rows = writers
        self.row = {int(writer): row for row, writer in enumerate(writers)}
        self.live_columns = np.asarray(live.any(axis=0))
        self.writes_input = 0 in self.row
        # rows visible to each reader: live writers that come before it
        self.n_seen = np.searchsorted(writers, graph.upstream)
        width = graph.n_heads + 1
        self.heads = [
            [h for h in range(graph.n_heads) if 1 + layer * width + h in self.row]
            for layer in range(graph.n_layers)
        ]
        slots = graph.n_heads + 2 * graph.n_kv_heads + 1
        self.first_reader = [layer * slots for layer in range(graph.n_layers)]

    def columns(self, wanted: Iterable[int]) -> list[int]:
        """Those of the reader indices `wanted` that have a live edge."""
        return [column for column in wanted if self.live_columns[column]]


class Tape:
    """The delta buffer of one masked pass, with the gradients that the backward pass gathers.

    Attributes:
        delta: ``[live writer, batch * pos * d_model]``, filled in writer order.
        mask: the mask's live rows, all columns.
    """

    def begin(
        self, plan: Plan, mask: Tensor, like: Tensor, contract: Tensor | None, dtype: torch.dtype
    ) -> None:
        self.plan, self.shape, self.outer_dtype = plan, like.shape, like.dtype
        self.rows = torch.from_numpy(plan.rows).to(mask.device)
        self.mask = mask.detach().to(dtype)[self.rows]
        self.delta = like.new_empty(len(self.rows), like.numel(), dtype=dtype)
        self.contract = self.delta if contract is None else contract.flatten(1)[self.rows]
        self.delta_grad: Tensor | None = None
        self.mask_grad = torch.zeros_like(self.mask, dtype=torch.float32)

    def view(self) -> Float[Tensor, "writer batch pos d_model"]:
        return self.delta.view(-1, *self.shape)


class Start(torch.autograd.Function):
    """Gives the first token; its backward runs last and hands over the mask's gradient."""

    @staticmethod
    def forward(ctx: Any, mask: Tensor, tape: Tape) -> Tensor:
        ctx.tape, ctx.like = tape, mask
        return mask.new_zeros(())

    @staticmethod
    def backward(ctx: Any, _: Tensor) -> tuple[Tensor, None]:
        grad = torch.zeros_like(ctx.like, dtype=torch.float32)
        grad[ctx.tape.rows] = ctx.tape.mask_grad
        return grad.to(ctx.like.dtype), None


class Read(torch.autograd.Function):
    """Mix the rows a group of readers sees: ``mask[:n, readers]^T @ delta[:n]``."""

    @staticmethod
    def forward(
        ctx: Any, token: Tensor, tape: Tape, columns: list[int]
    ) -> Float[Tensor, "reader batch pos d_model"]:
        ctx.tape, ctx.n = tape, int(tape.plan.n_seen[columns[0]])
        ctx.columns = torch.tensor(columns, device=token.device)
        ctx.weights = tape.mask[: ctx.n, ctx.columns]
        mixed = ctx.weights.T @ tape.delta[: ctx.n]
        return mixed.to(tape.outer_dtype).view(len(columns), *tape.shape)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        tape, flat = ctx.tape, grad.flatten(1).to(ctx.weights.dtype)
        if tape.delta_grad is None:
            tape.delta_grad = torch.zeros_like(tape.delta)
        tape.delta_grad[: ctx.n].addmm_(ctx.weights, flat)
        tape.mask_grad[: ctx.n, ctx.columns] = (tape.contract[: ctx.n] @ flat.T).float()
        return grad.new_zeros(()), None, None


class Write(torch.autograd.Function):
    """Put rows into the buffer: `value` itself, or ``value @ weight`` for heads."""

    @staticmethod
    def forward(
        ctx: Any, value: Tensor, weight: Tensor | None, token: Tensor, tape: Tape, start: int
    ) -> Tensor:
        ctx.tape, ctx.weight, ctx.shape = tape, weight, value.shape
        ctx.rows = slice(start, start + len(value))
        rows = tape.delta[ctx.rows]
        if weight is None:
            rows.copy_(value.flatten(1))
        else:
            rows.view(len(value), -1, weight.shape[-1]).copy_(
                torch.bmm(value.flatten(1, 2), weight)
            )
        return token.new_zeros(())

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, Tensor, None, None]:
        rows = ctx.tape.delta_grad[ctx.rows].to(ctx.tape.outer_dtype)
        if ctx.weight is not None:
            flat = rows.view(len(rows), -1, ctx.weight.shape[-1])
            rows = torch.bmm(flat, ctx.weight.mT)
        return rows.view(ctx.shape), None, grad, None, None
