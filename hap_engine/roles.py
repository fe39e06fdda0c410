"""Which role each head plays in IOI, by evidence measured on this model (Wang et al. 2022).

Three kinds of evidence, all means over clean prompts with the abc-corrupted run as the source:

* **Attention** at the task's role positions: END→IO, END→S1, END→S2, S2→S1, S2→S1+1, S1+1→S1.
* **Direct effect** on the logits: the head's edge to ``logits`` alone carries the corrupt run; reported
  is by how much the logit difference falls (positive: the head argues for IO).
* **Path effect**: one path alone carries the corrupt run, everything else stays clean, and the
  attention of the head at the end of the path is compared. For S-inhibition the path is head →
  name movers' queries at END, and the effect is how much of the mover's attention moves from IO to S.
  For duplicate-token and induction heads it is head → S-inhibition heads' keys and values at S2 →
  name movers' queries. For previous-token heads it is head → induction heads' keys at S1+1.

A head has a role if its attention passes `ATTENTION` and its effect passes both `EFFECT` and three
standard errors over prompts. The thresholds are stated in the run beside the numbers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from hap_engine.batches import to_batch
from hap_engine.patching import MaskedModel, Trace
from hap_engine.tasks.base import EncodedPair

PAIRS = (
    ("END", "IO"), ("END", "S1"), ("END", "S2"),
    ("S2", "S1"), ("S2", "S1+1"), ("S1+1", "S1"),
)  # fmt: skip
ATTENTION = 0.2  # mean attention that a role's defining pair needs (chance at 17 tokens: 0.06)
DIRECT = 0.02  # share of the full logit difference that a name mover must carry on its own
EFFECT = 0.01  # mean change of attention that a path must cause
MOVERS = 8  # strongest name movers whose queries are watched; bounds the cost

# role: (attention pair, evidence key, sign of the evidence)
ROLES: dict[str, tuple[str, str, int]] = {
    "name_mover": ("END->IO", "direct_effect", +1),
    "negative_name_mover": ("END->IO", "direct_effect", -1),
    "s_inhibition": ("END->S2", "mover_effect", +1),
    "induction": ("S2->S1+1", "inhibition_effect", +1),
    "duplicate_token": ("S2->S1", "inhibition_effect", +1),
    "previous_token": ("S1+1->S1", "induction_effect", +1),
}

# GPT-2 small, Wang et al. 2022: 26 heads found by hand. Shown beside the measured roles.
PUBLISHED_GPT2 = {
    "name_mover": "9.9 10.0 9.6",
    "backup_name_mover": "10.10 10.6 10.2 10.1 11.2 9.7 9.0 11.9",
    "negative_name_mover": "10.7 11.10",
    "s_inhibition": "7.3 7.9 8.6 8.10",
    "induction": "5.5 5.8 5.9 6.9",
    "duplicate_token": "0.1 0.10 3.0",
    "previous_token": "2.2 4.11",
}

_WHAT = {
    "direct_effect": "alone moves the logit difference by {:+.2f}",
    "mover_effect": "moves {:.1%} of the name movers' attention from S to IO through their queries",
    "inhibition_effect": "moves {:.1%} of the name movers' attention through the S-inhibition heads",
    "induction_effect": "carries {:.1%} of the induction heads' attention to S1+1 through their keys",
}


def published_roles(model_name: str) -> dict[str, str] | None:
    """Head name to role for models with a published IOI circuit, else None."""
    if model_name.split("/")[-1] != "gpt2":
        return None
    return {
        f"a{head.split('.')[0]}.h{head.split('.')[1]}": role
        for role, heads in PUBLISHED_GPT2.items()
        for head in heads.split()
    }


@dataclass(frozen=True, eq=False)
class _Scene:
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
        clean = self.masked.head_outputs_at(self.clean, layer, at)
        return clean - self.masked.head_outputs_at(self.corrupt, layer, at)

    def upstream(self, layer: int, role: str) -> Float[Tensor, "head batch d_model"]:
        """`delta` of all heads before a layer, in graph order."""
        return torch.cat([self.delta(earlier, role) for earlier in range(layer)])

    def resid(self, layer: int, role: str) -> Float[Tensor, "batch d_model"]:
        rows = torch.arange(len(self.answer), device=self.masked.device)
        return self.clean.layers[layer].attn_in[rows, self.at[role]]


@torch.no_grad()
def measure_heads(
    masked: MaskedModel, pairs: Sequence[EncodedPair]
) -> dict[str, dict[str, np.ndarray]]:
    """Evidence per prompt for every head: attention at `PAIRS` and ``direct_effect``.

    Prompts whose task names no IOI roles give the direct effect only.
    """
    scene = _scene(masked, pairs)
    found: dict[str, dict[str, np.ndarray]] = {head: {} for head in masked.graph.heads}
    for layer in range(masked.graph.n_layers):
        effects = _direct_effects(scene, layer)
        pattern = masked.patterns(scene.clean, layer)
        for head in range(masked.graph.n_heads):
            evidence = found[f"a{layer}.h{head}"]
            evidence["direct_effect"] = effects[head].cpu().numpy()
            for query, key in PAIRS:
                if query in scene.at and key in scene.at:
                    values = _cells(pattern[head], scene.at[query], scene.at[key])
                    evidence[f"{query}->{key}"] = values.cpu().numpy()
    return found


@torch.no_grad()
def find_roles(
    masked: MaskedModel, pairs: Sequence[EncodedPair], evidence: Mapping[str, dict[str, np.ndarray]]
) -> dict[str, Any]:
    """The run file's ``roles``: measured role of each head with evidence and thresholds."""
    scene = _scene(masked, pairs)
    n_heads = masked.graph.n_heads
    names = masked.graph.heads
    full = float(_logit_differences(scene, scene.clean.final[None]).mean())
    limits = {"direct_effect": DIRECT * abs(full)}
    table = {head: dict(values) for head, values in evidence.items()}
    chosen: dict[str, dict[str, Any]] = {}

    def assign(*roles: str) -> list[str]:
        for head in names:
            for role in roles:
                if head not in chosen and _has_role(table[head], role, limits):
                    chosen[head] = _describe(table[head], role)
        return [head for head in names if chosen.get(head, {}).get("role") in roles]

    movers = assign("name_mover")
    assign("negative_name_mover")
    strongest = sorted(movers, key=lambda head: -table[head]["direct_effect"].mean())[:MOVERS]
    receivers = [divmod(names.index(head), n_heads) for head in strongest]
    _store(table, names, "mover_effect", _mover_effects(scene, receivers))
    inhibitors = [divmod(names.index(head), n_heads) for head in assign("s_inhibition")]
    _store(table, names, "inhibition_effect", _inhibition_effects(scene, inhibitors, receivers))
    inductors = [
        divmod(names.index(head), n_heads) for head in assign("induction", "duplicate_token")
        if chosen[head]["role"] == "induction"
    ]  # fmt: skip
    _store(table, names, "induction_effect", _induction_effects(scene, inductors))
    assign("previous_token")
    return {
        "thresholds": {"attention": ATTENTION, "direct_effect": limits["direct_effect"],
                       "path_effect": EFFECT, "standard_errors": 3},
        "n_prompts": len(pairs),
        "heads": chosen,
        "published": published_roles(masked.model.name),
    }  # fmt: skip


