"""Gradients of all edges at once, from an ordinary pass.

Where every mask entry is 1, all slots of a layer read the same residual stream, so the masked pass is
the ordinary forward pass and nothing has to be mixed. What remains is its gradient::

    d metric / d m[w, r] = (clean_w - corrupt_w) · d metric / d reader_r

Each slot's own gradient with respect to what it reads is formed in the backward pass of `_Slots`, multiplied
with the deltas of all writers before it, and forgotten. As in the masked pass (`delta_buffer.py`), the readers
of a few layers are multiplied together, and each card on which layers are has the deltas of all writers before their
end. This equals the gradient of `MaskedModel.logits`
at m = 1 (tests/attribution/test_scorers.py) for a fraction of its cost.

In a positional graph the products are taken span by span: an edge's share of a score is that of the tokens at which it
acts.

`Rules` (`gradient_rules.py`) change how gradients flow backwards.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from hap_engine.anatomy.attention import attention_scores, with_sinks
from hap_engine.anatomy.blocks import Block
from hap_engine.anatomy.replay import Handed, Replayed
from hap_engine.attribution.gradient_rules import PLAIN, Rules, Softmax, normed, secant_rule, shared
from hap_engine.errors import UnsupportedModelError
from hap_engine.graph.graph import WHOLE
from hap_engine.machine.workload import look_ahead
from hap_engine.masked.masked_pass import MaskedModel, put_rows
from hap_engine.masked.plan import Positions, Stretch
from hap_engine.transformer.plain_pass import Trace
from hap_engine.words import say


class EdgeGradients:
    """Adds up ``d metric / d m`` of one batch over any number of passes."""

    def __init__(
        self,
        masked: MaskedModel,
        clean_embed: Float[Tensor, "batch pos d_model"],
        corrupt: Trace,
        last: Int[Tensor, " batch"],
        rules: Rules = PLAIN,
        *,
        spans: Int[Tensor, "batch pos"] | None = None,
        magnitude: bool = False,
    ) -> None:
        """`magnitude` adds up absolute values of single positions, so that none cancel."""
        self.rules, self.magnitude = rules, magnitude
        self.spans = masked.spans_asked(spans)
        self.masked, self.graph, self.last = masked, replace(masked.graph, spans=WHOLE), last
        self.clean_embed, self.corrupt = clean_embed, corrupt
        self.positions = Positions.of((clean_embed != corrupt.embed).any(-1), last)
        self._cards = [_Card(self, stretch) for stretch in masked.stretches]
        self._card_of = [card for card in self._cards for _ in range(card.first, card.end)]
        self._together, self._readers_of_layer = look_ahead(self.graph.slots), self.graph.slots + 1
        self._filled = False
        _check_rules(masked, rules)

    def add(self, point: float, metric: Callable[[Tensor], Tensor]) -> None:
        """Add the gradient of ``metric(logits)`` where ``embed = corrupt + point (clean - corrupt)``."""
        if not self._filled and point != 1.0:
            with torch.no_grad():
                self._forward(1.0)
        with ExitStack() as stack:
            if self.rules.secant:
                for block in self.masked.blocks:
                    stack.enter_context(secant_rule(block))
            value = metric(self._forward(point))
        value.backward()

    def close(self) -> Float[Tensor, "writer reader"]:
        """Hand the buffers back and return the sum over prompts, positions and passes."""
        for card in self._cards:
            self.masked.workspace.give("delta", card.delta)
            self.masked.workspace.give("readers", card.grads)
        total, *more = (card.total.to(self.last.device) for card in self._cards)
        for other in more:
            total += other
        graph = self.masked.graph
        if not graph.positional:
            return total[0]
        columns = [self.graph.reader_index[reader.place] for reader in graph.readers]
        found = total[torch.from_numpy(graph.reader_spans), :, torch.tensor(columns)].T
        return found * torch.from_numpy(graph.edge_mask).to(found.device)

    # -- forward ---------------------------------------------------------------------------------

    def _forward(self, point: float) -> Float[Tensor, "batch vocab"]:
        """The ordinary pass; the first one is the clean one and fills the deltas."""
        masked, graph, corrupt, wide = self.masked, self.graph, self.corrupt, self.positions.tokens[0]
        fill, self._filled = not self._filled, True
        embed = corrupt.embed + point * (self.clean_embed - corrupt.embed)
        resid = embed.flatten(0, 1)[wide].requires_grad_(torch.is_grad_enabled())
        if fill:
            change = (self.clean_embed - corrupt.embed).flatten(0, 1)[wide]
            self._cards[0].delta[0] = masked.without_mean(change).to(self._cards[0].device)
        apply = partial(normed, rules=self.rules)
        for index, block in enumerate(masked.blocks):
            card = self._card_of[index]
            if fill and index == card.first:
                card.receive(self._cards)
            resid = resid.to(card.device)
            z = self._attention(index, block, resid)
            total = block.summed(z)
            attn_out = total if block.post is None else apply(block.post, total)
            read = self._watch(resid if graph.parallel else resid + attn_out, index)[None]
            share = self.rules.gate_share if block.mlp.gated else 1.0
            mlp_out = shared(block.mlp(read, apply).squeeze(0), share)
            if fill:
                self._fill(index, block, card, z.detach(), total.detach(), mlp_out.detach())
            resid = resid + attn_out + mlp_out
        final = self._watch(resid[self._cards[-1].positions.ends], None)
        return masked.unembed(final.to(masked.device), apply)

    def _fill(self, index: int, block: Block, card: _Card, z: Tensor, total: Tensor, mlp_out: Tensor) -> None:
        """Keep by how much what a layer writes differs from the corrupt run."""
        graph, rows, delta = self.graph, card.rows, card.delta
        shrink = rows.shrink(index)
        change = z - rows.z(index, card.heads)
        if block.post is not None:
            change = change * shrink
        first = graph.head_row(index)
        out = delta[first : first + graph.n_heads]
        torch.bmm(change.to(out.dtype), block.w_write.to(out.dtype), out=out)
        norm = graph.norm_row(index)
        if norm is not None:
            delta[norm] = self.masked.without_mean(block.rescaled(total, shrink))
        delta[graph.mlp_row(index)] = self.masked.without_mean(mlp_out - rows.mlp(index)[1])

    def _attention(
        self, index: int, block: Block, resid: Float[Tensor, "token d_model"]
    ) -> Float[Tensor, "head token d_head"]:
        masked, wide, shape = self.masked, self._card_of[index].positions.tokens[0], self.clean_embed.shape[:2]
        live = _Slots.apply(resid, self, index, block)
        slots = self.corrupt.whole(self.corrupt.layers[index].slots).flatten(1, 2)
        every = torch.arange(len(slots), device=wide.device)
        slots = put_rows(slots, every, wide, live).unflatten(1, shape)
        core, frame = block.core, masked.frame(index, *shape)
        if isinstance(core, Replayed):
            z: Tensor = core.z(slots, frame)
        else:
            z = self._by_rules(core.handed(slots, frame, partial(normed, rules=self.rules)))
        return z.flatten(1, 2).index_select(1, wide)

    def _by_rules(self, handed: Handed) -> Float[Tensor, "head batch pos d_head"]:
        """What heads read, with the gradient that the rules want."""
        q, k, v, own, bias, scoring = handed
        k, v = k.index_select(0, own), v.index_select(0, own)
        at = torch.arange(q.shape[2], device=q.device)[None]
        scores = attention_scores(q, k, scoring, at, bias)
        if scoring.sinks is not None:
            scores = with_sinks(scores, scoring.sinks)
        pattern = Softmax.apply(scores, self.rules.temperature, self.rules.qk_share)[..., : q.shape[2]]
        return pattern @ shared(v, self.rules.v_share)

    def _watch(self, x: Tensor, index: int | None) -> Tensor:
        return _Watch.apply(x, self, index) if x.requires_grad else x

    # -- backward --------------------------------------------------------------------------------

    def contract(self, card: _Card, rows: slice, columns: slice, grad: Float[Tensor, "reader token d_model"]) -> None:
        """Multiply the gradients of a card's readers with the deltas of some writers."""
        delta, grad = card.delta[rows], grad.to(card.delta.dtype)
        if grad.shape[1] != delta.shape[1]:  # the logits
            card.total[-1, rows, columns] += self._products(delta[:, card.positions.ends], grad)
            return
        for total, tokens in zip(card.total, card.tokens, strict=True):
            total[rows, columns] += self._products(delta[:, tokens], grad[:, tokens])

    def _products(
        self, delta: Float[Tensor, "writer token d_model"], grad: Float[Tensor, "reader token d_model"]
    ) -> Float[Tensor, "writer reader"]:
        if self.magnitude:
            products = torch.bmm(grad.transpose(0, 1), delta.permute(1, 2, 0))
            return products.abs().sum(0, dtype=torch.float32).T
        return (grad.flatten(1) @ delta.flatten(1).T).T.float()

    def _grads_of(self, index: int) -> Float[Tensor, "reader token d_model"]:
        """Where the gradients of a layer's slots and, last, of its MLP are kept."""
        card, count = self._card_of[index], self._readers_of_layer
        first = (index - card.first) % self._together * count
        return card.grads[first : first + count]

    def mlp_read(self, index: int, grad: Float[Tensor, "token d_model"]) -> None:
        """An MLP sees what its layer's slots see, and the layer's heads: contract with those, and keep
        the gradient for the product of the slots."""
        column, upstream = self.graph.column(index, self.graph.slots), self.graph.upstream
        rows = slice(upstream[column - 1], upstream[column])
        if rows.start < rows.stop:  # not in parallel blocks
            self.contract(self._card_of[index], rows, slice(column, column + 1), grad[None])
        self._grads_of(index)[-1] = grad

    def slots_read(
        self, index: int, block: Block, grad: Tensor, centred: Tensor, scaled: Tensor
    ) -> Float[Tensor, "token d_model"]:
        """Keep the gradients of a layer's slots, and contract them and the MLP's with the writers since
        the first of the layers that go together, or all of these with the writers before.

        Returns the sum over the slots.
        """
        card, grads, upstream = self._card_of[index], self._grads_of(index), self.graph.upstream
        own, low = grads[:-1], centred.to(grads.dtype)
        torch.bmm(grad.to(low.dtype), block.w_read.to(low.dtype).mT, out=own)
        own.addcmul_(low[None], scaled.to(low.dtype))
        if block.norm.recentres:
            own.sub_(own.mean(-1, keepdim=True))
        start = index - (index - card.first) % self._together
        first, column = (i * self._readers_of_layer for i in (start, index))
        if index > start:
            rows = slice(upstream[first], upstream[column])
            self.contract(card, rows, slice(column, column + len(grads)), grads)
        else:
            last = min(start + self._together, card.end) * self._readers_of_layer
            self.contract(card, slice(0, upstream[first]), slice(first, last), card.grads[: last - first])
        return own.sum(0, dtype=torch.float32)


