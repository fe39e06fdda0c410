"""Gradients of all edges at once, from an ordinary pass.

Where every mask entry is 1, all slots of a layer read the same residual stream, so the masked pass is
the ordinary forward pass and nothing has to be mixed. What remains is its gradient::

    d metric / d m[w, r] = (clean_w - corrupt_w) · d metric / d reader_r

Each slot's own gradient with respect to what it reads is formed in the backward pass of `_Slots`, multiplied
with the deltas of all writers before it, and forgotten. This equals the gradient of `MaskedModel.logits`
at m = 1 (tests/test_attribution.py) for a fraction of its cost.

`Rules` change how gradients flow backwards through norms, attention and MLPs, for scorers that correct
known faults of the plain gradient.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from hap_engine.blocks import Block, attention_scores, read_norm, rotate
from hap_engine.errors import UnsupportedModelError
from hap_engine.patching import MaskedModel, Trace, set_slots
from hap_engine.plan import Positions


@dataclass(frozen=True)
class Rules:
    """How gradients flow backwards; the defaults are the gradient itself.

    Attributes:
        norm_share: share of the gradient through the norms' statistics; 0 takes them as constants.
        temperature: at which the backward pass of the softmax is taken.
        qk_share, v_share: factors of the gradients into attention scores and values. A product of two
            factors that both change is shared between them instead of counted twice.
        secant: an activation passes ``a(x) / x`` back instead of its slope, and a gated MLP's product is
            shared between gate and value.
    """

    norm_share: float = 1.0
    temperature: float = 1.0
    qk_share: float = 1.0
    v_share: float = 1.0
    secant: bool = False


class EdgeGradients:
    """Adds up ``d metric / d m`` of one batch over any number of passes.

    Attributes:
        total: ``[writer, reader]``, summed over prompts, positions and passes.
    """

    def __init__(
        self,
        masked: MaskedModel,
        clean_embed: Float[Tensor, "batch pos d_model"],
        corrupt: Trace,
        last: Int[Tensor, " batch"],
        rules: Rules = Rules(),
        *,
        magnitude: bool = False,
    ) -> None:
        """`magnitude` adds up absolute values of single positions, so that none cancel."""
        self.rules, self.magnitude = rules, magnitude
        self.masked, self.graph, self.last = masked, masked.graph, last
        self.clean_embed, self.corrupt = clean_embed, corrupt
        self.positions = Positions.of((clean_embed != corrupt.embed).any(-1), last)
        self.total = torch.zeros(self.graph.edge_mask.shape, device=last.device)
        shape = (len(self.positions.wide), len(self.graph.writers), clean_embed.shape[-1])
        self._delta = masked.workspace.take("delta", shape, masked.mix_dtype, clean_embed.device)
        self._filled = False
        self._carried: dict[int, Tensor] = {}

    def add(self, point: float, metric: Callable[[Tensor], Tensor]) -> None:
        """Add the gradient of ``metric(logits)`` where ``embed = corrupt + point (clean - corrupt)``."""
        if not self._filled and point != 1.0:
            with torch.no_grad():
                self._forward(1.0)
        with ExitStack() as stack:
            if self.rules.secant:
                for block in self.masked.blocks:
                    stack.enter_context(_secant(block))
            value = metric(self._forward(point))
        value.backward()

    def close(self) -> Float[Tensor, "writer reader"]:
        """Hand the deltas back and return `total`."""
        self.masked.workspace.give("delta", self._delta)
        return self.total

    # -- forward ---------------------------------------------------------------------------------

    def _forward(self, point: float) -> Float[Tensor, "batch vocab"]:
        """The ordinary pass; the first one is the clean one and fills the deltas."""
        masked, graph, corrupt, wide = self.masked, self.graph, self.corrupt, self.positions.wide
        fill, self._filled = not self._filled, True
        embed = corrupt.embed + point * (self.clean_embed - corrupt.embed)
        resid = embed.flatten(0, 1)[wide].requires_grad_(torch.is_grad_enabled())
        if fill:
            change = (self.clean_embed - corrupt.embed).flatten(0, 1)[wide]
            self._delta[:, 0] = masked.blocks[0].norm.centre(change)
        for index, block in enumerate(masked.blocks):
            kept = corrupt.layers[index]
            z = self._attention(index, block, resid)
            attn_out = torch.einsum("hte,hed->td", z, block.w_out) + block.b_out
            mlp_in = resid if graph.parallel else resid + attn_out
            read = self._watch(mlp_in, self._mlp_column(index))[None]
            mlp_out = block.mlp(self._normed(block.norm_mlp, read))[0]
            if fill:
                first = 1 + index * (graph.n_heads + 1)
                change = z.detach() - kept.z.flatten(1, 2)[:, wide]
                out = self._delta[:, first : first + graph.n_heads].transpose(0, 1)
                torch.bmm(change.to(out.dtype), block.w_write, out=out)
                change = mlp_out.detach() - kept.mlp_out.flatten(0, 1)[wide]
                self._delta[:, first + graph.n_heads] = block.norm.centre(change)
            resid = resid + attn_out + mlp_out
        final = self._watch(resid[self.positions.ends], len(graph.readers) - 1)
        return masked.logits_of(self._normed(masked.final_norm, final))

    def _normed(self, norm: Any, x: Tensor) -> Tensor:
        """A norm with the gradient that the rules want."""
        out = norm(x)
        if self.rules.norm_share == 1 or not x.requires_grad:
            return out
        kind, gain, _ = read_norm(norm, x)
        centred = kind.centre(x)
        frozen = centred / kind.sigma(centred).detach() * gain
        frozen = frozen + (out - frozen).detach()
        return frozen + self.rules.norm_share * (out - out.detach() - frozen + frozen.detach())

    def _attention(
        self, index: int, block: Block, resid: Float[Tensor, "token d_model"]
    ) -> Float[Tensor, "head token d_head"]:
        masked, kept, wide = self.masked, self.corrupt.layers[index], self.positions.wide
        live = _Slots.apply(resid, self, index, block)
        every = list(range(len(block.w_in)))
        slots = set_slots(kept.slots.flatten(1, 2), every, wide, live)
        q, k, v = masked.split(slots.unflatten(1, kept.slots.shape[1:3]))
        rotary = masked.rotary_tables(q.shape[2])
        k, v = rotate(k, rotary)[masked.kv_of_head], v[masked.kv_of_head]
        at = torch.arange(q.shape[2], device=q.device)[None]
        scores = attention_scores(rotate(q, rotary), k, block.scale, at)
        pattern = _Softmax.apply(scores, self.rules.temperature, self.rules.qk_share)
        z = pattern @ _shared(v, self.rules.v_share)
        return z.flatten(1, 2)[:, wide]

    def _mlp_column(self, index: int) -> int:
        return (index + 1) * (self.graph.n_heads + 2 * self.graph.n_kv_heads + 1) - 1

    def _watch(self, x: Tensor, column: int) -> Tensor:
        return _Watch.apply(x, self, column) if x.requires_grad else x

    # -- backward --------------------------------------------------------------------------------

    def contract(
        self, rows: slice, columns: slice, grad: Float[Tensor, "token reader d_model"]
    ) -> None:
        """Multiply readers' gradients with the deltas of some writers."""
        grad = grad.to(self._delta.dtype)
        last = len(grad) != len(self._delta)
        delta = self._delta[self.positions.ends] if last else self._delta
        products = torch.bmm(grad, delta[:, rows].mT)
        products = (products.abs() if self.magnitude else products).sum(0, dtype=torch.float32)
        self.total[rows, columns] += products.T

    def mlp_read(self, column: int, grad: Float[Tensor, "token d_model"]) -> None:
        """An MLP sees what its layer's slots see, and the layer's heads: contract with those, and keep
        the gradient for the product of the slots."""
        before = self.graph.upstream[column - 1]
        rows = slice(before, self.graph.upstream[column])
        self.contract(rows, slice(column, column + 1), grad[:, None])
        self._carried[column] = grad

    def slots_read(
        self, index: int, block: Block, grad: Tensor, centred: Tensor, scaled: Tensor
    ) -> Float[Tensor, "token d_model"]:
        """Contract the gradients of a layer's slots and of its MLP; return the sum over the slots."""
        mlp, count = self._mlp_column(index), len(block.w_in)
        workspace = self.masked.workspace
        low = centred.to(self._delta.dtype)
        out = workspace.take("slots", (len(low), count + 1, low.shape[-1]), low.dtype, low.device)
        own = out[:, :count]
        torch.bmm(grad.to(low.dtype), block.w_read.mT, out=own.transpose(0, 1))
        own.addcmul_(low[:, None], scaled.to(low.dtype))
        out[:, count] = self._carried.pop(mlp)
        rows = slice(0, self.graph.upstream[mlp - 1])
        self.contract(rows, slice(mlp - count, mlp + 1), out)
        total = own.sum(1, dtype=torch.float32)
        workspace.give("slots", out)
        return total