def summarise_heads(evidence: Mapping[str, dict[str, np.ndarray]]) -> dict[str, dict[str, Any]]:
    """Means of `measure_heads` for the run file's ``heads``."""
    return {
        head: {
            "direct_effect": float(values["direct_effect"].mean()),
            "attention": {
                key: round(float(numbers.mean()), 4)
                for key, numbers in values.items()
                if "->" in key
            },
        }
        for head, values in evidence.items()
    }


def _scene(masked: MaskedModel, pairs: Sequence[EncodedPair]) -> _Scene:
    batch = to_batch(pairs, masked.device)
    shared = set.intersection(*(set(pair.roles) for pair in pairs))
    at = {
        role: torch.tensor([pair.roles[role] for pair in pairs], device=masked.device)
        for role in shared | {"END"}
        if role in shared
    }
    at["END"] = batch.last
    return _Scene(
        masked,
        masked.trace(batch.clean, batch.last),
        masked.trace(batch.corrupt, batch.last),
        at,
        batch.answer,
        batch.distractor,
    )


def _direct_effects(scene: _Scene, layer: int) -> Float[Tensor, "head batch"]:
    final = scene.clean.final
    without = final - scene.delta(layer, "END")
    return _logit_differences(scene, final[None]) - _logit_differences(scene, without)


