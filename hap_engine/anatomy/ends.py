"""The two ends of a model: what enters its first layer, and the logits of what leaves the last.

Both are found by asking (`Skeleton.embed`, `Skeleton.logits`). Nearly every model looks its tokens (and positions) up
and reads the stream through one norm and one linear part, whose answers it may scale and cap: where that gives the
same, it is what is computed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import Embedding

from hap_engine.anatomy.norms import CLOSE, Apply, GainedNorm, call_norm, eps_of, read_norm
from hap_engine.anatomy.skeleton import PROBE, Skeleton
from hap_engine.anatomy.twins import same, watch

LARGE = 1e6  # a logit that is beyond every cap


@dataclass(frozen=True, eq=False)
class Entrance:
    """Tables in which tokens and, where they are learned, positions are looked up; without one the model is asked."""

    skeleton: Skeleton
    tokens: Any = None
    positions: Any = None
    offset: int = 0

    @torch.no_grad()
    def __call__(self, tokens: Int[Tensor, "batch pos"]) -> Float[Tensor, "batch pos d_model"]:
        if self.tokens is None:
            return self.skeleton.embed(tokens)
        out: Tensor = self.tokens(tokens)
        if self.positions is None:
            return out
        places = self.offset + torch.arange(tokens.shape[1], device=tokens.device)
        return out + self.positions(places[None])


@dataclass(frozen=True, eq=False)
class Exit:
    """What becomes of the stream after the last layer.

    Attributes:
        norm: None: the model is asked.
        head: the linear part whose answers are the logits, times `scale` and held within `cap`.
    """

    skeleton: Skeleton
    norm: GainedNorm | None = None
    head: Any = None
    scale: float = 1.0
    cap: float | None = None

    def __call__(self, final: Float[Tensor, "*axes d_model"], apply: Apply = call_norm) -> Float[Tensor, "*axes vocab"]:
        """Logits (float32); `apply` is how the norm is called."""
        if self.norm is None:
            flat = self.skeleton.logits(final.reshape(-1, final.shape[-1]))
            return flat.float().unflatten(0, final.shape[:-1])
        return self.finished(self.head(apply(self.norm, final)))

    def of_tokens(
        self, final: Float[Tensor, "sender batch d_model"], tokens: Int[Tensor, "batch some"]
    ) -> Float[Tensor, "sender batch some"]:
        """The logits of a few tokens of each prompt."""
        if self.norm is None:
            return self(final).gather(-1, tokens.expand(len(final), -1, -1))
        found = torch.einsum("sbd,bnd->sbn", self.norm(final), self.head.weight[tokens])
        bias = getattr(self.head, "bias", None)
        return self.finished(found if bias is None else found + bias[tokens])

    def finished(self, logits: Tensor) -> Tensor:
        """What a model makes of its head's answers."""
        logits = logits.float() if self.scale == 1 else logits.float() * self.scale
        return logits if self.cap is None else self.cap * (logits / self.cap).tanh()


@torch.no_grad()
def find_entrance(skeleton: Skeleton) -> Entrance:
    """Look-up tables, if they give what the model itself does."""
    tables = {name: part for name, part in skeleton.hf_model.named_modules() if isinstance(part, Embedding)}
    tokens = torch.arange(PROBE, device=skeleton.device).flip(0)[None] % next(iter(tables.values())).num_embeddings
    found: list[Tensor] = []
    seen = watch(tables, lambda: found.append(skeleton.embed(tokens)))
    looked_up = [one for one in seen if one.inputs]
    own = [tables[one.name] for one in looked_up if same(one.inputs[0], tokens)]
    places = [(tables[one.name], one.inputs[0]) for one in looked_up if not same(one.inputs[0], tokens)]
    if len(own) == 1 and len(places) <= 1:
        positions, at = places[0] if places else (None, tokens)
        made = Entrance(skeleton, own[0], positions, int(at.flatten()[0]) if places else 0)
        try:
            if torch.equal(made(tokens), found[0]):
                return made
        except (TypeError, IndexError, RuntimeError):  # a table that wants to be asked otherwise
            pass
    return Entrance(skeleton)


@torch.no_grad()
def find_exit(skeleton: Skeleton) -> Exit:
    """A norm and a linear part, if they give what the model itself does."""
    hf_model, head = skeleton.hf_model, skeleton.hf_model.get_output_embeddings()
    generator = torch.Generator().manual_seed(0)
    final = torch.randn(PROBE, skeleton.width, generator=generator).to(skeleton.device, hf_model.dtype)
    outside = {
        name: part
        for name, part in hf_model.named_modules()
        if name and not name.startswith(skeleton.path + ".") and not any(part.children())
    }
    logits: list[Tensor] = []
    seen = watch(outside, lambda: logits.append(skeleton.logits(final)))
    read = next((one.inputs[0] for one in seen if outside[one.name] is head), None)
    for one in seen:
        if one.inputs and same(one.inputs[0], final) and same(one.output, read):
            part = outside[one.name]
            try:
                norm = read_norm(part, skeleton.width, final, eps_of(part))
            except LookupError:
                continue
            scale, cap = _finish(skeleton)
            made = Exit(skeleton, norm, head, scale, cap)
            if (made(final) - logits[0]).abs().max() <= CLOSE * logits[0].abs().max():
                return made
    return Exit(skeleton)


def _finish(skeleton: Skeleton) -> tuple[float, float | None]:
    """The scale and the cap of the head's answers: what becomes of a tiny and of a huge one."""

    def becomes(value: float) -> float:
        def say(x: Tensor) -> Tensor:
            return x.new_full((*x.shape[:-1], 2), value)

        return float(skeleton.logits(torch.zeros(1, skeleton.width, device=skeleton.device), say)[0, 0])

    scale, largest = becomes(1.0), becomes(LARGE)
    if abs(largest - LARGE * scale) <= CLOSE * abs(largest):
        return scale, None
    return becomes(1 / LARGE) * LARGE, largest
