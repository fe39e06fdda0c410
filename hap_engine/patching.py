"""The one mechanism: a forward pass in which every edge carries a mask.

For a pre-norm transformer, exactly::

    reader_r = corrupt_reader_r + sum over writers w before r of  m[w, r] * (live_w - corrupt_w)

``live_w`` is what writer w puts out inside this same pass; ``corrupt_*`` come from one cached pass
over the corrupt prompt (resample ablation). With m = 1 this is the clean model, with m = 0 the
corrupt one. EAP is minus the gradient with respect to m at m = 1, Edge Pruning learns m, and a
circuit is evaluated with m in {0, 1}.

How it is made fast (`MaskedModel.logits` gives the same numbers as an explicit loop over edges; see
tests/test_patching.py):

* The model's own MLPs, embedding, final norm and unembedding are called as they are; attention and
  the norm before it are computed here from the bridge's weights (`blocks.py`), so that each head and
  slot can have its own input without forking the model or its hooks.
* Only live components are computed, only from the first token in which the prompts differ, and
  those that matter at the scored position alone only there (`plan.py`).
* The deltas ``live_w - corrupt_w`` of a pass lie in one buffer per span of tokens, and the readers of a few
  layers are mixed from it in one matrix product (`tape.py`).
"""

from __future__ import annotations

import copy
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from hap_engine.blocks import Block, Rotary, attend, rotate, table_rows, take_apart
from hap_engine.circuit import full_circuit
from hap_engine.errors import UnsupportedModelError
from hap_engine.families import WORKING, likely_cause
from hap_engine.models import Model
from hap_engine.plan import LayerPlan, Plan, Positions
from hap_engine.tape import Read, ReadSlots, Start, Tape, Write
from hap_engine.workspace import Workspace

SELF_CHECK_TOKENS = 24  # longer than IOI prompts; a sliding window in the config shortens it
SELF_CHECK_TOLERANCE = 1e-4  # relative to the largest logit; measured 1e-6 on supported families


@dataclass(frozen=True, eq=False)
class LayerTrace:
    """What one layer read and wrote in a plain pass; slots are ordered q heads, k heads, v heads."""

    attn_in: Float[Tensor, "batch pos d_model"]
    mlp_in: Float[Tensor, "batch pos d_model"]
    slots: Float[Tensor, "slot batch pos d_head"]
    z: Float[Tensor, "head batch pos d_head"]
    mlp_out: Float[Tensor, "batch pos d_model"]


@dataclass(frozen=True, eq=False)
class Trace:
    """A plain pass: all that the masked pass needs of the corrupt prompt."""

    embed: Float[Tensor, "batch pos d_model"]
    layers: tuple[LayerTrace, ...]
    final: Float[Tensor, "batch d_model"]


