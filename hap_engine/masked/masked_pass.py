"""The one mechanism: a forward pass in which every edge carries a mask.

For a transformer whose layers add to a stream, exactly::

    reader_r = corrupt_reader_r + sum over writers w before r of  m[w, r] * (live_w - corrupt_w)

``live_w`` is what writer w puts out inside this same pass; ``corrupt_*`` come from one cached pass
over the corrupt prompt (resample ablation). With m = 1 this is the clean model, with m = 0 the
corrupt one. EAP is minus the gradient with respect to m at m = 1, Edge Pruning learns m, and a
circuit is evaluated with m in {0, 1}.

How it is made fast (`MaskedModel.logits` gives the same numbers as an explicit loop over edges; see
tests/masked/test_masked_pass.py):

* Only live components are computed, only from the first token in which the prompts differ, and
  those that matter at the scored position alone only there (`plan.py`).
* The deltas ``live_w - corrupt_w`` of a pass lie in one buffer per zone of tokens, and the readers of a few
  layers are mixed from it in one matrix product (`delta_buffer.py`).
"""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from hap_engine.anatomy.attention import Attend, table_rows
from hap_engine.anatomy.closed_form import Closed
from hap_engine.errors import TaskError
from hap_engine.graph.graph import Span
from hap_engine.machine.workload import LITTLE
from hap_engine.masked.delta_buffer import FirstToken, Read, ReadSlots, Receive, Tape, Write
from hap_engine.masked.plan import LayerPlan, Plan, Positions, stretches
from hap_engine.masked.workspace import Workspace
from hap_engine.transformer.load import Model
from hap_engine.transformer.plain_pass import PlainModel, Trace, TraceRows
from hap_engine.words import say