def _logit_differences(
    scene: _Scene, final: Float[Tensor, "sender batch d_model"]
) -> Float[Tensor, "sender batch"]:
    model = scene.masked.model
    weight = model.hf_model.get_output_embeddings().weight
    normed = model.bridge.ln_final(final)
    reference = weight[scene.distractor[:, 0]]  # cancels; a set of one token loses no digit to it

    def relative(ids: Int[Tensor, "batch tokens"]) -> Float[Tensor, "sender batch"]:
        parts = [
            (normed * (weight[column.clamp(min=0)] - reference))
            .sum(-1)
            .masked_fill(column < 0, float("-inf"))
            for column in ids.T
        ]
        return torch.stack(parts).logsumexp(0)

    return relative(scene.answer) - relative(scene.distractor)


def _attention_from(
    scene: _Scene, layer: int, head: int, query: Float[Tensor, "sender batch d_head"]
) -> Float[Tensor, "sender batch key"]:
    """Attention of one head at END for given queries, keys of the clean run."""
    keys, _ = scene.masked.keys_values(scene.clean, layer, head)
    scores = torch.einsum("sbe,bke->sbk", query, keys) * scene.masked.scale(layer)
    positions = torch.arange(keys.shape[1], device=keys.device)
    future = positions[None] > scene.at["END"][:, None]
    return scores.masked_fill(future[None], float("-inf")).softmax(-1)


def _preference(
    scene: _Scene, pattern: Float[Tensor, "sender batch key"]
) -> Float[Tensor, "sender batch"]:
    """Attention to IO minus attention to S (both mentions)."""
    rows = torch.arange(pattern.shape[1], device=pattern.device)
    parts = {role: pattern[:, rows, scene.at[role]] for role in ("IO", "S1", "S2")}
    return parts["IO"] - parts["S1"] - parts["S2"]


def _query_effect(
    scene: _Scene, layer: int, head: int, delta: Float[Tensor, "sender batch d_model"]
) -> Float[Tensor, "sender batch"]:
    """How much a mover's preference for IO falls when `delta` is taken out of its query input."""
    resid = scene.resid(layer, "END")
    stack = torch.cat([resid[None], resid - delta])
    query = scene.masked.slot_at(layer, "q", head, stack, scene.at["END"])
    preference = _preference(scene, _attention_from(scene, layer, head, query))
    return preference[:1] - preference[1:]


def _mover_effects(scene: _Scene, movers: list[tuple[int, int]]) -> Float[Tensor, "head batch"]:
    """Mean over movers of the effect of each earlier head on their queries (0 for later heads)."""
    total = torch.zeros(
        len(scene.masked.graph.heads), len(scene.answer), device=scene.masked.device
    )
    for layer, head in movers:
        if layer:
            effect = _query_effect(scene, layer, head, scene.upstream(layer, "END"))
            total[: len(effect)] += effect / len(movers)
    return total


def _inhibition_effects(
    scene: _Scene, inhibitors: list[tuple[int, int]], movers: list[tuple[int, int]]
) -> Float[Tensor, "head batch"]:
    """Effect on the movers of each head through the inhibitors' keys and values at S2."""
    masked, count = scene.masked, len(scene.masked.graph.heads)
    total = torch.zeros(count, len(scene.answer), device=masked.device)
    shifts = {place: _output_shift(scene, *place) for place in inhibitors if place[0]}
    for layer, head in movers:
        delta = torch.zeros(count, *scene.resid(layer, "END").shape, device=masked.device)
        for (earlier, _), shift in shifts.items():
            if earlier < layer:
                delta[: len(shift)] += shift
        total += _query_effect(scene, layer, head, delta) / len(movers)
    return total