class _Card:
    """What is kept on one card, all of it in the dtype of the delta buffer but `total`.

    Attributes:
        delta: ``[writer, token, d_model]`` of all writers before the end of its layers.
        grads: of the readers of the layers that go together.
        total: ``[span, writer, reader]``; of others' readers 0.
        tokens: of each span, among those of the buffer.
    """

    def __init__(self, owner: EdgeGradients, stretch: Stretch) -> None:
        graph, self.device, self.first, self.end = owner.graph, stretch.device, stretch.first, stretch.end
        self.positions, self.written = owner.positions.on(self.device), stretch.writers(graph)
        self.rows = owner.corrupt.at(self.positions.tokens[0])
        self.heads = torch.arange(graph.n_heads, device=self.device)
        self.tokens: list[slice | Tensor] = [slice(None)]
        if owner.spans is not None:
            at = owner.spans.flatten()[owner.positions.tokens[0]].to(self.device)
            self.tokens = [(at == span).nonzero()[:, 0] for span in range(len(owner.masked.graph.spans))]
        self.total = torch.zeros((len(self.tokens), *graph.edge_mask.shape), device=self.device)

        def take(use: str, rows: int) -> Float[Tensor, "row token d_model"]:
            shape = (rows, len(self.positions.tokens[0]), owner.clean_embed.shape[-1])
            return owner.masked.workspace.take(use, shape, owner.masked.mix_dtype, self.device)

        self.delta = take("delta", self.written.stop)
        self.grads = take("readers", look_ahead(graph.slots) * (graph.slots + 1))

    def receive(self, cards: Sequence[_Card]) -> None:
        """The deltas of the writers on cards before it."""
        for card in cards:
            if card.first < self.first:
                rows = slice(card.written.start, card.written.stop)
                self.delta[rows].copy_(card.delta[rows])