class _Slots(torch.autograd.Function):
    """All slots of a layer from the residual stream they share."""

    @staticmethod
    def forward(
        ctx: Any,
        resid: Float[Tensor, "token d_model"],
        owner: EdgeGradients,
        index: int,
        block: Block,
    ) -> Float[Tensor, "slot token d_head"]:
        centred = block.norm.centre(resid)
        inverse = 1 / block.norm.sigma(centred)
        product = torch.bmm(centred.expand(len(block.w_in), -1, -1), block.w_in)
        ctx.kept = owner, index, block, centred, inverse, product
        return product * inverse + block.b_in

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        owner, index, block, centred, inverse, product = ctx.kept
        scaled = -(grad * product).sum(-1, keepdim=True) * inverse**3 / centred.shape[-1]
        scaled = scaled * owner.rules.norm_share
        total = owner.slots_read(index, block, grad * inverse, centred, scaled.transpose(0, 1))
        return block.norm.centre(total), None, None, None


class _Watch(torch.autograd.Function):
    """The identity; its backward shows the gradient of what an MLP or the logits read."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, owner: EdgeGradients, column: int) -> Tensor:
        ctx.owner, ctx.column = owner, column
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        owner, column = ctx.owner, ctx.column
        if column == len(owner.graph.readers) - 1:
            owner.contract(slice(0, None), slice(column, column + 1), grad[:, None])
        else:
            owner.mlp_read(column, grad)
        return grad, None, None


class _Softmax(torch.autograd.Function):
    """Softmax whose backward pass is that of a softmax at another temperature, times a share."""

    @staticmethod
    def forward(ctx: Any, scores: Tensor, temperature: float, share: float) -> Tensor:
        ctx.share = share
        pattern = scores.softmax(-1)
        soft = pattern if temperature == 1 else (scores / temperature).softmax(-1)
        # Not as an attribute: the output would then hold its own graph, and neither would ever be freed.
        ctx.save_for_backward(soft)
        return pattern

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        (soft,) = ctx.saved_tensors
        return ctx.share * soft * (grad - (soft * grad).sum(-1, keepdim=True)), None, None


def _shared(x: Tensor, share: float) -> Tensor:
    """`x`, passing back a share of its gradient."""
    return x if share == 1 else share * x + ((1 - share) * x).detach()


@contextmanager
def _secant(block: Block) -> Iterator[None]:
    """While open, the block's MLP passes gradients back by the secant rule.

    Raises:
        UnsupportedModelError: where the MLP has no activation module to correct.
    """
    mlp: Any = block.mlp
    mlp = getattr(mlp, "mlp", mlp)  # the model's own or its copy in another dtype
    act = getattr(mlp, "act_fn", None) or getattr(mlp, "act", None)
    if not isinstance(act, torch.nn.Module):
        raise UnsupportedModelError(
            f"RelP needs an MLP with an activation module, and {type(mlp).__name__} has none. "
            "Choose another scorer."
        )
    up = getattr(mlp, "up_proj", None)

    def secant(module: Any, inputs: tuple[Tensor], out: Tensor) -> Tensor:
        (x,) = inputs
        small = x.abs() < 1e-4
        slope = torch.where(small, 0.5, (out / torch.where(small, 1.0, x))).detach()
        line = x * slope
        return _shared(line + (out - line).detach(), 1.0 if up is None else 0.5)

    hooks = [act.register_forward_hook(secant)]
    if up is not None:
        hooks.append(up.register_forward_hook(lambda module, inputs, out: _shared(out, 0.5)))
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