def _output_shift(scene: _Scene, layer: int, head: int) -> Float[Tensor, "sender batch d_model"]:
    """What a head's output at END loses when each earlier head's edge into its k and v at S2 is cut."""
    masked, s2 = scene.masked, scene.at["S2"]
    stack = torch.cat(
        [scene.resid(layer, "S2")[None], scene.resid(layer, "S2") - scene.upstream(layer, "S2")]
    )
    key = masked.slot_at(layer, "k", head, stack, s2)
    value = masked.slot_at(layer, "v", head, stack, s2)
    query = masked.slot_at(layer, "q", head, scene.resid(layer, "END")[None], scene.at["END"])[0]
    keys, values = masked.keys_values(scene.clean, layer, head)
    scores = torch.einsum("be,bke->bk", query, keys).expand(len(stack), -1, -1).clone()
    rows = torch.arange(len(s2), device=masked.device)
    scores[:, rows, s2] = (query * key).sum(-1)
    future = torch.arange(keys.shape[1], device=masked.device)[None] > scene.at["END"][:, None]
    pattern = (scores * masked.scale(layer)).masked_fill(future, float("-inf")).softmax(-1)
    z = torch.einsum("sbk,bke->sbe", pattern, values)
    z += pattern[:, rows, s2, None] * (value - values[rows, s2])
    out = z @ masked.output_weight(layer, head)
    return out[:1] - out[1:]


def _induction_effects(
    scene: _Scene, inductors: list[tuple[int, int]]
) -> Float[Tensor, "head batch"]:
    """How much of the inductors' attention S2→S1+1 each earlier head carries through their keys."""
    masked = scene.masked
    total = torch.zeros(len(masked.graph.heads), len(scene.answer), device=masked.device)
    rows = torch.arange(len(scene.answer), device=masked.device)
    for layer, head in inductors:
        if not layer:
            continue
        resid, at = scene.resid(layer, "S1+1"), scene.at["S1+1"]
        stack = torch.cat([resid[None], resid - scene.upstream(layer, "S1+1")])
        key = masked.slot_at(layer, "k", head, stack, at)
        query = masked.slot_at(layer, "q", head, scene.resid(layer, "S2")[None], scene.at["S2"])[0]
        keys, _ = masked.keys_values(scene.clean, layer, head)
        scores = torch.einsum("be,bke->bk", query, keys).expand(len(stack), -1, -1).clone()
        scores[:, rows, at] = (query * key).sum(-1)
        future = torch.arange(keys.shape[1], device=masked.device)[None] > scene.at["S2"][:, None]
        pattern = (scores * masked.scale(layer)).masked_fill(future, float("-inf")).softmax(-1)
        carried = pattern[:1, rows, at] - pattern[1:, rows, at]
        total[: len(carried)] += carried / len(inductors)
    return total


def _cells(pattern: Tensor, query: Tensor, key: Tensor) -> Tensor:
    return pattern[torch.arange(len(query), device=pattern.device), query, key]


def _store(
    table: dict[str, dict[str, Any]], names: Sequence[str], key: str, values: Tensor
) -> None:
    for head, row in zip(names, values.cpu().numpy(), strict=True):
        table[head][key] = row


def _has_role(evidence: Mapping[str, np.ndarray], role: str, limits: Mapping[str, float]) -> bool:
    pair, key, sign = ROLES[role]
    if pair not in evidence or key not in evidence:
        return False
    values = sign * evidence[key]
    error = values.std() / max(1, len(values)) ** 0.5
    strong = values.mean() >= max(limits.get(key, EFFECT), 3 * error)
    return bool(evidence[pair].mean() >= ATTENTION and strong)


def _describe(evidence: Mapping[str, np.ndarray], role: str) -> dict[str, Any]:
    pair, key, _ = ROLES[role]
    attention, effect = float(evidence[pair].mean()), float(evidence[key].mean())
    return {
        "role": role,
        "evidence": {f"attention {pair}": round(attention, 4), key: round(effect, 5)},
        "sentence": f"{pair.replace('->', '→')} attention {attention:.2f}; "
        + _WHAT[key].format(effect)
        + ".",
    }
