"""A layer's attention in its family's own words, on given values of its slots.

The attention module runs with its input projections answering what they are told and its output projection listening
(`twins.py`). Where it hands its queries, keys and values to Transformers' attention interface, the engine's own
attention takes them there: it computes what is needed and shows its patterns.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import Module
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from hap_engine.anatomy.attention import Attend, Scoring, patterns_of
from hap_engine.anatomy.norms import close
from hap_engine.anatomy.twins import Call, Stop, answer, twin

OWN = "hap_engine"  # the engine's attention, by its name in Transformers' interface


@dataclass(frozen=True, eq=False)
class Projection:
    """One of an attention's linear parts: ``x @ weight + bias``; `source` is the projection that it reads, if any."""

    name: str
    weight: Float[Tensor, "d_in d_out"]
    bias: Float[Tensor, " d_out"] | None
    source: str | None = None


@dataclass(frozen=True, eq=False)
class Slot:
    """Where a slot's numbers lie: columns of what projections give, by their names."""

    kind: str  # q, k or v
    columns: Mapping[str, Int[Tensor, " column"]]
    heads: tuple[int, ...]  # that it feeds


class Handed(NamedTuple):
    """What an attention hands to the interface, as the engine shapes it."""

    q: Float[Tensor, "head batch pos d_key"]
    k: Float[Tensor, "kv batch pos d_key"]
    v: Float[Tensor, "kv batch pos d_head"]
    own: Int[Tensor, " head"]  # which key and value is each head's
    bias: Float[Tensor, "#head #batch pos pos"] | None
    scoring: Scoring


@dataclass(frozen=True, eq=False)
class Replay:
    """An attention module with its projections."""

    module: Module
    config: Any  # of the module, with the engine's own attention chosen; None if it has none
    inputs: tuple[Projection, ...]
    output: Projection

    def z(
        self, call: Call, answers: Mapping[str, Tensor], own: Callable[[Handed], Tensor] | None = None
    ) -> Float[Tensor, "batch pos z"]:
        """What the output projection reads.

        Args:
            answers: what each input projection gives, ``[batch, pos, columns]``.
            own: gives ``[head, batch, pos, d_head]`` in the place of the family's attention, if that goes through
                Transformers' interface.
        """
        heard: list[Tensor] = []
        self.run(call, answers, own, _listen(heard))
        return heard[0].reshape(*call.stream.shape[:2], -1)

    def between(self, call: Call, projection: Projection, value: Tensor) -> Tensor:
        """What a projection of a projection reads if that one gave `value`."""
        heard: list[Tensor] = []
        assert projection.source is not None
        batch, length = value.shape[:2]
        blank = {
            part.name: answer(value.new_zeros(batch, length, part.weight.shape[1]))
            for part in self.inputs
            if part.source is None
        }
        copied = twin(self.module, blank | {projection.source: answer(value), projection.name: _listen(heard)})
        with suppress(Stop):
            call.run(copied, call.stream.new_zeros(batch, length, call.stream.shape[-1]))
        return heard[0].reshape(batch, length, -1)

    def run(
        self,
        call: Call,
        answers: Mapping[str, Tensor],
        own: Callable[[Handed], Tensor] | None = None,
        output: Callable[..., Any] | None = None,
    ) -> Any:
        """All that the module gives, its output projection exchanged for `output`."""
        parts: dict[str, Any] = {name: answer(value) for name, value in answers.items()}
        if output is not None:
            parts[self.output.name] = output
        copied = twin(self.module, parts)
        if own is not None:
            copied.__dict__ |= {"config": self.config, OWN: own}
        with suppress(Stop):
            return call.run(copied, call.stream)


def _listen(heard: list[Tensor]) -> Callable[..., Any]:
    def listen(x: Tensor, *_: Any, **__: Any) -> None:
        heard.append(x)
        raise Stop

    return listen


