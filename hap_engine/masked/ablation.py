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

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial, reduce

import torch
from jaxtyping import Float, Int
from torch import Tensor

from hap_engine.errors import UnknownNameError
from hap_engine.graph.circuit import Circuit
from hap_engine.masked.masked_pass import MaskedModel
from hap_engine.tasks.pair import EncodedPair
from hap_engine.transformer.batches import Batch, in_batches
from hap_engine.transformer.plain_pass import Trace, at_last

ABLATIONS = ("resample", "mean", "zero")
ALIVE = 1e-20  # times a delta of 10^6 this is still nothing beside a residual stream of size 1


@dataclass(frozen=True, eq=False)
class Outputs:
    """What every writer puts out (heads as `z`, before their output weights, at the scale at which they write), and
    that scale. Norm writers put out nothing: they carry what a change of scale adds."""

    embed: Float[Tensor, "*batch pos d_model"]
    z: tuple[Float[Tensor, "head *batch pos d_head"], ...]
    mlp: tuple[Float[Tensor, "*batch pos d_model"], ...]
    shrink: tuple[Float[Tensor, "*batch pos 1"], ...]


class Ablation:
    """The bases of one kind of ablation for a fixed set of prompts.

    Raises:
        UnknownNameError: for a kind that does not exist.
    """

    def __init__(self, masked: MaskedModel, pairs: Sequence[EncodedPair], kind: str) -> None:
        if kind not in ABLATIONS:
            raise UnknownNameError("ablation", kind, ABLATIONS)
        self.masked, self.kind = masked, kind
        self._means = _means_by_length(masked, pairs) if kind == "mean" else {}

    def base(self, batch: Batch) -> Trace:
        """The trace that stands in for the corrupt one."""
        if self.kind == "resample":
            return self.masked.trace(batch.corrupt, batch.last)
        if self.kind == "zero":
            found = _outputs(self.masked.trace(batch.corrupt, batch.last))
            outputs = replace(_map(torch.zeros_like, found), shrink=found.shrink)
        else:
            length = batch.corrupt.shape[1]
            rows = [self._means[int(end) + 1] for end in batch.last]
            outputs = _stack([_map(lambda x: _padded(x, length), row) for row in rows])
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
    resid, layers = outputs.embed, []
    for block, z, mlp_out, shrink in zip(masked.blocks, outputs.z, outputs.mlp, outputs.shrink, strict=True):
        slots = block.slots(resid)
        mlp_in, after = masked.after_attention(block, resid, block.written_at(z, shrink))
        layers.append((mlp_in, slots, z / shrink, mlp_out, shrink))
        resid = after + mlp_out
    return masked.traced(outputs.embed, layers, at_last(resid, last))


def _outputs(trace: Trace) -> Outputs:
    return Outputs(
        trace.embed,
        tuple(trace.whole(layer.z * layer.shrink) for layer in trace.layers),
        tuple(trace.whole(layer.mlp_out) for layer in trace.layers),
        tuple(trace.whole(layer.shrink) for layer in trace.layers),
    )


def _means_by_length(masked: MaskedModel, pairs: Sequence[EncodedPair]) -> dict[int, Outputs]:
    """Mean outputs over the corrupt prompts of each length (in tokens)."""
    by_length: dict[int, list[EncodedPair]] = {}
    for pair in pairs:
        by_length.setdefault(len(pair.corrupt_ids), []).append(pair)
    means = {}
    for length, alike in by_length.items():
        parts = [
            _map(partial(torch.sum, dim=-3), _outputs(masked.trace(batch.corrupt, batch.last)))
            for _, batch in in_batches(alike, 32, masked.device)
        ]
        means[length] = _map(partial(torch.mul, other=1 / len(alike)), reduce(_add, parts))
    return means


def _map(change: Callable[[Tensor], Tensor], outputs: Outputs) -> Outputs:
    parts = (tuple(map(change, part)) for part in (outputs.z, outputs.mlp, outputs.shrink))
    return Outputs(change(outputs.embed), *parts)


def _add(first: Outputs, second: Outputs) -> Outputs:
    both = ((first.z, second.z), (first.mlp, second.mlp), (first.shrink, second.shrink))
    return Outputs(first.embed + second.embed, *(tuple(map(torch.add, *pair)) for pair in both))


def _stack(rows: Sequence[Outputs]) -> Outputs:
    """Outputs of single prompts as one batch; batch is the axis before pos."""
    return Outputs(
        torch.stack([row.embed for row in rows]),
        tuple(torch.stack(same, dim=1) for same in zip(*(row.z for row in rows), strict=True)),
        tuple(torch.stack(same) for same in zip(*(row.mlp for row in rows), strict=True)),
        tuple(torch.stack(same) for same in zip(*(row.shrink for row in rows), strict=True)),
    )


def _padded(x: Float[Tensor, "*axes pos d"], length: int) -> Float[Tensor, "*axes length d"]:
    return torch.cat([x, x[..., -1:, :].expand(*x.shape[:-2], length - x.shape[-2], -1)], dim=-2)
