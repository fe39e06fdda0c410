"""Attention written out: what heads hand over is their slots' values, normed or not, turned or not.

`find_closed` tries the few ways that exist (no, half or paired rotary positions, a norm of each head's queries and
keys before or after them) on random values and takes the one that gives what the family's own code gives, whatever
the size of the values: a limit on them (``clip_qkv``) shows there. Such an attention is computed for the heads that
are needed alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import product

import torch
from jaxtyping import Float, Int
from torch import Tensor

from hap_engine.anatomy.attention import Rotary, Scoring, patterns_of, rotate
from hap_engine.anatomy.norms import CLOSE, Apply, GainedNorm, call_norm, close, read_norm
from hap_engine.anatomy.replay import Handed, Replay, Replayed, attended, width_of
from hap_engine.anatomy.twins import Call, given

PROBED = 8  # tokens
# Sizes of the queries, keys and values that a closed form is tried on: a limit on any of them shows. No prompt reaches
# them, and their squares are still numbers.
SIZES = ((1, 1, 1), (1e15, 1e-15, 1), (1e-15, 1e15, 1), (3, 3, 1e15))


@dataclass(frozen=True)
class Tables:
    """Where a layer is told its cosines and sines, how they lie there, and what they turn.

    Attributes:
        at: the place or name of the pair among the arguments of its attention.
        lie: ``each`` pair has one, or all have one twice: side by side (``every`` other) or in two ``halves``.
        swapped: sines come first.
        sign: -1 where it turns the other way round.
        paired: neighbours are turned together, not the numbers of two halves.
    """

    at: int | str
    lie: str
    swapped: bool
    sign: int
    paired: bool

    def read(self, call: Call) -> tuple[Tensor, Tensor]:
        """The tables for pairs (i, i + half), ``[pos, share of d_head]``."""
        told = call.args[self.at] if isinstance(self.at, int) else call.kwargs[self.at]
        cos, sin = told[::-1] if self.swapped else told

        def whole(x: Tensor) -> Tensor:
            x = x[0] if x.ndim == 3 else x
            x = {"each": x, "every": x[:, ::2], "halves": x[:, : x.shape[-1] // 2]}[self.lie]
            return torch.cat([x, x], dim=-1)

        return whole(cos), self.sign * whole(sin)

    def order(self, call: Call, width: int) -> Int[Tensor, " column"]:
        """In which order a query's numbers are turned by halves: where pairs are neighbours, first one of each."""
        columns, turned = torch.arange(width), self.read(call)[0].shape[-1]
        if not self.paired:
            return columns
        return torch.cat([columns[:turned:2], columns[1:turned:2], columns[turned:]])


@dataclass(frozen=True, eq=False)
class Frame:
    """What an attention needs to know of the prompts' shape: its rotary tables, and what is added to its scores."""

    tables: Rotary
    bias: Float[Tensor, "#head query pos"] | None  # None: plain causal attention

    def bias_at(self, at: Int[Tensor, "#batch query"], heads: Int[Tensor, " head"]) -> Tensor | None:
        if self.bias is None:
            return None
        return (self.bias if len(self.bias) == 1 else self.bias[heads])[:, at]


