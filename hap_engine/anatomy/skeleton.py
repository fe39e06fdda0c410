"""Where a Hugging Face model keeps its layers and their attention, found by watching it run.

No family is known by its name. `Skeleton` also runs the model around its layers: what enters the first of them, the
logits of what leaves the last, and with what each layer calls its attention. All of it is the family's own code with
the layers exchanged (`twins.py`), so embeddings that are scaled or normed, offsets of positions, caps of logits and
whatever else a family does there are as they are.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from itertools import pairwise
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import Module, ModuleList

from hap_engine.anatomy.twins import Call, Stop, acting, first, moved, same, twin, watch

PROBE = 5  # tokens: enough to see which part looks at others
Place = Callable[[Any, list[Module]], None]  # puts a model and, of it, the layers where they are computed
MIXES = 1e-5  # of its output: more than experts, which take tokens in other groups, round otherwise


def stay(hf_model: Any, layers: list[Module]) -> None:
    """All of a model is where it should be."""


class Skeleton:
    """A model's layers, and the way to run what is around them.

    Each layer is computed where its weights are; what is around them, on `device`.

    Attributes:
        layers: in the order in which they are called.
        attention: the name of each layer's attention in it.
        width: of the residual stream.

    Raises:
        LookupError: saying what cannot be found.
    """

    def __init__(self, hf_model: Any, place: Place) -> None:
        self.hf_model = hf_model
        self._calls: dict[tuple[int, int], list[Call]] = {}
        self._streams: dict[tuple[int, int], list[Call]] = {}
        self.path, self.layers, self._besides = _find_layers(hf_model)
        place(hf_model, self.layers)
        self.device = hf_model.get_input_embeddings().weight.device
        self.devices = [next(layer.parameters()).device for layer in self.layers]
        self.width = self.streams(1, PROBE)[0].stream.shape[-1]
        self.n_heads = int(hf_model.config.get_text_config().num_attention_heads)
        found = [_find_attention(*each) for each in zip(self.layers, self.streams(1, PROBE), strict=True)]
        names = {type(layer): name for layer, name in zip(self.layers, found, strict=True) if name}
        if any(type(layer) not in names for layer in self.layers):
            raise LookupError("in its layers nothing looks at other tokens")
        self.attention = [name or names[type(layer)] for layer, name in zip(self.layers, found, strict=True)]

    # -- the model around its layers ---------------------------------------------------------------

    def _around(self, tokens: Tensor, layer: Callable[..., Any], **parts: Any) -> Any:
        """Run the model with other layers: each a copy that calls ``layer(index, args, kwargs)``."""

        def stand_in(index: int) -> Any:
            def forward(*args: Any, **kwargs: Any) -> Any:
                out = layer(index, args, kwargs)
                return out if self._besides is None else (out, *[None] * self._besides)

            return acting(self.layers[index], forward)

        stand_ins = ModuleList([stand_in(index) for index in range(len(self.layers))])
        return twin(self.hf_model, {self.path: stand_ins, **parts})(tokens, use_cache=False)

    def embed(self, tokens: Int[Tensor, "batch pos"]) -> Float[Tensor, "batch pos d_model"]:
        """What enters the first layer."""
        found: list[Tensor] = []

        def enter(index: int, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            found.append(_stream(args, kwargs))
            raise Stop

        with suppress(Stop):
            self._around(tokens, enter)
        return found[0]

    def logits(self, final: Float[Tensor, "some d_model"], unembed: Any = None) -> Float[Tensor, "some vocab"]:
        """The logits of what leaves the last layer.

        Args:
            unembed: instead of the model's own unembedding.
        """
        tokens = torch.zeros(len(final), 1, dtype=torch.long, device=final.device)
        parts = {} if unembed is None else {self.unembedding: unembed}
        return self._around(tokens, lambda *_: final[:, None], **parts).logits[:, 0]

    def own_logits(self, tokens: Int[Tensor, "batch pos"]) -> Float[Tensor, "batch pos vocab"]:
        """What the model itself says."""

        def there(index: int, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
            given = (moved(value, self.devices[index]) for value in (args, kwargs))
            out: Tensor = first(self.layers[index](*next(given), **next(given)))
            return out.to(self.device)

        several = set(self.devices) != {self.device}
        said = self._around(tokens, there) if several else self.hf_model(tokens, use_cache=False)
        logits: Tensor = said.logits.float()
        return logits

    @property
    def unembedding(self) -> str:
        """The name of the module that gives the logits."""
        own = self.hf_model.get_output_embeddings()
        return next(name for name, part in self.hf_model.named_modules() if part is own)

    # -- how parts are called ----------------------------------------------------------------------

    def streams(self, batch: int, length: int) -> list[Call]:
        """How each layer is called for prompts of some shape; the numbers in the streams mean nothing."""
        if (batch, length) not in self._streams:
            found: list[Call] = []

            def pass_on(index: int, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
                stream = _stream(args, kwargs)
                found.append(Call.of(args, kwargs, stream.shape[-1]).on(self.devices[index]))
                if len(found) == len(self.layers):
                    raise Stop
                return stream

            tokens = torch.zeros(batch, length, dtype=torch.long, device=self.device)
            with torch.no_grad(), suppress(Stop):
                self._around(tokens, pass_on)
            self._streams[batch, length] = found
        return self._streams[batch, length]

    def calls(self, batch: int, length: int) -> list[Call]:
        """How each layer calls its attention for `batch` prompts of `length` tokens."""
        if (batch, length) not in self._calls:
            found = zip(self.layers, self.attention, self.streams(batch, length), strict=True)
            self._calls[batch, length] = [attention_call(*each) for each in found]
        return self._calls[batch, length]


def attention_call(layer: Module, name: str, call: Call, stream: Tensor | None = None) -> Call:
    """How a layer, called with some stream, calls its attention."""
    found: list[Call] = []
    width = call.stream.shape[-1]

    def heard(*args: Any, **kwargs: Any) -> None:
        found.append(Call.of(args, kwargs, width))
        raise Stop

    with torch.no_grad(), suppress(Stop):
        call.run(twin(layer, {name: heard}), call.stream if stream is None else stream)
    return found[0]


def _stream(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
    given = [x for x in (*args, *kwargs.values()) if isinstance(x, Tensor) and x.is_floating_point()]
    if not given or given[0].ndim != 3:
        raise LookupError("between its layers is more than one stream")
    return given[0]


@torch.no_grad()
def _find_layers(hf_model: Any) -> tuple[str, list[Module], int | None]:
    """The list of layers by its name, those that are called, and how many things one gives besides the
    stream (None: it gives the stream alone)."""
    lists = {name: part for name, part in hf_model.named_modules() if isinstance(part, ModuleList)}
    items = {f"{name}.{index}": item for name, part in lists.items() for index, item in enumerate(part)}
    tokens = torch.zeros(1, PROBE, dtype=torch.long, device=hf_model.device)
    seen = watch(items, lambda: hf_model(tokens, use_cache=False))
    called: dict[str, list[str]] = {}
    for one in seen:
        called.setdefault(one.name.rpartition(".")[0], []).append(one.name)
    if not called:
        raise LookupError("it is not a chain of layers")
    path = max(called, key=lambda name: sum(weight.numel() for weight in lists[name].parameters()))
    names = called[path]
    if len(set(names)) < len(names):
        raise LookupError("its layers are used several times")
    chain = [one for one in seen if one.name in names]
    for before, after in pairwise(chain):
        if not any(same(before.output, x) for x in after.inputs):
            raise LookupError("its layers do not read what the layer before them gave")
    return path, [items[name] for name in names], chain[0].besides


@torch.no_grad()
def _find_attention(layer: Module, call: Call) -> str | None:
    """The part of a layer in which the first number arises that depends on other tokens; None if none does.

    That may be seen inside it alone: a head whose output weights are 0 says nothing.
    """
    parts = {name: part for name, part in layer.named_modules() if name}
    generator = torch.Generator().manual_seed(0)
    stream = torch.randn(call.stream.shape, generator=generator).to(call.stream)
    moved = stream.clone()
    moved[:, 0] += torch.randn(stream.shape[-1], generator=generator).to(stream)
    runs = [watch(parts, partial(call.run, layer, x)) for x in (stream, moved)]
    shape = stream.shape[:2]

    def mixed(x: Tensor | None, y: Tensor | None) -> bool:
        if x is None or y is None or x.shape[:2] != shape:
            return False
        return bool((x - y)[:, 1:].abs().max() > MIXES * x.abs().max())

    often = [Counter(one.name for one in run) for run in runs]
    alike = {name for name, count in often[0].items() if often[1][name] == count}  # experts are called as it comes
    pairs = list(zip(*([one for one in run if one.name in alike] for run in runs), strict=True))
    reads = {one.name for one, other in pairs if any(map(mixed, one.inputs, other.inputs))}
    found = [one.name for one, other in pairs if mixed(one.output, other.output) or one.name in reads]
    within = {one.name for one, _ in pairs} - reads
    inner = [name for name in found if name in within]
    first_one = next(iter(found), None)
    while first_one and first_one not in within:
        first_one = first_one.rpartition(".")[0]
    others = [name for name in inner if name != first_one and not f"{first_one}.".startswith(name + ".")]
    if others:
        raise LookupError(f"in its layers {first_one} and {others[0]} look at other tokens, where one attention should")
    return first_one or None
