"""Weights that stay as narrow in memory as they are stored, and are float32 to whoever computes with them.

A checkpoint in bfloat16 or float16 takes half the memory of the float32 model that is computed, one of codes a fourth
to an eighth (`codes.py`). `Narrow` is a float32 tensor whose numbers are widened each time they are used: nothing is
rounded, and no second copy of a weight stays. What only moves numbers (a transpose, some rows) moves the narrow ones.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import Module, Parameter

from hap_engine.machine.workload import PIECE
from hap_engine.narrow.codes import Codes

DTYPES = (torch.bfloat16, torch.float16)

_aten = torch.ops.aten
_MOVE = {
    *(_aten.detach.default, _aten.alias.default, _aten.clone.default, _aten.view.default, _aten._unsafe_view.default),
    *(_aten.t.default, _aten.transpose.int, _aten.permute.default, _aten.expand.default, _aten.unsqueeze.default),
    *(_aten.slice.Tensor, _aten.select.int, _aten.index.Tensor, _aten.index_select.default),
    *(_aten.constant_pad_nd.default, _aten.cat.default),
}
_ROWS = {_aten.detach.default, _aten.slice.Tensor, _aten.select.int, _aten.index_select.default}  # with dimension 0


class Narrow(Tensor):
    """A frozen float32 tensor, kept as narrower numbers.

    Attributes:
        parts: whose rows, one below the other, are its own before anything else; of fewer bits than float32.
        gain: what all rows are multiplied with once widened; None: nothing.
        centred: the mean over the last dimension is taken off, last.
    """

    parts: tuple[Tensor, ...]
    gain: Tensor | None
    centred: bool

    @staticmethod
    def __new__(cls, parts: Sequence[Tensor], gain: Tensor | None = None, *, centred: bool = False) -> Narrow:
        like = parts[0] if len(parts) == 1 else _joined([_placeless(part) for part in parts])
        made: Narrow = Tensor._make_wrapper_subclass(
            cls, like.shape, strides=like.stride(), dtype=torch.float32, device=parts[0].device
        )
        made.parts, made.gain, made.centred = tuple(parts), gain, centred
        return made

    def __repr__(self, **_: Any) -> str:  # type: ignore[override]
        return f"Narrow({list(self.shape)}, {self.parts[0].dtype})"

    def raw(self) -> Tensor:
        """The narrow numbers, before they are multiplied."""
        return _joined(self.parts)

    def on(self, device: torch.device) -> Narrow:
        """A plain one on a device, as narrow."""
        raw = self.raw()
        return Narrow([raw.on(device) if isinstance(raw, Codes) else raw.to(device)])

    def rows(self, numbers: Sequence[int]) -> Narrow:
        """Some of its rows, each of which is a part: no number is copied."""
        return Narrow([self.parts[row] for row in numbers], self.gain, centred=self.centred)

    def wide(self) -> Tensor:
        """Its numbers."""
        found = self.raw().float()
        if self.gain is not None:
            found = found.mul_(self.gain)
        return found.sub_(found.mean(-1, keepdim=True)) if self.centred else found

    @classmethod
    def __torch_dispatch__(  # type: ignore[override]
        cls, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        given, named = args, dict(kwargs or {})
        if func is _aten.cat.default and all(isinstance(x, Narrow) and x.plain for x in given[0]):
            raw = func([x.raw() for x in given[0]], *given[1:])
            return raw if raw.dtype == torch.float32 else Narrow([raw])
        x = given[0]
        if isinstance(x, Narrow) and func in _MOVE:
            along = func in _ROWS and (len(given) == 1 or given[1] == 0)
            if along and len(x.parts) == len(x) > 1 and func is not _aten.index_select.default:
                numbers = func(torch.arange(len(x)), *given[1:], **named).tolist()
                made = x.rows(numbers if isinstance(numbers, list) else [numbers])
                return made if isinstance(numbers, list) else made[0]
            if x.plain or along:
                raw = func(x.raw(), *given[1:], **named)
                if raw.dtype != torch.float32:
                    return Narrow([raw], x.gain, centred=x.centred)
                if x.plain:
                    return raw
        if isinstance(x, Narrow) and func is _aten.embedding.default:
            return func(x.raw(), *given[1:], **named).float()
        if func is _aten.mm.default and isinstance(given[1], Narrow) and given[1].plain and given[1].numel() > PIECE:
            return _product(_wide(x), given[1].raw())
        if func._schema.is_mutable and (isinstance(x, Narrow) or isinstance(named.get("out"), Narrow)):
            raise TypeError(f"the model's weights are frozen: {func} would write into them")
        return func(*map(_wide, given), **{name: _wide(value) for name, value in named.items()})

    @property
    def plain(self) -> bool:
        """It is its narrow numbers and no more."""
        return self.gain is None and not self.centred


def _joined(parts: Sequence[Tensor]) -> Tensor:
    """One below the other, in memory as each of them lies: to turn a matrix costs more than to read it."""
    if len(parts) == 1:
        return parts[0]
    turned = parts[0].ndim > 1 and parts[0].stride(-1) != 1
    return torch.cat([part.mT for part in parts]).mT if turned else torch.cat(list(parts))


def _placeless(part: Tensor) -> Tensor:
    return part.at if isinstance(part, Codes) else part.to("meta")


def _wide(x: Any) -> Any:
    if isinstance(x, list | tuple):
        return type(x)(map(_wide, x))
    return x.wide() if isinstance(x, Narrow) else x


def _product(x: Tensor, raw: Tensor) -> Tensor:
    """``x @ raw`` for ``[some, d]`` and ``[d, many]``, piece by piece of the longer side."""
    depth, width = raw.shape
    out = x.new_zeros(len(x), width)
    if width >= depth:
        step = max(1, PIECE // depth)
        for start in range(0, width, step):
            out[:, start : start + step] = x @ raw[:, start : start + step].float()
        return out
    step = max(1, PIECE // width)
    for start in range(0, depth, step):
        out.addmm_(x[:, start : start + step], raw[start : start + step].float())
    return out


def times(x: Tensor, gain: Tensor | float) -> Tensor:
    """``x * gain`` for a gain that all rows share."""
    if not isinstance(x, Narrow):
        return x * gain
    gain = gain if x.gain is None else x.gain * gain
    return Narrow(x.parts, torch.as_tensor(gain, device=x.device))


def without_mean(x: Tensor) -> Tensor:
    """`x` less its mean over the last dimension."""
    if isinstance(x, Narrow):
        return Narrow(x.parts, x.gain, centred=True)
    return x - x.mean(-1, keepdim=True)


def stacked(rows: Sequence[Tensor]) -> Tensor:
    """Tensors of one shape side by side, as `torch.stack`."""
    if all(isinstance(row, Narrow) and row.plain for row in rows):
        return Narrow([row.raw()[None] for row in rows])  # type: ignore[attr-defined]
    return torch.stack(list(rows))


def keep_narrow(hf_model: Any) -> None:
    """Make a model compute in float32 whatever it is stored in: its matrices stay as they are, the little rest is
    widened."""
    made: dict[int, Parameter] = {}
    for module in hf_model.modules():
        for name, weight in module._parameters.items():
            if weight is not None and weight.dtype in DTYPES:
                kept = Narrow([weight.data]) if weight.ndim > 1 else weight.data.float()
                made.setdefault(id(weight), Parameter(kept, requires_grad=False))
                module._parameters[name] = made[id(weight)]
        for name, value in module._buffers.items():
            if value is not None and value.dtype in DTYPES:
                module._buffers[name] = value.float()


def exchange(hf_model: Any, matrices: Mapping[str, Tensor]) -> None:
    """Give a model other matrices, by their names, kept as narrow as they are; tied ones stay so."""
    there = dict(hf_model.named_parameters(remove_duplicate=False))
    made = {
        id(there[name]): Parameter(Narrow([x]), requires_grad=False) for name, x in matrices.items() if name in there
    }
    for module in hf_model.modules():
        own = module._parameters
        own.update({name: made[id(weight)] for name, weight in own.items() if id(weight) in made})


def put(module: Module, where: Callable[[Module], torch.device]) -> None:
    """Move the frozen weights of a module, narrow as they are, each to where the part that holds it belongs."""
    made: dict[tuple[int, torch.device], tuple[Parameter, Parameter]] = {}
    for part in module.modules():
        device = where(part)
        for name, weight in part._parameters.items():
            if weight is not None:
                key = id(weight), device
                if key not in made:
                    kept = weight.on(device) if isinstance(weight, Narrow) else weight.data.to(device)
                    made[key] = Parameter(kept, requires_grad=False), weight
                part._parameters[name] = made[key][0]
        part._buffers.update({name: x if x is None else x.to(device) for name, x in part._buffers.items()})


def copied(module: Module, dtype: torch.dtype) -> Module:
    """A copy of a module in some dtype. Weights that are stored so are shared with it."""
    memo: dict[int, Any] = {}
    for weight in module.parameters():
        if isinstance(weight, Narrow):
            raw = weight.raw()
            kept = raw if raw.dtype == dtype else raw.to(dtype)
            memo[id(weight)] = Parameter(kept, requires_grad=False)
    return copy.deepcopy(module, memo).to(dtype)


def bytes_of(x: Tensor) -> dict[int, int]:
    """What a tensor keeps in memory: the size of each storage by its address."""
    parts = (*x.parts, *([] if x.gain is None else [x.gain])) if isinstance(x, Narrow) else (x,)
    held = [one for part in parts for one in (part.held if isinstance(part, Codes) else (part,))]
    return {one.untyped_storage().data_ptr(): one.untyped_storage().nbytes() for one in held}