class MaskedModel(PlainModel):
    """The masked forward pass of one model. Get one from `hap_engine.masked.opening.open_masked`, which checks it."""

    def __init__(self, model: Model) -> None:
        super().__init__(model)
        self.dtype = self.mix_dtype = torch.float32
        self.workspace = Workspace()
        self.exact = self  # the same model in float32
        self.stretches = stretches([block.device for block in self.blocks])

    def _meet(self, tokens: Int[Tensor, "batch pos"], last: Int[Tensor, " batch"]) -> None:
        if tokens.shape[1] > self.exact.met:
            super(MaskedModel, self.exact)._meet(tokens, last)
        self.met = self.exact.met

    def with_dtype(self, dtype: torch.dtype) -> MaskedModel:
        """The same model with its large products in `dtype`.

        bfloat16 halves their memory and is 2-4 times faster where the processor multiplies it
        natively. Norms, attention and the residual stream stay float32, deltas are formed in
        float32. Meant for training; evaluation and the self-check use float32.

        These are the MLPs' products and, unless a processor has `LITTLE` to mix, those with the delta buffer.
        """
        if dtype == self.dtype:
            return self
        other = self.apart()
        other.exact = self.exact
        other.dtype = dtype
        little = self.graph.n_edges * self.blocks[0].w_in.shape[1] < LITTLE
        other.mix_dtype = torch.float32 if self.device.type == "cpu" and little else dtype
        other.blocks = [block.with_dtype(dtype, other.mix_dtype) for block in self.blocks]
        return other

    def apart(self) -> MaskedModel:
        """The same model with scratch memory of its own."""
        other = copy.copy(self)
        other.workspace = Workspace()
        return other

    def at_spans(self, spans: tuple[Span, ...]) -> MaskedModel:
        """The same model on the positional graph of these spans: a mask has a column for each reader at each span."""
        other = self.apart()
        other.graph = replace(self.graph, spans=spans)
        other.exact = self.exact if self.exact is self else self.exact.at_spans(spans)
        return other

    def spans_asked(self, spans: Int[Tensor, "batch pos"] | None) -> Int[Tensor, "batch pos"] | None:
        """The tokens' spans where the graph asks for them. Raises TaskError if there are none."""
        if self.graph.positional and spans is None:
            raise TaskError(say("masked.no_spans"))
        return spans if self.graph.positional else None

    # -- the masked pass -------------------------------------------------------------------------

    def logits(
        self,
        mask: Float[Tensor, "writer reader"],
        clean_embed: Float[Tensor, "batch pos d_model"],
        corrupt: Trace,
        last: Int[Tensor, " batch"],
        spans: Int[Tensor, "batch pos"] | None = None,
    ) -> Float[Tensor, "batch vocab"]:
        """Logits at the scored position when edge (w, r) carries ``mask[w, r]`` of w's delta.

        Args:
            mask: any real numbers; entries that are exactly 0 cost nothing. Its gradient is that of
                the formula in the module docstring; one backward pass per call.
            clean_embed: what the ``input`` writer puts out (`embed` of the clean prompt).
            corrupt: trace of the corrupt prompt, same shape.
            last: scored position of each prompt.
            spans: the number of each token's span, for a positional graph; another asks for none.

        Raises:
            TaskError: if a positional graph gets none.
        """
        differs = (clean_embed != corrupt.embed).any(-1)
        positions = Positions.of(differs, last, self.spans_asked(spans), len(self.graph.spans))
        return self.planned_logits(Plan.of(self.graph, mask), positions, mask, clean_embed, corrupt, last)

    def planned_logits(
        self,
        plan: Plan,
        positions: Positions,
        mask: Float[Tensor, "writer reader"],
        clean_embed: Float[Tensor, "batch pos d_model"],
        corrupt: Trace,
        last: Int[Tensor, " batch"],
    ) -> Float[Tensor, "batch vocab"]:
        """`logits` by a plan that may compute more than the mask needs. Never waits for a GPU."""
        tapes, ends = list[Tape](), list[Tensor]()
        training = mask.requires_grad and torch.is_grad_enabled()
        for stretch in self.stretches:
            part = plan.part(stretch, training=training)
            here, there = positions.on(stretch.device), mask.to(stretch.device)
            tape = Tape(
                part, stretch.writers(self.graph), here, there, clean_embed.shape[-1], self.mix_dtype, self.workspace
            )
            token = FirstToken.apply(there, tape)
            if tapes:
                token = Receive.apply(token + ends[-1].to(stretch.device), tape, [*tapes])
            for zone in np.flatnonzero(part.written[0]) if part.first == 0 else ():
                change = (clean_embed - corrupt.embed).flatten(0, 1)[positions.tokens[zone]]
                change = self.without_mean(change)[None].to(stretch.device, tape.dtype)
                token = Write.apply(change, None, token, tape, int(zone), [0])
            base = _Base.of(corrupt, here, last.to(stretch.device), clean_embed.shape[:2])
            for index in range(part.first, part.end):
                token = tape.open(token, index)
                token = self._attention_layer(tape, token, index, part.layers[index], base)
                token = self._mlp_layer(tape, token, index, part.layers[index], base)
            tapes.append(tape)
            ends.append(token)
        column, final = len(self.graph.readers) - 1, corrupt.final.to(token.device)
        if plan.read[column]:
            token = tape.mix(token, plan.zones - 1, [column], column)
            final = Read.apply(token, tape.rows(plan.zones - 1, [column])[0], final)
        else:  # nothing is live: the logits still hang on the mask, with gradient 0
            final = final + token
        if not final.requires_grad:
            for tape in tapes:
                tape.release()
        return self.unembed(final.to(self.device))

    def _attention_layer(self, tape: Tape, token: Tensor, index: int, layer: LayerPlan, base: _Base) -> Tensor:
        if not any(layer.heads):
            return token
        live: dict[int, Tensor] = {}
        for zone, slots in enumerate(layer.slots):
            if slots:
                token, live[zone] = self._slots(token, tape, zone, index, slots, base)
        some = self._heads_alone if isinstance(self.blocks[index].core, Closed) else self._heads_together
        z = some(tape.plan, index, layer, live, base)
        for zone, heads in enumerate(layer.heads):
            if heads:
                token = self._write_heads(token, tape, zone, index, heads, z[zone], base)
        for zone in layer.norm:
            token = self._write_norm(token, tape, zone, index, layer, z, base)
        return token

    def _heads_alone(
        self, plan: Plan, index: int, layer: LayerPlan, live: dict[int, Tensor], base: _Base
    ) -> dict[int, Tensor]:
        """What the heads of a layer read, each zone's at its tokens, of attention that is written out."""
        *wide, late = layer.heads
        early = sorted({head for heads in wide for head in heads})  # computed before the scored position
        core, frame = self.blocks[index].core, self.frame(index, *base.shape)
        assert isinstance(core, Closed)
        n_heads, n_kv = self.graph.n_heads, self.graph.n_kv_heads
        pick = partial(plan.indices, device=base.device)
        group = n_heads // n_kv
        kv = sorted({head // group for head in early + late})
        wanted = [*early, *(n_heads + i for i in kv), *(n_heads + n_kv + i for i in kv)]
        slots = base.whole.slots(index, pick(wanted))
        for zone, values in live.items():
            here = [at for at, slot in enumerate(layer.slots[zone]) if zone < len(wide) or slot >= n_heads]
            if here:
                at = pick([wanted.index(layer.slots[zone][one]) for one in here])
                slots = put_rows(slots, at, base.positions.tokens[zone], plan.indices.rows(values, here))
        turned, v = slots.unflatten(1, base.shape).split([len(early) + len(kv), len(kv)])
        turned = core.turn(turned, pick(early), pick(kv), frame.tables)
        q, k = turned.split([len(early), len(kv)])
        own = pick([kv.index(head // group) for head in early + late])
        found = {}
        if early:
            which = pick(early)
            z = Attend.apply(
                q, k, v, own[: len(early)], core.scoring.of(which), base.every, frame.bias_at(base.every, which)
            )
            for zone, heads in enumerate(wide):
                if heads:
                    chosen = plan.indices.rows(z.flatten(1, 2), [early.index(head) for head in heads])
                    found[zone] = chosen.index_select(1, base.positions.tokens[zone])
        if late:
            zone, which = len(wide), pick(late)
            q = base.zones[zone].slots(index, which)
            queries = [at for at, slot in enumerate(layer.slots[zone]) if slot < n_heads]
            if queries:
                at = pick([late.index(layer.slots[zone][one]) for one in queries])
                scored = torch.arange(len(base.last), device=base.device)
                q = put_rows(q, at, scored, plan.indices.rows(live[zone], queries))
            rows = table_rows(frame.tables, base.last[:, None])
            q, at_last = core.turn(q[:, :, None], which, which[:0], rows), base.last[:, None]
            bias = frame.bias_at(at_last, which)
            found[zone] = Attend.apply(q, k, v, own[len(early) :], core.scoring.of(which), at_last, bias)[:, :, 0]
        return found

    def _heads_together(
        self, plan: Plan, index: int, layer: LayerPlan, live: dict[int, Tensor], base: _Base
    ) -> dict[int, Tensor]:
        """The same of attention in its family's own words, which computes all heads at all positions."""
        pick = partial(plan.indices, device=base.device)
        slots = base.whole.slots(index, pick(range(self.graph.slots)))
        for zone, values in live.items():
            slots = put_rows(slots, pick(layer.slots[zone]), base.positions.tokens[zone], values)
        frame = self.frame(index, *base.shape)
        z = self.blocks[index].core.z(slots.unflatten(1, base.shape), frame).flatten(1, 2)
        return {
            zone: z.index_select(0, pick(heads)).index_select(1, base.positions.tokens[zone])
            for zone, heads in enumerate(layer.heads)
            if heads
        }

    def _slots(
        self, token: Tensor, tape: Tape, zone: int, index: int, chosen: list[int], base: _Base
    ) -> tuple[Tensor, Float[Tensor, "slot token width"]]:
        """Live values of a layer's slots at the tokens of a zone; the layer's MLP mixes along with them."""
        columns = [tape.plan.column(index, slot, zone) for slot in chosen]
        token = tape.mix(token, zone, tape.plan.layer_columns(zone, index), columns[0])
        block, corrupt = self.blocks[index], base.zones[zone]
        slots, rows = tape.plan.indices(chosen, base.device), tape.plan.indices.rows
        centred = block.norm.centre(corrupt.attn_in(index))
        bias = rows(block.b_in, chosen)
        product = corrupt.slots(index, slots).sub_(bias).mul_(block.norm.sigma(centred))
        own, weight = tape.rows(zone, columns), rows(block.w_read, chosen)
        return token, ReadSlots.apply(token, own, centred, product, weight, bias, block.norm)

    def _write_heads(
        self, token: Tensor, tape: Tape, zone: int, index: int, heads: list[int], z: Tensor, base: _Base
    ) -> Tensor:
        """Write what the heads have to write, at the scale of the corrupt run."""
        block, corrupt = self.blocks[index], base.zones[zone]
        places = [at for at, head in enumerate(heads) if tape.plan.written[self.graph.head_row(index, head), zone]]
        if not places:
            return token
        written = [heads[at] for at in places]
        change = tape.plan.indices.rows(z, places) - corrupt.z(index, tape.plan.indices(written, base.device))
        if block.post is not None:
            change = change * corrupt.shrink(index)
        weight = tape.plan.indices.rows(block.w_write, written)
        writers = [self.graph.head_row(index, head) for head in written]
        return Write.apply(change.to(tape.dtype), weight, token, tape, zone, writers)

    def _write_norm(
        self, token: Tensor, tape: Tape, zone: int, index: int, layer: LayerPlan, z: dict[int, Tensor], base: _Base
    ) -> Tensor:
        """Write what the change of scale adds to all that the heads of a layer wrote."""
        block = self.blocks[index]
        assert block.post is not None
        corrupt, pick = base.zones[zone], partial(tape.plan.indices, device=base.device)
        every = corrupt.z(index, pick(range(self.graph.n_heads)))
        if tape.plan.copied and zone == 1 and layer.heads[0]:
            every = every.index_copy(0, pick(layer.heads[0]), z[0].index_select(1, base.positions.ends))
        if layer.heads[zone]:
            every = every.index_copy(0, pick(layer.heads[zone]), z[zone])
        added = block.rescaled(block.summed(every), corrupt.shrink(index))
        writer = self.graph.norm_row(index)
        return Write.apply(self.without_mean(added)[None].to(tape.dtype), None, token, tape, zone, [writer])

    def _mlp_layer(self, tape: Tape, token: Tensor, index: int, layer: LayerPlan, base: _Base) -> Tensor:
        for zone in layer.mlp:
            block, (mlp_in, mlp_out) = self.blocks[index], base.zones[zone].mlp(index)
            column = tape.plan.column(index, self.graph.slots, zone)
            token = tape.mix(token, zone, [column], column)
            read = Read.apply(token, tape.rows(zone, [column])[0], mlp_in)
            live = block.mlp(read[None]).squeeze(0)
            change = self.without_mean(live - mlp_out)[None].to(tape.dtype)
            token = Write.apply(change, None, token, tape, zone, [self.graph.mlp_row(index)])
        return token


@dataclass(frozen=True, eq=False)
class _Base:
    """The corrupt run, on which every layer of one masked pass builds, and the prompts' positions, all on its card."""

    whole: TraceRows  # the corrupt run at all tokens
    zones: list[TraceRows]  # and at those of each zone
    positions: Positions
    last: Int[Tensor, " batch"]
    every: Int[Tensor, "1 pos"]
    shape: tuple[int, ...]  # batch, pos

    @classmethod
    def of(cls, corrupt: Trace, positions: Positions, last: Int[Tensor, " batch"], shape: tuple[int, ...]) -> _Base:
        """On the card of the positions."""
        whole = corrupt.at(torch.arange(math.prod(shape), device=last.device))
        zones = [corrupt.at(tokens) for tokens in positions.tokens]
        return cls(whole, zones, positions, last, torch.arange(shape[1], device=last.device)[None], shape)

    @property
    def device(self) -> torch.device:
        return self.last.device


def put_rows(
    x: Float[Tensor, "row token d"],
    rows: Int[Tensor, " some"],
    tokens: Int[Tensor, " few"],
    values: Float[Tensor, "some few d"],
) -> Float[Tensor, "row token d"]:
    """`x` itself, with some of its rows set at some tokens."""
    flat = x.flatten(0, 1)
    flat[(rows[:, None] * x.shape[1] + tokens).flatten()] = values.flatten(0, 1)
    return flat.view(x.shape)
