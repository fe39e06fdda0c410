"""A layer asked piece by piece what it does.

Attention and the readers of the stream are exchanged for parts that answer as told (`twins.py`), the rest is the
family's own code. A layer whose attention says `a` shows at the MLP's first part what it makes of `a` (nothing, a
factor, another norm), and whether the MLP sees it at all. Called with a silent stream and silent attention, and with
its readers answering what they give of the real stream, it gives exactly what its MLP adds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from types import MappingProxyType
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import pad

from hap_engine.anatomy.blocks import Block
from hap_engine.anatomy.closed_form import PROBED, Closed, find_closed
from hap_engine.anatomy.mlps import Chain, Mlp, bare, find_chain, fitted, is_gated
from hap_engine.anatomy.norms import NO_NORM, GainedNorm, close, eps_of, read_norm
from hap_engine.anatomy.replay import Replay, Slot, hands_over, replayed, width_of
from hap_engine.anatomy.skeleton import PROBE, Skeleton, attention_call
from hap_engine.anatomy.slots import find_projections, find_slots
from hap_engine.anatomy.twins import Call, Seen, Stop, answer, first, same, twin, watch
from hap_engine.narrow.weights import stacked, times, without_mean


def take_apart(skeleton: Skeleton, final: GainedNorm | None) -> tuple[list[Block], bool]:
    """All layers of a model whose logits read through the norm `final` (None: in another way), and whether all that
    reads ignores the mean of what is written.

    Raises:
        LookupError: saying which part is not what the engine has.
    """
    blocks = [_Layer(skeleton, index).block() for index in range(len(skeleton.layers))]
    if len({(b.heads, b.kv_heads, b.parallel, b.post is None, b.w_in.shape, b.w_out.shape) for b in blocks}) > 1:
        raise LookupError("its layers are not alike: they differ in their heads, or in how heads and MLP are joined")
    norms = [final, *(block.mlp.norm for block in blocks)]
    if all(block.norm.centred for block in blocks) and all(norm is not None and norm.kind.centred for norm in norms):
        return [replace(b, w_write=without_mean(b.w_write)) for b in blocks], True
    return [replace(b, norm=replace(b.norm, recentres=b.norm.centred)) for b in blocks], False


class _Layer:
    """One layer, and the ways to ask it."""

    def __init__(self, skeleton: Skeleton, index: int) -> None:
        self.skeleton, self.index = skeleton, index
        self.layer, self.name = skeleton.layers[index], skeleton.attention[index]
        self.call = skeleton.streams(1, PROBE)[index]
        generator = torch.Generator().manual_seed(index)
        shape = self.call.stream.shape
        self.x, self.a = (torch.randn(shape, generator=generator).to(self.call.stream) for _ in range(2))
        self.quiet = torch.zeros_like(self.x)
        inside = self.name.split(".")
        around = {".".join(inside[:depth]) for depth in range(len(inside) + 1)}
        every = dict(self.layer.named_modules())
        self.parts = {n: part for n, part in every.items() if n not in around and n.rpartition(".")[0] in around}
        self.entering = attention_call(self.layer, self.name, self.call, self.x)
        self.replay = find_projections(self.layer.get_submodule(self.name), self.entering)
        self.says, self.more_bias = _speaker(self.replay, self.entering)

    def ask(self, stream: Tensor, said: Tensor, parts: Mapping[str, Any] = MappingProxyType({})) -> Tensor:
        """What the layer gives if its attention says something and some of its parts are others."""
        exchanged = twin(self.layer, {self.name: self.says(said), **parts})
        out: Tensor = first(self.call.run(exchanged, stream))
        return out

    @torch.no_grad()
    def block(self) -> Block:
        given: list[Tensor] = []
        silent = watch(self.parts, lambda: given.append(self.ask(self.x, self.quiet)))
        moved = watch(self.parts, lambda: self.ask(self.x, self.a))
        reading = [one.name for one in silent if same(one.inputs[0], self.x)]
        still = {one.name for one in moved if same(one.inputs[0], self.x)}
        readers = [name for name in reading if name not in still]
        parallel = not readers
        readers = readers or reading
        if not readers:
            raise LookupError("nothing in its layers reads the stream beside attention")
        answers = {name: answer(first(self.parts[name](self.x))) for name in readers}
        target = self.ask(self.quiet, self.quiet, answers)
        if not close(given[0], self.x + target):
            raise LookupError("its layers change the residual stream itself, not only add to it")
        post, factor = self._written(moved, readers, parallel, answers)
        mlp = self._mlp(silent, readers, target)
        return self._assembled(self._norm(moved), post, factor, mlp, parallel)

    def _norm(self, seen: Sequence[Seen]) -> GainedNorm | None:
        """What attention reads through; None: nothing."""
        if same(self.entering.stream, self.x):
            return None
        for one in seen:
            if same(one.inputs[0], self.x) and same(one.output, self.entering.stream):
                return self._read_norm(one.name)

        def ask(x: Tensor) -> Tensor:
            return attention_call(self.layer, self.name, self.call, x.expand_as(self.x)).stream[0, :1]

        return read_norm(ask, self.skeleton.width, self.x, None)

    def _read_norm(self, name: str) -> GainedNorm:
        part = self.parts[name]
        return read_norm(lambda x: first(part(x[None]))[0], self.skeleton.width, self.x, eps_of(part))

    def _written(
        self, moved: Sequence[Seen], readers: Sequence[str], parallel: bool, answers: Mapping[str, Any]
    ) -> tuple[GainedNorm | None, float]:
        """What becomes of what attention says on its way into the stream: a norm, and a factor."""
        if parallel:
            added = self.ask(self.quiet, self.a, answers) - self.ask(self.quiet, self.quiet, answers)
        else:
            heard: list[Tensor] = []

            def listen(x: Tensor, *_: Any, **__: Any) -> None:
                heard.append(x)
                raise Stop

            with suppress(Stop):
                self.ask(self.quiet, self.a, dict.fromkeys(readers, listen))
            added = heard[0].reshape(self.a.shape)
        factor = fitted(added, self.a)
        if factor is not None:
            return None, factor
        for one in moved:
            factor = fitted(added, one.output) if same(one.inputs[0], self.a) and one.output is not None else None
            if factor is not None:
                return self._read_norm(one.name), factor
        raise LookupError("what its attention adds to the stream is neither what it says nor a norm of it")

    def _mlp(self, silent: Sequence[Seen], readers: Sequence[str], target: Tensor) -> Mlp:
        """What the MLP adds: a chain of parts, or the layer itself."""
        chain = find_chain([one for one in silent if one.name != self.name], self.x, target)
        if chain is None:
            return self._asked_mlp(readers)
        names, factor = chain
        norm = self._maybe_norm(names[0])
        names = names[norm is not None :]
        post = self._maybe_norm(names[-1]) if len(names) > 1 else None
        parts = [self.parts[name] for name in (names[:-1] if post else names)]
        gated = any(map(is_gated, parts))
        left = 1.0 if post else factor
        single = len(parts) == 1 and left == 1 and isinstance(parts[0](self.x), Tensor)
        inner = bare(parts[0]) if single else Chain(parts, left)
        return Mlp(norm, inner, post.times(factor) if post else None, gated)

    def _maybe_norm(self, name: str) -> GainedNorm | None:
        try:
            return self._read_norm(name)
        except (LookupError, RuntimeError, IndexError):
            return None

    def _asked_mlp(self, readers: Sequence[str]) -> Mlp:
        norm = self._maybe_norm(readers[0]) if len(readers) == 1 else None

        def inner(x: Tensor) -> Tensor:
            given = {name: answer(x if norm else first(self.parts[name](x))) for name in readers}
            quiet = torch.zeros_like(x)
            return self.ask(quiet, quiet, given)

        return Mlp(norm, inner, None, is_gated(self.layer))

    def _assembled(
        self, norm: GainedNorm | None, post: GainedNorm | None, factor: float, mlp: Mlp, parallel: bool
    ) -> Block:
        heads, calls = self.skeleton.n_heads, self._calls
        slots = tuple(find_slots(self.replay, calls(heads, 2), heads))
        family = replayed(self.replay, slots, heads)
        family = replace(family, prepared=hands_over(family, calls(1, PROBED)))
        core = find_closed(family, calls) or family
        order = core.order if isinstance(core, Closed) else None
        weights, biases = self._plain(slots, family.reads, order)
        if norm is None:
            w_in, b_in, kind = weights, biases, NO_NORM
        else:
            w_in, kind = times(weights, norm.gain[:, None]), norm.kind
            b_in = torch.einsum("d,sde->se", norm.bias, weights) + biases
        out = self.replay.output
        each = out.weight.unflatten(0, (heads, -1))
        w_out = stacked([each[head] for head in range(heads)])
        b_out = self.more_bias if out.bias is None else out.bias + self.more_bias
        if post is None:
            w_out, b_out = (w_out, b_out) if factor == 1 else (times(w_out, factor), b_out * factor)
        post = None if post is None else post.times(factor)
        w_heads = w_out if post is None else times(post.kind.centre(w_out), post.gain)
        feeds = tuple(slot.heads for slot in slots)
        return Block(w_in, b_in[:, None], w_out, b_out, w_heads, w_in, w_heads, kind, core, post, mlp, feeds, parallel)

    def _calls(self, batch: int, length: int) -> Call:
        return self.skeleton.calls(batch, length)[self.index]

    def _plain(
        self, slots: Sequence[Slot], reads: Sequence[Mapping[str, Tensor]], order: Tensor | None
    ) -> tuple[Float[Tensor, "slot d_model width"], Float[Tensor, "slot width"]]:
        """The projections' columns of each slot."""
        parts = {part.name: part for part in self.replay.inputs}
        width = width_of(reads)
        weights, biases = [], self.x.new_zeros(len(slots), width)
        for row, (slot, read) in enumerate(zip(slots, reads, strict=True)):
            found, end = [], 0
            for name, columns in read.items():
                chosen = columns if order is None or slot.kind == "v" else columns[order]
                start, end, bias = end, end + len(chosen), parts[name].bias
                found.append(_columns(parts[name].weight, chosen))
                if bias is not None:
                    biases[row, start:end] = bias[chosen]
            whole = found[0] if len(found) == 1 else torch.cat(found, dim=1)
            weights.append(whole if end == width else pad(whole, (0, width - end)))
        return stacked(weights), biases