class MaskedModel:
    """The masked forward pass of one model.

    Building it runs the self-check: m = 1 must reproduce the model's clean logits, m = 0 its corrupt
    ones. A model whose heads are not summed into the residual stream as they are (Gemma-2
    normalises them after their sum) fails and is refused.

    Raises:
        UnsupportedModelError: naming the model, the difference and the likely cause.
    """

    def __init__(self, model: Model) -> None:
        self.model, self.graph, self.device = model, model.graph, model.device
        self._rotary = getattr(model.hf_model.base_model, "rotary_emb", None)
        try:
            self.blocks: list[Block] = [
                take_apart(block, model.bridge.cfg) for block in model.bridge.blocks
            ]
        except (AttributeError, TypeError) as error:
            raise UnsupportedModelError(
                f"{model.name}: its blocks lack a part that the engine needs ({error}). {WORKING}"
            ) from None
        self.mix_dtype = torch.float32
        self.workspace = Workspace()
        group = self.graph.n_heads // self.graph.n_kv_heads
        self.kv_of_head = torch.arange(self.graph.n_heads, device=self.device) // group
        try:
            self._self_check()
        except UnsupportedModelError:
            raise
        except Exception as error:  # parts that take other arguments fail in many ways
            raise UnsupportedModelError(
                f"{model.name} ({type(model.hf_model).__name__}) fails inside the masked pass "
                f"({type(error).__name__}: {error}). {WORKING}"
            ) from error

    def with_dtype(self, dtype: torch.dtype) -> MaskedModel:
        """The same model with its large products (MLPs, delta buffer) in `dtype`.

        bfloat16 halves their memory and is 2-4 times faster where the processor multiplies it
        natively. Norms, attention and the residual stream stay float32, deltas are formed in
        float32. Meant for training; evaluation and the self-check use float32.
        """
        if dtype == self.mix_dtype:
            return self
        other = self.apart()
        other.mix_dtype = dtype
        other.blocks = [block.with_dtype(dtype) for block in self.blocks]
        return other

    def apart(self) -> MaskedModel:
        """The same model with scratch memory of its own."""
        other = copy.copy(self)
        other.workspace = Workspace()
        return other

    # -- plain passes ----------------------------------------------------------------------------

    @torch.no_grad()
    def trace(self, tokens: Int[Tensor, "batch pos"], last: Int[Tensor, " batch"]) -> Trace:
        """Run the unmasked model and keep what each layer read and wrote."""
        resid = embed = self.embed(tokens)
        rotary, at = self.rotary_tables(tokens.shape[1]), self._positions(tokens)
        layers = []
        for block in self.blocks:
            attn_in, slots = resid, block.slots(resid)
            q, k, v = self.split(slots)
            k, v = k[self.kv_of_head], v[self.kv_of_head]
            z = attend(rotate(q, rotary), rotate(k, rotary), block.scale, at) @ v
            mlp_in, after = self._after_attention(block, attn_in, z)
            mlp_out = block.mlp_out(mlp_in)
            layers.append(LayerTrace(attn_in, mlp_in, slots, z, mlp_out))
            resid = after + mlp_out
        return Trace(embed, tuple(layers), _at(resid, last))

    @torch.no_grad()
    def whole_trace(
        self,
        embed: Float[Tensor, "batch pos d_model"],
        layers: Iterable[tuple[Tensor, Tensor, Tensor]],
        final: Float[Tensor, "batch d_model"],
    ) -> Trace:
        """A trace from its embedding and each layer's slots, z and mlp_out: a third of it is their sums."""
        resid, whole = embed, []
        for block, (slots, z, mlp_out) in zip(self.blocks, layers, strict=True):
            mlp_in, after = self._after_attention(block, resid, z)
            whole.append(LayerTrace(resid, mlp_in, slots, z, mlp_out))
            resid = after + mlp_out
        return Trace(embed, tuple(whole), final)

    def _after_attention(self, block: Block, resid: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
        """What the layer's MLP reads, and the residual stream without the MLP."""
        after = resid + (torch.einsum("hbpe,hed->bpd", z, block.w_out) + block.b_out)
        return resid if self.graph.parallel else after, after

    @torch.no_grad()
    def embed(self, tokens: Int[Tensor, "batch pos"]) -> Float[Tensor, "batch pos d_model"]:
        """The residual stream that enters the first block (tokens and learned positions)."""
        bridge = self.model.bridge
        out = bridge.embed(tokens)
        if "pos_embed" in dict(bridge.named_children()):
            out = out + bridge.pos_embed(torch.arange(tokens.shape[1], device=self.device)[None])
        return out

    def unembed(self, final: Float[Tensor, "batch d_model"]) -> Float[Tensor, "batch vocab"]:
        """Logits (float32) of the residual stream at the scored position."""
        return self.logits_of(self.final_norm(final[:, None])[:, 0])

    @property
    def final_norm(self) -> Any:
        return self.model.bridge.ln_final

    def logits_of(self, normed: Float[Tensor, "batch d_model"]) -> Float[Tensor, "batch vocab"]:
        """Logits (float32) of what the final norm gave."""
        return self.model.bridge.unembed(normed[:, None])[:, 0].float()

    @torch.no_grad()
    def patterns(self, trace: Trace, layer: int) -> Float[Tensor, "head batch query key"]:
        """Attention patterns of one layer of a plain pass."""
        q, k, _ = self.split(trace.layers[layer].slots)
        rotary = self.rotary_tables(q.shape[2])
        k = rotate(k, rotary)[self.kv_of_head]
        return attend(rotate(q, rotary), k, self.blocks[layer].scale, self._positions(q[0, ..., 0]))

    def head_outputs_at(
        self, trace: Trace, layer: int, positions: Int[Tensor, " batch"]
    ) -> Float[Tensor, "head batch d_model"]:
        """What each head of a layer wrote at one position per prompt in a plain pass (without b_O)."""
        z = trace.layers[layer].z[:, torch.arange(len(positions), device=self.device), positions]
        return torch.einsum("hbe,hed->hbd", z, self.blocks[layer].w_out)

    def slot_at(
        self,
        layer: int,
        slot: str,
        head: int,
        resid: Float[Tensor, "sender batch d_model"],
        positions: Int[Tensor, " batch"],
    ) -> Float[Tensor, "sender batch d_head"]:
        """Query, key (both rotated) or value of a query head for given residual streams.

        `resid` stands at `positions`; on grouped-query models k and v are those of the head's group.
        """
        block = self.blocks[layer]
        heads, kv = self.graph.n_heads, int(self.kv_of_head[head])
        row = {"q": head, "k": heads + kv, "v": heads + self.graph.n_kv_heads + kv}[slot]
        out = block.norm.standardise(resid) @ block.w_in[row] + block.b_in[row]
        if slot == "v":
            return out
        return rotate(out, table_rows(self.rotary_tables(int(positions.max()) + 1), positions))

    def keys_values(
        self, trace: Trace, layer: int, head: int
    ) -> tuple[Float[Tensor, "batch pos d_head"], Float[Tensor, "batch pos d_head"]]:
        """Rotated keys and values that a query head sees in a plain pass."""
        _, k, v = self.split(trace.layers[layer].slots)
        kv = int(self.kv_of_head[head])
        return rotate(k, self.rotary_tables(k.shape[2]))[kv], v[kv]

    def scale(self, layer: int) -> float:
        return self.blocks[layer].scale

    def output_weight(self, layer: int, head: int) -> Float[Tensor, "d_head d_model"]:
        return self.blocks[layer].w_out[head]

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
        return self.planned_logits(
            Plan.of(self.graph, mask), positions, mask, clean_embed, corrupt, last
        )

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
        scene = _Scene(corrupt, positions, last, every, self.rotary_tables(every.shape[1]))
        for index, layer in enumerate(plan.layers):
            token = tape.open(token, index)
            token = self._attention_layer(plan, tape, token, index, layer, scene)
            token = self._mlp_layer(tape, token, index, layer, scene)
        column = len(self.graph.readers) - 1
        if plan.read[column]:
            token = tape.mix(token, "narrow", [column], column)
            final = corrupt.final + Read.apply(token, tape.rows("narrow", [column])[0])
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
        graph, block, kept = self.graph, self.blocks[index], scene.corrupt.layers[index]
        first, n_heads, n_kv = plan.column(index, 0), graph.n_heads, graph.n_kv_heads
        pick = partial(plan.indices, device=self.device)
        group = n_heads // n_kv
        kv = sorted({head // group for head in heads})
        wanted = [*layer.wide_heads, *(n_heads + i for i in kv), *(n_heads + n_kv + i for i in kv)]
        slots = kept.slots.flatten(1, 2)[pick(wanted)]
        if layer.wide_slots:
            token, live = self._slots(token, tape, "wide", index, layer.wide_slots, scene)
            at = [wanted.index(column - first) for column in layer.wide_slots]
            slots = set_slots(slots, pick(at), scene.positions.wide, live)
        slots = slots.unflatten(1, kept.slots.shape[1:3])
        q, k, v = slots.split([len(layer.wide_heads), len(kv), len(kv)])
        k = rotate(k, scene.rotary)
        own = pick([kv.index(head // group) for head in heads])
        if layer.wide_heads:
            here = own[: len(layer.wide_heads)]
            z = attend(rotate(q, scene.rotary), k[here], block.scale, scene.every) @ v[here]
            change = z - kept.z[pick(layer.wide_heads)]
            change = change.flatten(1, 2)[:, scene.positions.wide]
            token = self._write_heads(token, tape, "wide", index, layer.wide_heads, change)
        if layer.narrow_heads:
            here, chosen = own[len(layer.wide_heads) :], layer.narrow_heads
            which = pick(chosen)
            q = _at(kept.slots[which], scene.last)
            if layer.narrow_slots:
                token, live = self._slots(token, tape, "narrow", index, layer.narrow_slots, scene)
                at = [chosen.index(column - first) for column in layer.narrow_slots]
                q = set_slots(q, pick(at), torch.arange(len(scene.last), device=self.device), live)
            q = rotate(q, table_rows(scene.rotary, scene.last))[:, :, None]
            z = (attend(q, k[here], block.scale, scene.last[:, None]) @ v[here])[:, :, 0]
            change = z - _at(kept.z[which], scene.last)
            token = self._write_heads(token, tape, "narrow", index, chosen, change)
        return token

    def _slots(
        self, token: Tensor, tape: Tape, span: str, index: int, columns: list[int], scene: _Scene
    ) -> tuple[Tensor, Float[Tensor, "slot token d_head"]]:
        """Live values of a layer's slots at the tokens of a span; the layer's MLP mixes along with them."""
        token = tape.mix(token, span, tape.plan.layer_columns(span, index), columns[0])
        block, kept = self.blocks[index], scene.corrupt.layers[index]
        tokens = getattr(scene.positions, span)
        first = tape.plan.column(index, 0)
        slots = tape.plan.indices([column - first for column in columns], self.device)
        centred = block.norm.centre(kept.attn_in.flatten(0, 1)[tokens])
        product = kept.slots.flatten(1, 2)[slots[:, None], tokens] - block.b_in[slots]
        product = product * block.norm.sigma(centred)
        own, weight = tape.rows(span, columns), block.w_read[slots]
        return token, ReadSlots.apply(
            token, own, centred, product, weight, block.b_in[slots], block.norm
        )

    def _write_heads(
        self, token: Tensor, tape: Tape, span: str, index: int, heads: list[int], change: Tensor
    ) -> Tensor:
        writers = [1 + index * (self.graph.n_heads + 1) + head for head in heads]
        weight = self.blocks[index].w_write[tape.plan.indices(heads, self.device)]
        return Write.apply(change.to(tape.dtype), weight, token, tape, span, writers)

    def _mlp_layer(
        self, tape: Tape, token: Tensor, index: int, layer: LayerPlan, scene: _Scene
    ) -> Tensor:
        if layer.mlp is None:
            return token
        block, kept = self.blocks[index], scene.corrupt.layers[index]
        tokens = getattr(scene.positions, layer.mlp)
        column = tape.plan.column(index, self.graph.n_heads + 2 * self.graph.n_kv_heads)
        token = tape.mix(token, layer.mlp, [column], column)
        read = Read.apply(token, tape.rows(layer.mlp, [column])[0])
        live = block.mlp_out((kept.mlp_in.flatten(0, 1)[tokens] + read)[None])[0]
        change = block.norm.centre(live - kept.mlp_out.flatten(0, 1)[tokens])
        writer = (index + 1) * (self.graph.n_heads + 1)
        return Write.apply(change[None].to(tape.dtype), None, token, tape, layer.mlp, [writer])

    # -- small parts -----------------------------------------------------------------------------

    def split(self, slots: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        heads, kv = self.graph.n_heads, self.graph.n_kv_heads
        return slots[:heads], slots[heads : heads + kv], slots[heads + kv :]

    def rotary_tables(self, length: int) -> Rotary:
        """Cosines and sines of the first `length` positions; None for learned positions."""
        if self._rotary is None:
            return None
        positions = torch.arange(length, device=self.device)[None]
        cos, sin = self._rotary(torch.zeros((), device=self.device), positions)
        return cos[0], sin[0]

    def _positions(self, like: Tensor) -> Int[Tensor, "1 pos"]:
        return torch.arange(like.shape[-1], device=self.device)[None]

    # -- self-check ------------------------------------------------------------------------------

    @torch.no_grad()
    def _self_check(self) -> None:
        vocabulary = self.model.hf_model.config.vocab_size
        length = min(SELF_CHECK_TOKENS, self.model.max_tokens or SELF_CHECK_TOKENS)
        generator = torch.Generator().manual_seed(0)
        tokens = torch.randint(vocabulary, (2, 2, length), generator=generator).to(self.device)
        last = torch.tensor([length - 1, length // 2], device=self.device)
        corrupt = self.trace(tokens[1], last)
        full = torch.from_numpy(full_circuit(self.graph).kept).to(self.device)
        for edges, which, side in ((1, "clean", 0), (0, "corrupt", 1)):
            got = self.logits(full.float() * edges, self.embed(tokens[0]), corrupt, last)
            want = _at(self.model.hf_model(tokens[side]).logits.float(), last)
            difference = ((got - want).abs().max() / want.abs().max()).item()
            if not difference <= SELF_CHECK_TOLERANCE:  # also refuses NaN
                raise UnsupportedModelError(
                    f"{self.model.name} ({type(self.model.hf_model).__name__}) fails the self-check: "
                    f"with every edge {'kept' if edges else 'cut'}, the masked pass should give the "
                    f"{which} logits within {SELF_CHECK_TOLERANCE:g} (relative), but differs by "
                    f"{difference:.2g}. Likely cause: {likely_cause(self.model.config)}. {WORKING}"
                )


@dataclass(frozen=True, eq=False)
class _Scene:
    """What every layer of one masked pass looks at."""

    corrupt: Trace
    positions: Positions
    last: Int[Tensor, " batch"]
    every: Int[Tensor, "1 pos"]
    rotary: Rotary


def set_slots(
    slots: Float[Tensor, "slot token d_head"],
    at: Int[Tensor, " live"],
    tokens: Int[Tensor, " some"],
    live: Float[Tensor, "live some d_head"],
) -> Float[Tensor, "slot token d_head"]:
    """`slots` with the rows `at` set to `live` at some tokens."""
    return slots.index_put((at[:, None], tokens[None]), live)


def _at(x: Float[Tensor, "*axes batch pos d"], last: Int[Tensor, " batch"]) -> Tensor:
    """Rows of ``x[…, batch, pos, d]`` at each prompt's scored position."""
    return x[..., torch.arange(len(last), device=x.device), last, :]