def _own_attention(
    module: Module,
    query: Float[Tensor, "batch head pos d_key"],
    key: Float[Tensor, "batch kv pos d_key"],
    value: Float[Tensor, "batch kv pos d_head"],
    attention_mask: Tensor | None = None,
    scaling: float | None = None,
    softcap: float | None = None,
    s_aux: Tensor | None = None,
    **_: Any,
) -> tuple[Float[Tensor, "batch pos head d_head"], None]:
    """The engine's attention as Transformers calls it."""
    heads, kv = query.shape[1], key.shape[1]
    scale = query.shape[-1] ** -0.5 if scaling is None else float(scaling)
    handed = Handed(
        query.transpose(0, 1),
        key.transpose(0, 1),
        value.transpose(0, 1),
        torch.arange(heads, device=query.device) // (heads // kv),
        None if attention_mask is None else attention_mask.transpose(0, 1),
        Scoring(scale, softcap, s_aux),
    )
    return module.__dict__[OWN](handed).permute(1, 2, 0, 3).contiguous(), None


ALL_ATTENTION_FUNCTIONS.register(OWN, _own_attention)


def attended(handed: Handed) -> Float[Tensor, "head batch pos d_head"]:
    """The engine's attention on what was handed over."""
    q, k, v, own, bias, scoring = handed
    at = torch.arange(q.shape[2], device=q.device)[None]
    return Attend.apply(q, k, v, own, scoring, at, bias)


@dataclass(frozen=True, eq=False)
class Replayed:
    """The attention of a layer as its family wrote it, between the values of slots and what heads give.

    Attributes:
        reads: of each slot, the columns of projections of the stream that are its value, in order.
        places: where each column of the stream's projections is in the values side by side.
        prepared: it hands over to the engine's attention.
    """

    replay: Replay
    slots: tuple[Slot, ...]
    reads: tuple[Mapping[str, Tensor], ...]
    places: Mapping[str, Int[Tensor, " column"]]
    heads: int
    prepared: bool = False

    batched = True  # how the layer calls it depends on the number of prompts

    @property
    def way(self) -> str:
        return "prepared" if self.prepared else "replayed"

    def frame(self, call: Call) -> Call:
        """What it needs to know of the prompts' shape."""
        return call

    def z(self, values: Float[Tensor, "slot batch pos width"], call: Call) -> Float[Tensor, "head batch pos d_head"]:
        """What each head gives to the output projection."""
        own = attended if self.prepared else None
        z = self.replay.z(call, self.answers(values, call), own)
        return z.unflatten(-1, (self.heads, -1)).permute(2, 0, 1, 3)

    def own_z(
        self, values: Float[Tensor, "slot batch pos width"], call: Call
    ) -> Float[Tensor, "head batch pos d_head"]:
        """The same by the family's own attention all the way."""
        return replace(self, prepared=False).z(values, call)

    def pattern(
        self, values: Float[Tensor, "slot batch pos width"], call: Call
    ) -> Float[Tensor, "head batch query key"]:
        """The attention patterns: from what is handed over, or those that the family tells."""
        answers = self.answers(values, call)
        if not self.prepared:
            told: Tensor = self.replay.run(call, answers)[1]
            return told.transpose(0, 1)
        found: list[Tensor] = []

        def show(handed: Handed) -> Tensor:
            at = torch.arange(handed.q.shape[2], device=handed.q.device)[None]
            keys = handed.k.index_select(0, handed.own)
            found.append(patterns_of(handed.q, keys, handed.scoring, at, handed.bias))
            return attended(handed)

        self.replay.z(call, answers, show)
        return found[0]

    def of_head(
        self, slot: Callable[[int], Tensor], call: Call, head: int, at: Int[Tensor, " batch"]
    ) -> tuple[Float[Tensor, "batch pos"], Float[Tensor, "batch d_head"]]:
        """One head's attention at one position of each prompt, and what it gives there.

        Args:
            slot: the values ``[batch, pos, width]`` of one.
        """
        values = torch.stack([*map(slot, range(len(self.slots)))])
        rows = torch.arange(len(at), device=at.device)
        return self.pattern(values, call)[head, rows, at], self.z(values, call)[head, rows, at]

    def answers(self, values: Float[Tensor, "slot batch pos width"], call: Call) -> dict[str, Tensor]:
        """What the projections give when the slots have these values."""
        side_by_side = values.permute(1, 2, 0, 3).flatten(2)
        found = {name: side_by_side.index_select(-1, places) for name, places in self.places.items()}
        for part in self.replay.inputs:
            if part.source is not None:
                found[part.name] = self._expanded(part, values, call)
        return found

    def _expanded(self, part: Projection, values: Tensor, call: Call) -> Float[Tensor, "batch pos column"]:
        """What a projection of a projection gives, each slot's columns from the slot's own numbers."""
        chosen = [index for index, slot in enumerate(self.slots) if part.name in slot.columns]
        width = len(self.reads[chosen[0]][str(part.source)])
        latent = torch.stack([values[index, ..., :width] for index in chosen])
        read = self.replay.between(call, part, latent.flatten(0, 1)).unflatten(0, latent.shape[:2])
        given = values.new_zeros(*values.shape[1:3], part.weight.shape[1])
        for index, x in zip(chosen, read, strict=True):
            columns = self.slots[index].columns[part.name].to(x.device)
            out = x @ part.weight[:, columns]
            given = given.index_copy(-1, columns, out if part.bias is None else out + part.bias[columns])
        return given


