"""What a cut edge carries: the corrupt run (resample), an average run (mean), or nothing (zero).

The masked pass needs only a base for every reader and a value for every writer::

    reader_r = base_r + sum over writers w before r of  m[w, r] * (live_w - value_w)
    base_r   = biases + sum over writers w before r of  value_w

For **resample** ablation both come from one run on the corrupt prompt, which is how the rest of the
engine works. Here they are put together from any values of the writers, as another `Trace`:

* **mean**: each writer's average output over the corrupt prompts of the same length, position by
  position (the published IOI circuit was tested with means over prompts of the same template);
* **zero**: every writer silent, biases kept.

One thing changes. Under resample ablation a component that no kept edge feeds computes exactly its
corrupt output. Its average output is *not* what it computes from average inputs, so under mean or zero
ablation such a component still adds something: no edge is dead, nothing is removed. `mask` therefore
gives cut edges the weight `ALIVE`: too small to change any float32 sum, but not 0, so that the masked
pass computes every component.

The same circuit can score very differently under the three, so every number carries its ablation.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from hap_engine.errors import SettingsError, UnknownNameError
from hap_engine.graph.circuit import Circuit
from hap_engine.masked.masked_pass import MaskedModel
from hap_engine.masked.self_check import check_prompts
from hap_engine.tasks.pair import EncodedPair
from hap_engine.transformer.batches import Batch, in_batches
from hap_engine.transformer.plain_pass import Trace, at_last
from hap_engine.words import say

ABLATIONS = ("resample", "mean", "zero")
ALIVE = 1e-20  # times a delta of 10^6 this is still nothing beside a residual stream of size 1


# What every writer puts out: the embedding, then of each layer its heads (`z`, before their output weights, at the
# scale at which they write), its MLP, and that scale. Norm writers put out nothing: they carry what a change of scale
# adds.
Outputs = list[Tensor]  # [..., pos, d]; a batch is the axis before pos


class Ablation:
    """The bases of one kind of ablation for a fixed set of prompts.

    Raises:
        UnknownNameError: for a kind that does not exist.
        SettingsError: for mean and zero on a positional graph, whose edges are those that a corrupted prompt can move.
        UnsupportedModelError: if the engine computes the prompts otherwise than the model does.
    """

    def __init__(self, masked: MaskedModel, pairs: Sequence[EncodedPair], kind: str) -> None:
        if kind not in ABLATIONS:
            raise UnknownNameError("ablation", kind, ABLATIONS)
        if kind != "resample" and masked.graph.positional:
            raise SettingsError(say("masked.ablation_at_spans", kind=kind))
        check_prompts(masked, pairs)
        self.masked, self.kind = masked, kind
        self._means = _means_by_length(masked, pairs) if kind == "mean" else {}

    def base(self, batch: Batch) -> Trace:
        """The trace that stands in for the corrupt one."""
        if self.kind == "resample":
            return self.masked.trace(batch.corrupt, batch.last)
        if self.kind == "zero":
            embed, *layers = _outputs(self.masked.trace(batch.corrupt, batch.last))
            silent = [x if index % 3 == 2 else torch.zeros_like(x) for index, x in enumerate(layers)]  # scales stay
            outputs = [torch.zeros_like(embed), *silent]
        else:
            length = batch.corrupt.shape[1]
            rows = ([_padded(x, length) for x in self._means[int(end) + 1]] for end in batch.last)
            outputs = [torch.stack(same, dim=-3) for same in zip(*rows, strict=True)]
        return assemble(self.masked, outputs, batch.last)

    def mask(self, circuit: Circuit) -> Float[Tensor, "writer reader"]:
        """The mask of a circuit; see the module docstring for cut edges."""
        kept = torch.from_numpy(circuit.kept).to(self.masked.device).float()
        if self.kind == "resample":
            return kept
        real = torch.from_numpy(circuit.graph.edge_mask).to(self.masked.device).float()
        return torch.maximum(kept, ALIVE * real)


def title(kind: str, corruption: str) -> str:
    """The tag of every number: what was put in place of cut edges, and from where."""
    sources = {"resample": f" ({corruption})", "mean": f" ({corruption}, prompts of equal length)"}
    return kind + sources.get(kind, "")


@torch.no_grad()
def assemble(masked: MaskedModel, outputs: Outputs, last: Int[Tensor, " batch"]) -> Trace:
    """The residual streams that arise when every writer puts out a given value."""
    resid, layers = outputs[0], []
    for block, z, mlp_out, shrink in zip(masked.blocks, outputs[1::3], outputs[2::3], outputs[3::3], strict=True):
        resid = resid.to(block.device)
        slots = block.slots(resid)
        mlp_in, after = masked.after_attention(block, resid, block.written_at(z, shrink))
        layers.append((mlp_in, slots, z / shrink, mlp_out, shrink))
        resid = after + mlp_out
    return masked.traced(outputs[0], layers, at_last(resid.to(masked.device), last))


def _outputs(trace: Trace) -> Outputs:
    parts = (part for layer in trace.layers for part in (layer.z * layer.shrink, layer.mlp_out, layer.shrink))
    return [trace.embed, *map(trace.whole, parts)]


def _means_by_length(masked: MaskedModel, pairs: Sequence[EncodedPair]) -> dict[int, Outputs]:
    """Mean outputs over the corrupt prompts of each length (in tokens)."""
    by_length: dict[int, list[EncodedPair]] = {}
    for pair in pairs:
        by_length.setdefault(len(pair.corrupt_ids), []).append(pair)
    means = {}
    for length, alike in by_length.items():
        batches = (batch for _, batch in in_batches(alike, 32, masked.device))
        sums = ([x.sum(-3) for x in _outputs(masked.trace(batch.corrupt, batch.last))] for batch in batches)
        means[length] = [sum(same) * (1 / len(alike)) for same in zip(*sums, strict=True)]
    return means


def _padded(x: Float[Tensor, "*axes pos d"], length: int) -> Float[Tensor, "*axes length d"]:
    return torch.cat([x, x[..., -1:, :].expand(*x.shape[:-2], length - x.shape[-2], -1)], dim=-2)
