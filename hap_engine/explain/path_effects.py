"""Evidence about what a head does: attention, direct effects and single paths patched (Wang et al. 2022).

All of it comes from two plain passes over the same prompts, clean and corrupt (`TwoPasses`):

* `measure_heads`: **attention** at the task's role positions (END→IO, END→S1, …) and the **direct effect**: the
  head's edge to ``logits`` alone carries the corrupt run; reported is by how much the logit difference
  falls (positive: the head argues for IO).
* **Path effects**: one path alone carries the corrupt run, everything else stays clean, and the
  attention of the head at the path's end is compared. `mover_effects`: head → name movers' queries at END, and
  how much of their attention moves from IO to S. `inhibition_effects`: head → S-inhibition heads'
  keys and values at S2 → name movers' queries. `induction_effects`: head → induction heads' keys at S1+1.
* `copy_scores`: does a head's **OV circuit** copy? The name at IO, as block 0 leaves it, goes through the head's
  value and output weights alone; the score is how often the name is then among the `TOP` tokens
  (negative score: among the `TOP` of the negated output).

No hooks and no forward passes beyond the two: every path needs a few matrix products.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from hap_engine.masked.masked_pass import MaskedModel
from hap_engine.tasks.pair import EncodedPair
from hap_engine.transformer.batches import to_batch
from hap_engine.transformer.plain_pass import Trace

PAIRS = (("END", "IO"), ("END", "S1"), ("END", "S2"), ("S2", "S1"), ("S2", "S1+1"), ("S1+1", "S1"))
TOP = 5  # Wang et al. 2022


@dataclass(frozen=True, eq=False)
class TwoPasses:
    """Clean and corrupt traces of the probed prompts with the positions of their roles."""

    masked: MaskedModel
    clean: Trace
    corrupt: Trace
    at: Mapping[str, Int[Tensor, " batch"]]
    answer: Tensor
    distractor: Tensor

    def delta(self, layer: int, role: str) -> Float[Tensor, "head batch d_model"]:
        """Clean minus corrupt output of a layer's heads at a role's position."""
        at = self.at[role]
        runs = (self.masked.head_outputs_at(run, layer, at, self.corrupt) for run in (self.clean, self.corrupt))
        return next(runs) - next(runs)

    def upstream(self, layer: int, role: str) -> Float[Tensor, "head batch d_model"]:
        """`delta` of all heads before a layer, in graph order."""
        return torch.cat([self.delta(earlier, role) for earlier in range(layer)])

    def resid(self, layer: int, role: str) -> Float[Tensor, "batch d_model"]:
        return self.clean.at(self.clean.tokens(self.at[role])).attn_in(layer)


@torch.no_grad()
def measure_heads(passes: TwoPasses) -> dict[str, dict[str, np.ndarray]]:
    """Evidence per prompt for every head: attention at `PAIRS` and ``direct_effect``.

    Prompts whose task names no IOI roles give the direct effect only.
    """
    masked = passes.masked
    found: dict[str, dict[str, np.ndarray]] = {head: {} for head in masked.graph.heads}
    for layer in range(masked.graph.n_layers):
        effects = direct_effects(passes, layer)
        pattern = masked.patterns(passes.clean, layer)
        for head in range(masked.graph.n_heads):
            evidence = found[f"a{layer}.h{head}"]
            evidence["direct_effect"] = effects[head].cpu().numpy()
            for query, key in PAIRS:
                if query in passes.at and key in passes.at:
                    values = _cells(pattern[head], passes.at[query], passes.at[key])
                    evidence[f"{query}->{key}"] = values.cpu().numpy()
    return found


@torch.no_grad()
def two_passes(masked: MaskedModel, pairs: Sequence[EncodedPair]) -> TwoPasses:
    batch = to_batch(pairs, masked.device)
    shared = set.intersection(*(set(pair.roles) for pair in pairs))
    at = {role: torch.tensor([pair.roles[role] for pair in pairs], device=masked.device) for role in shared}
    return TwoPasses(
        masked,
        masked.trace(batch.clean, batch.last),
        masked.trace(batch.corrupt, batch.last),
        at | {"END": batch.last},
        batch.answer,
        batch.distractor,
    )


def direct_effects(passes: TwoPasses, layer: int) -> Float[Tensor, "head batch"]:
    final = passes.clean.final
    without = final - passes.delta(layer, "END")
    return logit_differences(passes, final[None]) - logit_differences(passes, without)


def logit_differences(passes: TwoPasses, final: Float[Tensor, "sender batch d_model"]) -> Float[Tensor, "sender batch"]:
    def level(ids: Int[Tensor, "batch tokens"]) -> Float[Tensor, "sender batch"]:
        logits = passes.masked.unembed.of_tokens(final, ids.clamp(min=0))
        return logits.masked_fill(ids < 0, float("-inf")).logsumexp(-1)

    return level(passes.answer) - level(passes.distractor)


def _preference(passes: TwoPasses, pattern: Float[Tensor, "sender batch key"]) -> Float[Tensor, "sender batch"]:
    """Attention to IO minus attention to S (both mentions)."""
    rows = torch.arange(pattern.shape[1], device=pattern.device)
    parts = {role: pattern[:, rows, passes.at[role]] for role in ("IO", "S1", "S2")}
    return parts["IO"] - parts["S1"] - parts["S2"]


def _query_effect(
    passes: TwoPasses, layer: int, head: int, delta: Float[Tensor, "sender batch d_model"]
) -> Float[Tensor, "sender batch"]:
    """How much a mover's preference for IO falls when `delta` is taken out of its query input."""
    resid = passes.resid(layer, "END")
    stack = torch.cat([resid[None], resid - delta])
    end = passes.at["END"]
    query = passes.masked.slot_at(layer, "q", head, stack), end
    preference = _preference(passes, passes.masked.attended(passes.clean, layer, head, end, {"q": query})[0])
    return preference[:1] - preference[1:]