def replayed(replay: Replay, slots: tuple[Slot, ...], heads: int) -> Replayed:
    """The attention whose slots were found."""
    reads = tuple(reads_of(slot, replay) for slot in slots)
    return Replayed(replay, slots, reads, _places(replay, slots, reads), heads)


def _places(
    replay: Replay, slots: Sequence[Slot], reads: Sequence[Mapping[str, Tensor]]
) -> dict[str, Int[Tensor, " column"]]:
    """`Replayed.places`. A column that is no slot's moves nothing: it gets any number."""
    width = width_of(reads)
    found = {
        part.name: torch.zeros(part.weight.shape[1], dtype=torch.long) for part in replay.inputs if part.source is None
    }
    for index, (slot, read) in enumerate(zip(slots, reads, strict=True)):
        start = index * width
        for name, columns in read.items():
            at = torch.isin(columns, slot.columns.get(name, columns[:0])).nonzero()[:, 0]
            found[name][columns[at]] = start + at
            start += len(columns)
    return {name: places.to(replay.output.weight.device) for name, places in found.items()}


def width_of(reads: Sequence[Mapping[str, Tensor]]) -> int:
    """How many numbers the widest slot has."""
    return max(sum(map(len, read.values())) for read in reads)


@torch.no_grad()
def hands_over(core: Replayed, call: Call) -> bool:
    """Whether the engine's attention, where the family hands over to it, gives what the family's own gives."""
    generator = torch.Generator().manual_seed(0)
    width = width_of(core.reads)
    values = torch.randn(len(core.slots), *call.stream.shape[:2], width, generator=generator).to(call.stream)
    handed: list[Handed] = []

    def take(given: Handed) -> Tensor:
        handed.append(given)
        return attended(given)

    try:
        ours = core.replay.z(call, core.answers(values, call), take)
    except (TypeError, RuntimeError, KeyError):  # it hands over something else
        return False
    return bool(handed) and close(ours, core.replay.z(call, core.answers(values, call)))


def reads_of(slot: Slot, replay: Replay) -> dict[str, Int[Tensor, " column"]]:
    """The columns of projections of the stream that a slot reads: its own, or all of those that its own are made of."""
    made_of = {part.name: part.source for part in replay.inputs if part.source}
    sizes = {part.name: part.weight.shape[1] for part in replay.inputs}
    sources = {made_of[name]: torch.arange(sizes[made_of[name]]) for name in slot.columns if name in made_of}
    return sources | {name: columns for name, columns in slot.columns.items() if name not in made_of | sources}