@dataclass(frozen=True, eq=False)
class Closed:
    """The attention of a layer, between the values of slots and what heads give.

    Attributes:
        kv_of_head: which of the keys and values are each head's.
        norms: of queries and keys, before they are turned or (`norm_last`) after.
        family: the same in its family's own words, whose numbers of a query are these in the order `order`.
    """

    kv_of_head: Int[Tensor, " head"]
    scoring: Scoring
    tables: Tables | None
    norms: tuple[GainedNorm, GainedNorm] | None
    norm_last: bool
    family: Replayed
    order: Int[Tensor, " column"]

    @property
    def replay(self) -> Replay:
        """The module that it stands for."""
        return self.family.replay

    batched = False  # how the layer calls it does not depend on the number of prompts
    way = "closed"

    def frame(self, call: Call) -> Frame:
        return self.framed(call, _told(self.family, call))

    def framed(self, call: Call, bias: Tensor | None) -> Frame:
        tables = None if self.tables is None else self.tables.read(call)
        return Frame(tables, None if bias is None or _causal(bias) else bias[:, 0])

    def turn(
        self,
        x: Float[Tensor, "row batch pos d_head"],
        heads: Int[Tensor, " head"],
        kv: Int[Tensor, " kv"],
        tables: Rotary,
        apply: Apply = call_norm,
    ) -> Float[Tensor, "row batch pos d_head"]:
        """Queries of some heads and keys of some KV heads, side by side, as they meet.

        Args:
            apply: how a norm is called.
        """
        if self.norms is None:
            return rotate(x, tables)
        x = rotate(x, tables) if self.norm_last else x
        parts = zip(self.norms, (heads, kv), x.split([len(heads), len(kv)]), strict=True)
        x = torch.cat([apply(_of(norm, which), part) for norm, which, part in parts if len(which)])
        return x if self.norm_last else rotate(x, tables)

    def handed(self, values: Float[Tensor, "slot batch pos d_head"], frame: Frame, apply: Apply = call_norm) -> Handed:
        """What meets in attention."""
        heads = torch.arange(len(self.kv_of_head), device=values.device)
        kv = torch.arange((len(values) - len(heads)) // 2, device=values.device)
        x, v = values.split([len(heads) + len(kv), len(kv)])
        q, k = self.turn(x, heads, kv, frame.tables, apply).split([len(heads), len(kv)])
        at = torch.arange(values.shape[2], device=values.device)[None]
        return Handed(q, k, v, self.kv_of_head, frame.bias_at(at, heads), self.scoring)

    def z(self, values: Float[Tensor, "slot batch pos d_head"], frame: Frame) -> Float[Tensor, "head batch pos d_head"]:
        """What each head gives to the output projection."""
        return attended(self.handed(values, frame))

    def own_z(
        self, values: Float[Tensor, "slot batch pos d_head"], call: Call
    ) -> Float[Tensor, "head batch pos d_head"]:
        """What the family's own code makes each head give."""
        kv = (len(values) - len(self.kv_of_head)) // 2
        return self.family.own_z(_reordered(values, self.order.argsort(), kv), call)

    def pattern(
        self, values: Float[Tensor, "slot batch pos d_head"], frame: Frame
    ) -> Float[Tensor, "head batch query key"]:
        """The attention patterns."""
        q, k, _, own, bias, scoring = self.handed(values, frame)
        at = torch.arange(values.shape[2], device=values.device)[None]
        return patterns_of(q, k.index_select(0, own), scoring, at, bias)

    def of_head(
        self, slot: Callable[[int], Tensor], frame: Frame, head: int, at: Int[Tensor, " batch"]
    ) -> tuple[Float[Tensor, "batch pos"], Float[Tensor, "batch d_head"]]:
        """One head's attention at one position of each prompt, and what it reads there.

        Args:
            slot: the values ``[batch, pos, d_head]`` of one; asked for those that the head reads alone.
        """
        heads, kv = len(self.kv_of_head), self.kv_of_head[head : head + 1]
        which, own = torch.full_like(kv, head), int(kv)
        x = torch.stack([slot(head), slot(heads + own)])
        q, k = self.turn(x, which, kv, frame.tables).split(1)
        v = slot(heads + int(self.kv_of_head.max()) + 1 + own)[None]
        q = q[:, torch.arange(len(at), device=at.device), at][:, :, None]
        places = at[:, None]
        pattern = patterns_of(q, k, self.scoring.of(which), places, frame.bias_at(places, which))
        return pattern[0, :, 0], (pattern @ v)[0, :, 0]


def _of(norm: GainedNorm, heads: Int[Tensor, " head"]) -> GainedNorm:
    """The norm of some heads, where each has one of its own."""
    if norm.gain.ndim == 1:
        return norm
    return replace(norm, gain=norm.gain[heads][:, None, None], bias=norm.bias[heads][:, None, None])


def _causal(bias: Tensor) -> bool:
    """Nothing is added but what hides the tokens that come later."""
    length = bias.shape[-1]
    seen = torch.ones(length, length, dtype=torch.bool, device=bias.device).tril()
    return bool((bias[..., seen] == 0).all() and (bias[..., ~seen] < -1e4).all())


@torch.no_grad()
def find_closed(core: Replayed, calls: Callable[[int, int], Call]) -> Closed | None:
    """The closed form of an attention.

    Args:
        calls: how the layer calls its attention for some number of prompts and tokens.

    Returns:
        None if it has none that is known here.
    """
    kinds = [slot.kind for slot in core.slots]
    heads, kv_heads = kinds.count("q"), kinds.count("k")
    own = torch.arange(heads) // (heads // kv_heads)
    fed = [(head,) for head in range(heads)] + 2 * [tuple((own == i).nonzero()[:, 0].tolist()) for i in range(kv_heads)]
    widths = {sum(map(len, reads.values())) for reads in core.reads}
    alone = [slot.heads for slot in core.slots] == fed and not any(part.source for part in core.replay.inputs)
    if not (core.prepared and alone and len(widths) == 1):
        return None
    width, call = widths.pop(), calls(1, PROBED)
    weight = core.replay.output.weight
    generator = torch.Generator().manual_seed(0)
    kind = torch.tensor(["qkv".index(kind) for kind in kinds])
    noise = torch.randn(len(kinds), 1, PROBED, width, generator=generator)
    probes = [(noise * torch.tensor(sizes)[kind][:, None, None, None]).to(weight) for sizes in SIZES]
    handed = _handed(core, probes[0], call)
    if handed is None or (len(handed.q), len(handed.k)) != (heads, kv_heads):
        return None
    for tables, norms, last in _candidates(core, call, calls(1, 1), width):
        order = torch.arange(width) if tables is None else tables.order(call, width)
        made = Closed(own.to(weight.device), handed.scoring, tables, norms, last, core, order)
        frame = made.framed(call, handed.bias)
        factor = _factor(made.handed(_reordered(probes[0], order, kv_heads), frame), handed, order)
        if factor is None:
            continue
        made = replace(made, scoring=replace(handed.scoring, scale=handed.scoring.scale * factor))
        taken = [_reordered(probe, order, kv_heads) for probe in probes]
        if all(close(made.z(values, frame), made.own_z(values, call)) for values in taken):
            return made
    return None


def _handed(core: Replayed, values: Tensor, call: Call) -> Handed | None:
    """What the family's code hands over; None if it does not do so once."""
    found: list[Handed] = []

    def take(handed: Handed) -> Tensor:
        found.append(handed)
        return attended(handed)

    core.replay.z(call, core.answers(values, call), take)
    return found[0] if len(found) == 1 else None


def _told(core: Replayed, call: Call) -> Tensor | None:
    """What is added to scores."""
    width = width_of(core.reads)
    values = core.replay.output.weight.new_zeros(len(core.slots), *call.stream.shape[:2], width)
    handed = _handed(core, values, call)
    assert handed is not None
    return handed.bias


def _candidates(
    core: Replayed, call: Call, one: Call, width: int
) -> Iterator[tuple[Tables | None, tuple[GainedNorm, GainedNorm] | None, bool]]:
    """Rotary tables or none, norms or none, and whether these come last. `one` is a call for a single token."""
    rotaries: list[Tables | None] = [None]
    for at, pair in given(call.args, call.kwargs):
        if isinstance(pair, tuple | list) and len(pair) == 2 and all(isinstance(x, Tensor) for x in pair):
            ways = product(("halves", "each", "every"), (False, True), (1, -1), (False, True))
            every = (Tables(at, *way) for way in ways)
            rotaries += [one_way for one_way in every if one_way.read(call)[0].shape[-1] <= width]
    yield from ((tables, None, False) for tables in rotaries)
    try:
        q_norm, k_norm = (_norm(core, one, width, kind) for kind in "qk")
    except LookupError:
        return
    for tables, last in product(rotaries, (False, True)):
        size, order = 1.0, torch.arange(width)
        if tables is not None:
            size, order = float(tables.read(call)[0][0, 0]), tables.order(call, width)
        if size:
            yield tables, (_ordered(q_norm.times(1 / size), order), _ordered(k_norm.times(1 / size), order)), last


def _norm(core: Replayed, one: Call, width: int, kind: str) -> GainedNorm:
    """The norm of queries or keys: what becomes of them at the first position, where nothing is turned."""

    def ask(x: Tensor) -> Tensor:
        values = x.expand(len(core.slots), 1, 1, width)
        handed = _handed(core, values, one)
        assert handed is not None
        found: Tensor = getattr(handed, kind)
        return found[:, 0].transpose(0, 1)

    norm = read_norm(ask, width, core.replay.output.weight, None)
    if bool((norm.gain == norm.gain[:1]).all() and (norm.bias == norm.bias[:1]).all()):
        return replace(norm, gain=norm.gain[0], bias=norm.bias[0])
    return norm


def _ordered(norm: GainedNorm, order: Int[Tensor, " column"]) -> GainedNorm:
    order = order.to(norm.gain.device)
    return replace(norm, gain=norm.gain[..., order], bias=norm.bias[..., order])


def _reordered(values: Tensor, order: Tensor, kv_heads: int) -> Tensor:
    """Values with the numbers of queries and keys in another order."""
    x, v = values.split([len(values) - kv_heads, kv_heads])
    return torch.cat([x[..., order.to(x.device)], v])


def _factor(ours: Handed, given: Handed, order: Int[Tensor, " column"]) -> float | None:
    """By how much what is handed over is longer than ours, queries times keys; None if it is something else."""
    if not close(ours.v, given.v):
        return None
    total = 1.0
    for mine, theirs in ((ours.q, given.q), (ours.k, given.k)):
        ordered = theirs[..., order.to(theirs.device)]
        factor = float((mine * ordered).sum() / mine.square().sum())
        factor = 1.0 if abs(factor - 1) < CLOSE else factor
        if not close(factor * mine, ordered):
            return None
        total *= factor
    return total