def _check_rules(masked: MaskedModel, rules: Rules) -> None:
    """Raises UnsupportedModelError if the rules change gradients inside an attention that is not written out here."""
    inside = rules.temperature != 1 or rules.qk_share != 1 or rules.v_share != 1
    if inside and any(isinstance(block.core, Replayed) for block in masked.blocks):
        raise UnsupportedModelError(say("attribution.replayed", masked=masked))


class _Slots(torch.autograd.Function):
    """All slots of a layer from the residual stream they share."""

    @staticmethod
    def forward(
        ctx: Any, resid: Float[Tensor, "token d_model"], owner: EdgeGradients, index: int, block: Block
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
        scaled = scaled * (owner.rules.norm_share * block.norm.divides)
        total = owner.slots_read(index, block, grad * inverse, centred, scaled)
        return block.norm.centre(total), None, None, None


class _Watch(torch.autograd.Function):
    """The identity; its backward shows the gradient of what a layer's MLP or (None) the logits read."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, owner: EdgeGradients, index: int | None) -> Tensor:
        ctx.owner, ctx.index = owner, index
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        owner, index = ctx.owner, ctx.index
        if index is None:
            column = len(owner.graph.readers) - 1
            owner.contract(owner._cards[-1], slice(0, None), slice(column, column + 1), grad[None])
        else:
            owner.mlp_read(index, grad)
        return grad, None, None