def _columns(weight: Float[Tensor, "d some"], chosen: Int[Tensor, " few"]) -> Float[Tensor, "d few"]:
    """Some columns; no copy where they are neighbours."""
    first, count = int(chosen[0]), len(chosen)
    if torch.equal(chosen.cpu(), torch.arange(first, first + count)):
        return weight[:, first : first + count]
    return weight[:, chosen]


def _speaker(replay: Replay, entering: Call) -> tuple[Callable[[Tensor], Callable[..., Any]], Tensor]:
    """Attentions that say what they are told, in the way that this one does; and a bias that it gives besides.

    Raises:
        LookupError: if it does not say what its last linear part gives.
    """
    outputs: list[Any] = []
    linear = {replay.output.name: replay.module.get_submodule(replay.output.name)}
    (seen,) = watch(linear, lambda: outputs.append(entering.run(replay.module, entering.stream)))
    (out,), width = outputs, entering.stream.shape[-1]
    assert seen.output is not None
    adds = not same(first(out), seen.output)
    if adds and not any(same(first(out), seen.output + other) for other in entering.others()):
        raise LookupError("its attention does not say what its last linear part gives")
    more = out[1:] if isinstance(out, tuple) else ()
    biases = [x for x in more if isinstance(x, Tensor) and x.shape == (width,)]
    besides = [torch.zeros_like(x) if any(x is bias for bias in biases) else x for x in more]

    def says(value: Tensor) -> Callable[..., Any]:
        def say(*args: Any, **kwargs: Any) -> Any:
            told = value + Call.of(args, kwargs, width).others()[0] if adds else value
            return (told, *besides) if isinstance(out, tuple) else told

        return say

    return says, torch.stack([entering.stream.new_zeros(width), *biases]).sum(0)