def mover_effects(passes: TwoPasses, movers: list[tuple[int, int]], roll: int = 0) -> Float[Tensor, "head batch"]:
    """Mean over movers of the effect of each earlier head on their queries (0 for later heads).

    With `roll`, each prompt gets the change of the prompt so many places before it: the baseline of a
    change of the same kind that says nothing about this prompt.
    """
    total = torch.zeros(len(passes.masked.graph.heads), len(passes.answer), device=passes.masked.device)
    for layer, head in movers:
        if layer:
            effect = _query_effect(passes, layer, head, passes.upstream(layer, "END").roll(roll, dims=1))
            total[: len(effect)] += effect / len(movers)
    return total


def inhibition_effects(
    passes: TwoPasses, inhibitors: list[tuple[int, int]], movers: list[tuple[int, int]]
) -> Float[Tensor, "head batch"]:
    """Effect on the movers of each head through the inhibitors' keys and values at S2."""
    masked, count = passes.masked, len(passes.masked.graph.heads)
    total = torch.zeros(count, len(passes.answer), device=masked.device)
    shifts = {place: _output_shift(passes, *place) for place in inhibitors if place[0]}
    for layer, head in movers:
        delta = torch.zeros(count, *passes.resid(layer, "END").shape, device=masked.device)
        for (earlier, _), shift in shifts.items():
            if earlier < layer:
                delta[: len(shift)] += shift
        total += _query_effect(passes, layer, head, delta) / len(movers)
    return total


def _output_shift(passes: TwoPasses, layer: int, head: int) -> Float[Tensor, "sender batch d_model"]:
    """What a head's output at END loses when each earlier head's edge into its k and v at S2 is cut."""
    masked, s2 = passes.masked, passes.at["S2"]
    stack = torch.cat([passes.resid(layer, "S2")[None], passes.resid(layer, "S2") - passes.upstream(layer, "S2")])
    given = {slot: (masked.slot_at(layer, slot, head, stack), s2) for slot in "kv"}
    _, z = masked.attended(passes.clean, layer, head, passes.at["END"], given)
    block = masked.blocks[layer]
    shrink = passes.corrupt.at(passes.corrupt.tokens(passes.at["END"]).to(block.device)).shrink(layer)
    out = (z.to(block.device) * shrink @ block.w_heads[head]).to(masked.device)
    return out[:1] - out[1:]


def induction_effects(passes: TwoPasses, inductors: list[tuple[int, int]]) -> Float[Tensor, "head batch"]:
    """How much of the inductors' attention S2→S1+1 each earlier head carries through their keys."""
    masked = passes.masked
    total = torch.zeros(len(masked.graph.heads), len(passes.answer), device=masked.device)
    rows = torch.arange(len(passes.answer), device=masked.device)
    for layer, head in inductors:
        if not layer:
            continue
        resid, at = passes.resid(layer, "S1+1"), passes.at["S1+1"]
        stack = torch.cat([resid[None], resid - passes.upstream(layer, "S1+1")])
        key = masked.slot_at(layer, "k", head, stack), at
        pattern, _ = masked.attended(passes.clean, layer, head, passes.at["S2"], {"k": key})
        carried = pattern[:1, rows, at] - pattern[1:, rows, at]
        total[: len(carried)] += carried / len(inductors)
    return total


def _cells(pattern: Tensor, query: Tensor, key: Tensor) -> Tensor:
    return pattern[torch.arange(len(query), device=pattern.device), query, key]


@torch.no_grad()
def copy_scores(passes: TwoPasses, layer: int, head: int) -> tuple[float, float]:
    """How often the name at IO is among the top tokens that the head's OV circuit writes, and that its
    negation writes. 0 in layer 0, where no name has passed a block yet."""
    masked = passes.masked
    if not layer:
        return 0.0, 0.0
    written = masked.copied(layer, head, masked.slot_at(layer, "v", head, passes.resid(1, "IO")[None])[0])
    best = masked.unembed(torch.stack([written, -written])).topk(TOP, dim=-1).indices
    positive, negative = (best == passes.answer[:, :1]).any(-1).float().mean(-1).tolist()
    return positive, negative
