"""The one mechanism: a forward pass in which every edge carries a mask.

For a pre-norm transformer, exactly::

    reader_r = corrupt_reader_r + sum over writers w before r of  m[w, r] * (live_w - corrupt_w)

``live_w`` is what writer w puts out inside this same pass; ``corrupt_*`` come from one cached pass
over the corrupt prompt (resample ablation). With m = 1 this is the clean model, with m = 0 the
corrupt one. EAP is minus the gradient with respect to m at m = 1, Edge Pruning learns m, and a
circuit is evaluated with m in {0, 1}: all of them call `MaskedModel.logits`.

How it is made fast (`MaskedModel.logits` gives the same numbers as an explicit loop over edges; see
tests/test_patching.py):

* The model's own norms, MLPs, embedding and unembedding are called as they are; attention is
  computed here from the bridge's ``W_Q``, ``W_K``, ``W_V``, ``W_O`` so that each head and slot can have
  its own input without forking the model or its hooks.
* A component without a live edge in equals its corrupt twin (its delta is exactly 0), and one
  without a path to the logits changes nothing. Neither is computed: work follows the *live* part of
  the mask (`Circuit.live`), and a mask entry of exactly 0 costs nothing.
* The deltas ``live_w - corrupt_w`` of a pass lie in one buffer ``[writer, batch, pos, d_model]``. A reader
  is one matrix product over a prefix of its rows (`tape.py`).
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from hap_engine.circuit import full_circuit
from hap_engine.errors import UnsupportedModelError
from hap_engine.families import WORKING, likely_cause
from hap_engine.models import Model
from hap_engine.tape import Plan, Read, Start, Tape, Write

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

    def select(self, indices: Tensor, length: int) -> Trace:
        """The rows `indices`, cut to `length` positions."""

        def cut(x: Tensor) -> Tensor:  # batch and pos are the axes before the last
            return x.index_select(-3, indices)[..., :length, :]

        layers = tuple(
            LayerTrace(*(cut(getattr(layer, name)) for name in LayerTrace.__dataclass_fields__))
            for layer in self.layers
        )
        return Trace(cut(self.embed), layers, self.final[indices])


@dataclass(frozen=True, eq=False)
class _Layer:
    """One block's weights as the masked pass uses them. Slots are q heads, k heads, v heads."""

    w_in: Float[Tensor, "slot d_model d_head"]
    b_in: Float[Tensor, "slot 1 d_head"]
    w_out: Float[Tensor, "head d_head d_model"]
    b_out: Float[Tensor, " d_model"] | float
    scale: float
    norm_attn: Any
    norm_mlp: Any
    mlp: Any


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
            self._layers = [_layer(block, model.bridge.cfg) for block in model.bridge.blocks]
        except (AttributeError, TypeError) as error:
            raise UnsupportedModelError(
                f"{model.name}: its blocks lack a part that the engine needs ({error}). {WORKING}"
            ) from None
        self.mix_dtype = torch.float32
        group = self.graph.n_heads // self.graph.n_kv_heads
        self._kv_of_head = torch.arange(self.graph.n_heads, device=self.device) // group
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
        other = copy.copy(self)
        other.mix_dtype = dtype
        other._layers = [replace(layer, mlp=_Cast(layer.mlp, dtype)) for layer in self._layers]
        return other

    # -- plain passes ----------------------------------------------------------------------------

    @torch.no_grad()
    def trace(self, tokens: Int[Tensor, "batch pos"], last: Int[Tensor, " batch"]) -> Trace:
        """Run the unmasked model and keep what each layer read and wrote."""
        resid = embed = self.embed(tokens)
        rotary = self._rotary_tables(embed)
        layers = []
        for layer in self._layers:
            attn_in = resid
            slots = _project(layer.norm_attn(attn_in)[None], layer.w_in, layer.b_in)
            q, k, v = self._split(slots)
            k, v = k[self._kv_of_head], v[self._kv_of_head]
            z = _pattern(q, k, rotary, layer.scale) @ v
            attn_out = torch.einsum("hbpe,hed->bpd", z, layer.w_out) + layer.b_out
            mlp_in = attn_in if self.graph.parallel else attn_in + attn_out
            mlp_out = layer.mlp(layer.norm_mlp(mlp_in))
            layers.append(LayerTrace(attn_in, mlp_in, slots, z, mlp_out))
            resid = attn_in + attn_out + mlp_out
        return Trace(embed, tuple(layers), _at(resid, last))

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
        return self.model.bridge.unembed(self.model.bridge.ln_final(final[:, None]))[:, 0].float()

    @torch.no_grad()
    def patterns(self, trace: Trace, layer: int) -> Float[Tensor, "head batch query key"]:
        """Attention patterns of one layer of a plain pass."""
        q, k, _ = self._split(trace.layers[layer].slots)
        rotary = self._rotary_tables(trace.embed)
        return _pattern(q, k[self._kv_of_head], rotary, self._layers[layer].scale)

    def head_outputs_at(
        self, trace: Trace, layer: int, positions: Int[Tensor, " batch"]
    ) -> Float[Tensor, "head batch d_model"]:
        """What each head of a layer wrote at one position per prompt in a plain pass (without b_O)."""
        z = trace.layers[layer].z[:, torch.arange(len(positions), device=self.device), positions]
        return torch.einsum("hbe,hed->hbd", z, self._layers[layer].w_out)

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
        block = self._layers[layer]
        heads, kv = self.graph.n_heads, int(self._kv_of_head[head])
        row = {"q": head, "k": heads + kv, "v": heads + self.graph.n_kv_heads + kv}[slot]
        out = block.norm_attn(resid) @ block.w_in[row] + block.b_in[row]
        tables = self._rotary_tables(resid.new_zeros(1, int(positions.max()) + 1, 1))
        if tables is None or slot == "v":
            return out
        return _rotate(out, tuple(table[positions] for table in tables))

    def keys_values(
        self, trace: Trace, layer: int, head: int
    ) -> tuple[Float[Tensor, "batch pos d_head"], Float[Tensor, "batch pos d_head"]]:
        """Rotated keys and values that a query head sees in a plain pass."""
        _, k, v = self._split(trace.layers[layer].slots)
        kv = int(self._kv_of_head[head])
        return _rotate(k, self._rotary_tables(trace.embed))[kv], v[kv]

    def scale(self, layer: int) -> float:
        return self._layers[layer].scale

    def output_weight(self, layer: int, head: int) -> Float[Tensor, "d_head d_model"]:
        return self._layers[layer].w_out[head]

    # -- the masked pass -------------------------------------------------------------------------

    def logits(
        self,
        mask: Float[Tensor, "writer reader"],
        clean_embed: Float[Tensor, "batch pos d_model"],
        corrupt: Trace,
        last: Int[Tensor, " batch"],
        *,
        contract: Float[Tensor, "writer batch pos d_model"] | None = None,
        tape: Tape | None = None,
    ) -> Float[Tensor, "batch vocab"]:
        """Logits at the scored position when edge (w, r) carries ``mask[w, r]`` of w's delta.

        Args:
            mask: any real numbers; entries that are exactly 0 cost nothing. Its gradient is that of
                the formula in the module docstring.
            clean_embed: what the ``input`` writer puts out (`embed` of the clean prompt).
            corrupt: trace of the corrupt prompt, same shape.
            last: scored position of each prompt.
            contract: if given, the mask's gradient uses these deltas instead of the live ones
                (EAP-IG differentiates at one point and multiplies by the delta of another).
            tape: a `Tape` to fill, for callers that want the deltas.
        """
        plan = Plan(self.graph, mask)
        tape = tape or Tape()
        tape.begin(plan, mask, clean_embed, contract, self.mix_dtype)
        token = Start.apply(mask, tape)
        rotary = self._rotary_tables(clean_embed)
        if plan.writes_input:
            token = Write.apply((clean_embed - corrupt.embed)[None], None, token, tape, 0)
        for index, (layer, kept) in enumerate(zip(self._layers, corrupt.layers, strict=True)):
            parts = [self._attention_layer, self._mlp_layer]
            for part in parts:
                token = part(plan, tape, token, index, layer, kept, rotary)
        column = len(self.graph.readers) - 1
        final = corrupt.final
        if plan.columns([column]):
            final = final + _at(Read.apply(token, tape, [column])[0], last)
        else:  # nothing is live: the logits still hang on the mask, with gradient 0
            final = final + token
        return self.unembed(final)

    def _attention_layer(
        self, plan: Plan, tape: Tape, token: Tensor, index: int, layer: _Layer, kept: LayerTrace,
        rotary: Any,
    ) -> Tensor:  # fmt: skip
        heads = plan.heads[index]
        if not heads:
            return token
        first = plan.first_reader[index]
        read = plan.columns(range(first, first + len(layer.w_in)))
        slots = torch.tensor([column - first for column in read], device=self.device)
        x = kept.attn_in + Read.apply(token, tape, read)
        live = _project(layer.norm_attn(x), layer.w_in[slots], layer.b_in[slots])
        # The slots of the heads to compute: live ones where an edge enters, else the corrupt ones.
        chosen = torch.tensor(heads, device=self.device)
        place = {int(slot): row for row, slot in enumerate(slots)}
        n_heads, n_kv = self.graph.n_heads, self.graph.n_kv_heads
        kv = self._kv_of_head[chosen]

        def slot_values(wanted: Tensor) -> Tensor:
            wanted_slots = [int(slot) for slot in wanted]
            rows = [place.get(slot) for slot in wanted_slots]
            if all(row is None for row in rows):
                return kept.slots[wanted]
            if None not in rows:
                return live[torch.tensor(rows, device=self.device)]
            pool = torch.cat([live, kept.slots[wanted]])
            at = [len(live) + i if row is None else row for i, row in enumerate(rows)]
            return pool[torch.tensor(at, device=self.device)]

        q, k, v = (slot_values(w) for w in (chosen, n_heads + kv, n_heads + n_kv + kv))
        z = _pattern(q, k, rotary, layer.scale) @ v
        row = plan.row[1 + index * (n_heads + 1) + heads[0]]
        return Write.apply(z - kept.z[chosen], layer.w_out[chosen], token, tape, row)

    def _mlp_layer(
        self, plan: Plan, tape: Tape, token: Tensor, index: int, layer: _Layer, kept: LayerTrace,
        rotary: Any,
    ) -> Tensor:  # fmt: skip
        writer = (index + 1) * (self.graph.n_heads + 1)
        if writer not in plan.row:
            return token
        column = plan.first_reader[index] + len(layer.w_in)
        x = kept.mlp_in + Read.apply(token, tape, [column])[0]
        delta = layer.mlp(layer.norm_mlp(x)) - kept.mlp_out
        return Write.apply(delta[None], None, token, tape, plan.row[writer])

    # -- attention -------------------------------------------------------------------------------

    def _split(self, slots: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        heads, kv = self.graph.n_heads, self.graph.n_kv_heads
        return slots[:heads], slots[heads : heads + kv], slots[heads + kv :]

    def _rotary_tables(self, like: Float[Tensor, "batch pos d_model"]) -> Any:
        if self._rotary is None:
            return None
        positions = torch.arange(like.shape[1], device=self.device)[None]
        cos, sin = self._rotary(like, positions)
        return cos[0], sin[0]

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


class _Cast:
    """An MLP with its weights copied to another dtype; takes and gives float32."""

    def __init__(self, mlp: Any, dtype: torch.dtype) -> None:
        self.mlp, self.dtype = copy.deepcopy(mlp.original_component).to(dtype), dtype

    def __call__(self, x: Tensor) -> Tensor:
        return self.mlp(x.to(self.dtype)).to(x.dtype)


def _layer(block: Any, cfg: Any) -> _Layer:
    attn = block.attn
    w_in = torch.cat([attn.W_Q, attn.W_K, attn.W_V]).detach().contiguous()
    biases = [getattr(attn, name, None) for name in ("b_Q", "b_K", "b_V")]
    b_in = (
        w_in.new_zeros(len(w_in), w_in.shape[-1])
        if biases[0] is None
        else torch.cat([b for b in biases if b is not None]).detach()
    )
    b_out = getattr(attn, "b_O", None)
    scale = getattr(attn.original_component, "scaling", None)
    return _Layer(
        w_in,
        b_in[:, None],
        attn.W_O.detach().contiguous(),
        0.0 if b_out is None else b_out.detach(),
        float(w_in.shape[-1] ** -0.5 if scale is None else scale),
        block.ln1,
        block.ln2,
        block.mlp,
    )


def _project(
    x: Float[Tensor, "reader batch pos d_model"],
    weight: Float[Tensor, "slot d_model d_head"],
    bias: Float[Tensor, "slot 1 d_head"],
) -> Float[Tensor, "slot batch pos d_head"]:
    """Each slot's projection of its own reader input (or of one that all share)."""
    flat = x.flatten(1, 2).expand(len(weight), -1, -1)
    return (torch.bmm(flat, weight) + bias).unflatten(1, x.shape[1:3])


def _pattern(q: Tensor, k: Tensor, rotary: Any, scale: float) -> Tensor:
    """Causal attention pattern [head, batch, query, key]; at these lengths faster than fused kernels."""
    scores = _rotate(q, rotary) @ _rotate(k, rotary).mT * scale
    future = torch.ones(scores.shape[-2:], device=scores.device, dtype=torch.bool).triu(1)
    return scores.masked_fill(future, float("-inf")).softmax(-1)


def _rotate(x: Float[Tensor, "*axes d_head"], tables: Any) -> Tensor:
    """Rotary position embedding on the first ``cos.shape[-1]`` dimensions (all, or NeoX's share)."""
    if tables is None:
        return x
    cos, sin = tables
    turned, rest = x[..., : cos.shape[-1]], x[..., cos.shape[-1] :]
    left, right = turned.chunk(2, dim=-1)
    turned = turned * cos + torch.cat([-right, left], dim=-1) * sin
    return torch.cat([turned, rest], dim=-1) if rest.shape[-1] else turned


def _at(x: Tensor, last: Int[Tensor, " batch"]) -> Tensor:
    """Rows of ``x[batch, pos, …]`` at each prompt's scored position."""
    return x[torch.arange(len(last), device=x.device), last]
