"""The one mechanism: a forward pass in which every edge carries a mask.

For a pre-norm transformer, exactly::

    reader_r = corrupt_reader_r + sum over writers w before r of  m[w, r] * (live_w - corrupt_w)

``live_w`` is what writer w puts out inside this same pass; ``corrupt_*`` come from one cached pass
over the corrupt prompt (resample ablation). With m = 1 this is the clean model, with m = 0 the
corrupt one. EAP is minus the gradient with respect to m at m = 1, Edge Pruning learns m, and a
circuit is evaluated with m in {0, 1}.

How it is made fast (`MaskedModel.logits` gives the same numbers as an explicit loop over edges; see
tests/masked/test_masked_pass.py):

* Only live components are computed, only from the first token in which the prompts differ, and
  those that matter at the scored position alone only there (`plan.py`).
* The deltas ``live_w - corrupt_w`` of a pass lie in one buffer per span of tokens, and the readers of a few
  layers are mixed from it in one matrix product (`delta_buffer.py`).
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from functools import partial

import torch
from jaxtyping import Float, Int
from torch import Tensor

from hap_engine.machine.workload import LITTLE
from hap_engine.masked.delta_buffer import Read, ReadSlots, Start, Tape, Write
from hap_engine.masked.plan import LayerPlan, Plan, Positions
from hap_engine.masked.workspace import Workspace
from hap_engine.transformer.attention import Attend, Rotary, rotate, table_rows
from hap_engine.transformer.load import Model
from hap_engine.transformer.plain_pass import PlainModel, Trace, TraceRows


class MaskedModel(PlainModel):
    """The masked forward pass of one model. Get one from `hap_engine.masked.opening.open_masked`, which checks it."""

    def __init__(self, model: Model) -> None:
        super().__init__(model)
        self.dtype = self.mix_dtype = torch.float32
        self.workspace = Workspace()

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

    # -- the masked pass -------------------------------------------------------------------------

    def logits(
        self,
        mask: Float[Tensor, "writer reader"],
        clean_embed: Float[Tensor, "batch pos d_model"],
        corrupt: Trace,
        last: Int[Tensor, " batch"],
    ) -> Float[Tensor, "batch vocab"]:
        """Logits at the scored position when edge (w, r) carries ``mask[w, r]`` of w's delta.

        Args:
            mask: any real numbers; entries that are exactly 0 cost nothing. Its gradient is that of
                the formula in the module docstring; one backward pass per call.
            clean_embed: what the ``input`` writer puts out (`embed` of the clean prompt).
            corrupt: trace of the corrupt prompt, same shape.
            last: scored position of each prompt.
        """
        positions = Positions.of((clean_embed != corrupt.embed).any(-1), last)
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
        d_model = clean_embed.shape[-1]
        tape = Tape(plan, positions, mask, d_model, self.mix_dtype, self.workspace)
        token = Start.apply(mask, tape)
        if plan.writes_input:
            span = "wide" if plan.wide_writer[0] else "narrow"
            change = (clean_embed - corrupt.embed).flatten(0, 1)[getattr(positions, span)]
            change = self.blocks[0].norm.centre(change)[None].to(tape.dtype)
            token = Write.apply(change, None, token, tape, span, [0])
        every = self._positions(clean_embed[..., 0])
        tokens = torch.arange(clean_embed[..., 0].numel(), device=self.device)
        rows = {name: corrupt.at(getattr(positions, name)) for name in tape.spans}
        scene = _Scene(corrupt.at(tokens), rows, positions, last, every, self.rotary_tables(every.shape[1]))
        for index, layer in enumerate(plan.layers):
            token = tape.open(token, index)
            token = self._attention_layer(plan, tape, token, index, layer, scene)
            token = self._mlp_layer(tape, token, index, layer, scene)
        column = len(self.graph.readers) - 1
        if plan.read[column]:
            token = tape.mix(token, "narrow", [column], column)
            final = Read.apply(token, tape.rows("narrow", [column])[0], corrupt.final)
        else:  # nothing is live: the logits still hang on the mask, with gradient 0
            final = corrupt.final + token
        if not final.requires_grad:
            tape.release()
        return self.unembed(final)

    def _attention_layer(
        self, plan: Plan, tape: Tape, token: Tensor, index: int, layer: LayerPlan, scene: _Scene
    ) -> Tensor:
        heads = layer.wide_heads + layer.narrow_heads
        if not heads:
            return token
        graph, block = self.graph, self.blocks[index]
        first, n_heads, n_kv = plan.column(index, 0), graph.n_heads, graph.n_kv_heads
        pick = partial(plan.indices, device=self.device)
        group = n_heads // n_kv
        kv = sorted({head // group for head in heads})
        wanted = [*layer.wide_heads, *(n_heads + i for i in kv), *(n_heads + n_kv + i for i in kv)]
        slots = scene.whole.slots(index, pick(wanted))
        if layer.wide_slots:
            token, live = self._slots(token, tape, "wide", index, layer.wide_slots, scene)
            at = [wanted.index(column - first) for column in layer.wide_slots]
            slots = put_rows(slots, pick(at), scene.positions.wide, live)
        slots = slots.unflatten(1, (len(scene.last), -1))
        turned, v = slots.split([len(layer.wide_heads) + len(kv), len(kv)])
        q, k = rotate(turned, scene.rotary).split([len(layer.wide_heads), len(kv)])
        own = pick([kv.index(head // group) for head in heads])
        if layer.wide_heads:
            here, which = own[: len(layer.wide_heads)], pick(layer.wide_heads)
            z = Attend.apply(q, k, v, here, block.scale, scene.every)
            z = z.flatten(1, 2).index_select(1, scene.positions.wide)
            change = z - scene.corrupt["wide"].z(index, which)
            token = self._write_heads(token, tape, "wide", index, layer.wide_heads, change)
        if layer.narrow_heads:
            here, chosen = own[len(layer.wide_heads) :], layer.narrow_heads
            which = pick(chosen)
            corrupt = scene.corrupt["narrow"]
            q = corrupt.slots(index, which)
            if layer.narrow_slots:
                token, live = self._slots(token, tape, "narrow", index, layer.narrow_slots, scene)
                at = [chosen.index(column - first) for column in layer.narrow_slots]
                q = put_rows(q, pick(at), torch.arange(len(scene.last), device=self.device), live)
            q = rotate(q, table_rows(scene.rotary, scene.last))[:, :, None]
            z = Attend.apply(q, k, v, here, block.scale, scene.last[:, None])
            change = z[:, :, 0] - corrupt.z(index, which)
            token = self._write_heads(token, tape, "narrow", index, chosen, change)
        return token

    def _slots(
        self, token: Tensor, tape: Tape, span: str, index: int, columns: list[int], scene: _Scene
    ) -> tuple[Tensor, Float[Tensor, "slot token d_head"]]:
        """Live values of a layer's slots at the tokens of a span; the layer's MLP mixes along with them."""
        token = tape.mix(token, span, tape.plan.layer_columns(span, index), columns[0])
        block, corrupt = self.blocks[index], scene.corrupt[span]
        first = tape.plan.column(index, 0)
        chosen = [column - first for column in columns]
        slots, rows = tape.plan.indices(chosen, self.device), tape.plan.indices.rows
        centred = block.norm.centre(corrupt.attn_in(index))
        bias = rows(block.b_in, chosen)
        product = corrupt.slots(index, slots).sub_(bias).mul_(block.norm.sigma(centred))
        own, weight = tape.rows(span, columns), rows(block.w_read, chosen)
        return token, ReadSlots.apply(token, own, centred, product, weight, bias, block.norm)

    def _write_heads(
        self, token: Tensor, tape: Tape, span: str, index: int, heads: list[int], change: Tensor
    ) -> Tensor:
        writers = [1 + index * (self.graph.n_heads + 1) + head for head in heads]
        weight = tape.plan.indices.rows(self.blocks[index].w_write, heads)
        return Write.apply(change.to(tape.dtype), weight, token, tape, span, writers)

    def _mlp_layer(self, tape: Tape, token: Tensor, index: int, layer: LayerPlan, scene: _Scene) -> Tensor:
        if layer.mlp is None:
            return token
        block, (mlp_in, mlp_out) = self.blocks[index], scene.corrupt[layer.mlp].mlp(index)
        column = tape.plan.column(index, self.graph.n_heads + 2 * self.graph.n_kv_heads)
        token = tape.mix(token, layer.mlp, [column], column)
        row = tape.rows(layer.mlp, [column])[0]
        read = Read.apply(token, row, mlp_in)
        live = block.mlp_out(read[None]).squeeze(0)
        change = block.norm.centre(live - mlp_out)
        writer = (index + 1) * (self.graph.n_heads + 1)
        return Write.apply(change[None].to(tape.dtype), None, token, tape, layer.mlp, [writer])


@dataclass(frozen=True, eq=False)
class _Scene:
    """What every layer of one masked pass looks at."""

    whole: TraceRows  # the corrupt run at all tokens
    corrupt: dict[str, TraceRows]  # and at those of each span
    positions: Positions
    last: Int[Tensor, " batch"]
    every: Int[Tensor, "1 pos"]
    rotary: Rotary


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
