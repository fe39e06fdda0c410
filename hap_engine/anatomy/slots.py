"""Which outputs of an attention's linear parts are whose: measured by asking, layer by layer.

A slot (one head's query, one KV head's key or value) is some columns of what the input projections give. They are
told apart by what they move: a head's queries move that head alone and at their own token only, keys and values move
the heads that share them at later tokens too, and where all else is 0 the values alone move anything. So fused and
grouped projections of any order need no table of families, and what couples heads inside attention (a norm over all
of them) is seen as a slot that feeds several.

A projection of a projection (DeepSeek's latent queries, keys and values) is part of the attention: its slots read
the first of the two.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from jaxtyping import Bool, Int
from torch import Tensor
from torch.nn import Linear, Module
from transformers.pytorch_utils import Conv1D

from hap_engine.anatomy.replay import OWN, Projection, Replay, Slot
from hap_engine.anatomy.twins import Call, same, watch

SPREAD = 0.05  # of slot values: small enough that no family clips them


@torch.no_grad()
def find_projections(module: Module, call: Call) -> Replay:
    """The linear parts of an attention, sorted by what they read.

    Raises:
        LookupError: if they are not what an attention has.
    """
    linear = {name: part for name, part in module.named_modules() if isinstance(part, (Linear, Conv1D))}
    seen = watch(linear, lambda: call.run(module, call.stream))
    if len({one.name for one in seen}) < len(seen) or not seen:
        raise LookupError("the linear parts of its attention are called several times, or there are none")
    *inner, last = seen
    reads = {one.name: same(one.inputs[0], call.stream) for one in inner}
    found = [_projection(name, linear[name]) for name in reads]
    config = copy.copy(getattr(module, "config", None))
    if config is not None:
        config._attn_implementation_internal = OWN
    replay = Replay(module, config, tuple(found), _projection(last.name, linear[last.name]))
    sources = [part for part in found if reads[part.name]]
    chained = (
        part if reads[part.name] else replace(part, source=_source(replay, call, part, sources)) for part in found
    )
    return replace(replay, inputs=tuple(chained))


def _source(replay: Replay, call: Call, part: Projection, sources: list[Projection]) -> str:
    """The projection on whose numbers depends what `part` reads."""
    batch, length = call.stream.shape[:2]
    for source in sources:
        chained = replace(part, source=source.name)
        low, high = (
            replay.between(call, chained, call.stream.new_full((batch, length, source.weight.shape[1]), value))
            for value in (0.0, 1.0)
        )
        if not torch.equal(low, high):
            return source.name
    raise LookupError(f"{part.name} of its attention reads neither the stream nor a projection of it")


def _projection(name: str, part: Any) -> Projection:
    weight = part.weight if isinstance(part, Conv1D) else part.weight.mT
    return Projection(name, weight.detach(), None if part.bias is None else part.bias.detach())


def find_slots(replay: Replay, call: Call, heads: int) -> list[Slot]:
    """The slots of a layer in order: q of each head, k and v of each KV head.

    Args:
        call: of a prompt of two tokens for each head.

    Raises:
        LookupError: if the columns do not divide among the heads.
    """
    sizes = {part.name: part.weight.shape[1] for part in replay.inputs}
    at_zero, anywhere = (_moves(replay, call, sizes, heads, spread) for spread in (0.0, SPREAD))
    value = at_zero[0].any(1)
    key = anywhere[0].any(1) & ~value
    query = anywhere[1].any(1) & ~value & ~key
    kinds = {"q": query, "k": key, "v": value}
    width = replay.output.weight.shape[0] / heads
    shared = _shared_latent(replay, sizes, kinds)
    kv_heads = 1 if shared else int(value.sum()) / width
    found: list[Slot] = []
    for kind, columns in kinds.items():
        count = heads if kind == "q" else kv_heads
        groups: dict[tuple[int, ...], list[int]] = {}
        for column in columns.nonzero()[:, 0].tolist():
            fed = () if count == 1 else tuple(anywhere[1][column].nonzero()[:, 0].tolist())
            groups.setdefault(fed, []).append(column)
        each = int(columns.sum()) / count
        for fed, group in sorted(groups.items()):
            if not each or len(group) % each:
                raise LookupError(f"the {kind} columns of its attention do not divide among {count:g} heads")
            parts = (group[start : start + int(each)] for start in range(0, len(group), int(each)))
            found += [Slot(kind, _by_name(part, sizes), fed or tuple(range(heads))) for part in parts]
    return found


def _shared_latent(replay: Replay, sizes: Mapping[str, int], kinds: Mapping[str, Tensor]) -> bool:
    """Whether keys and values are made of one projection's numbers."""
    sources = [
        {part.source for part in replay.inputs if part.source and part.name in _by_name(_columns(kinds[kind]), sizes)}
        for kind in "kv"
    ]
    return bool(sources[0] & sources[1])


def _columns(chosen: Bool[Tensor, " column"]) -> list[int]:
    return [int(column) for column in chosen.nonzero()[:, 0]]


def _by_name(columns: list[int], sizes: Mapping[str, int]) -> dict[str, Int[Tensor, " column"]]:
    """Columns of all projections' numbers side by side, sorted by whose they are."""
    found, start = {}, 0
    for name, size in sizes.items():
        own = [column - start for column in columns if start <= column < start + size]
        if own:
            found[name] = torch.tensor(own)
        start += size
    return found


@torch.enable_grad()
def _moves(
    replay: Replay, call: Call, sizes: Mapping[str, int], heads: int, spread: float
) -> tuple[Bool[Tensor, "column head"], Bool[Tensor, "column head"]]:
    """Which columns at the first token, and which at the second, move which heads at the second token."""
    generator = torch.Generator().manual_seed(0)
    numbers = spread * torch.randn(1, 2, sum(sizes.values()), generator=generator)
    numbers = numbers.to(call.stream).repeat(heads, 1, 1).requires_grad_()
    answers = dict(zip(sizes, (x.clone() for x in numbers.split(list(sizes.values()), dim=-1)), strict=True))
    z = replay.z(call, answers).unflatten(-1, (heads, -1))
    own = torch.arange(heads, device=z.device)
    weights = torch.randn(z.shape[-1], generator=generator).to(z)
    (gradient,) = torch.autograd.grad((z[own, 1, own] @ weights).sum(), numbers)
    moved = (gradient != 0).cpu()
    return moved[:, 0].T, moved[:, 1].T
