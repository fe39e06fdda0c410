"""Pretended devices: a processor that refuses what torch refuses on them.

No such machine is needed. A tensor "on" a device is a wrapper round one on the processor. Tensors of two devices in one
operation are refused, and what `refuse` does not let through besides (`apple_gpu.py`, `cards.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any
from unittest import mock

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode, return_and_correct_aliasing

HERE, ANY = torch.device("cpu"), torch.device("meta")  # torch itself makes zeros for what is there on the latter
aten = torch.ops.aten
INDEXED = {"index", "index_put", "index_put_"}  # take indices of the processor's too
COPIES = {"copy_", "_to_copy"}


@dataclass(frozen=True)
class Kind:
    """Some devices.

    Attributes:
        type: as torch names it.
        refuse: raises for an operation that they do not have: given are it, all tensors in it, and what it writes into.
        numbers: raises for a tensor of numbers that they do not have.
    """

    type: str
    refuse: Callable[[Any, list[Tensor], Any], None] = lambda func, tensors, out: None
    numbers: Callable[[Tensor], None] = lambda held: None

    def has(self, device: Any) -> bool:
        return torch.device(device).type == self.type


_kind = [Kind("none")]  # the last is pretended now


class There(Tensor):
    """A tensor that says it is on a pretended device; torch itself takes it for one without numbers ("meta")."""

    held: Tensor  # its numbers
    on: torch.device

    @staticmethod
    def __new__(cls, held: Tensor, device: torch.device) -> There:
        _kind[-1].numbers(held)
        made = Tensor._make_wrapper_subclass(
            cls,
            held.shape,
            strides=held.stride(),
            storage_offset=held.storage_offset(),
            dtype=held.dtype,
            device="meta",
            requires_grad=held.requires_grad,
        )
        made.held, made.on = held.detach(), device
        return made

    @property
    def device(self) -> torch.device:  # type: ignore[override]
        return self.on

    def __repr__(self, **_: Any) -> str:  # type: ignore[override]
        return f"There({self.held!r}, {self.on})"

    def tolist(self) -> Any:
        return self.held.tolist()

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if any(kind is not There for kind in types):  # narrow weights know first what to do
            return NotImplemented
        kwargs = kwargs or {}
        tensors = [x for x in parts((args, kwargs)) if isinstance(x, Tensor)]
        _refuse(func, tensors, args, kwargs)
        out = func(*_each(_held, args), **_each(_held, kwargs))
        if func is aten._to_copy.default and kwargs.get("device") == HERE:
            return out
        device = _device([x for x in tensors if isinstance(x, There)])

        def wrapped(x: Any) -> Any:
            return There(x, device) if isinstance(x, Tensor) and not isinstance(x, There) else x

        return return_and_correct_aliasing(func, args, kwargs, _each(wrapped, out))


def _each(change: Callable[[Any], Any], value: Any) -> Any:
    """What an operation takes or gives, its parts changed; torch's own `tree_map` takes longer than most operations."""
    if isinstance(value, list | tuple):
        return type(value)([_each(change, part) for part in value])
    if isinstance(value, dict):
        return {name: _each(change, part) for name, part in value.items()}
    return change(value)


def parts(value: Any) -> Iterator[Any]:
    if isinstance(value, dict):
        value = value.values()
    elif not isinstance(value, list | tuple):
        yield value
        return
    for part in value:
        yield from parts(part)


@cache
def names(func: Any) -> tuple[str, str]:
    """Of an operation: without and with its overload."""
    base = func._schema.name.removeprefix("aten::")
    overload = func._schema.overload_name
    return base, f"{base}.{overload}" if overload else base


def _device(tensors: list[There]) -> torch.device:
    """Where an operation on these is."""
    return next((x.on for x in tensors if x.on != ANY), ANY)


def _refuse(func: Any, tensors: list[Tensor], args: Any, kwargs: Any) -> None:
    """Raises where torch would on such a device."""
    base, name = names(func)
    device = _device([x for x in tensors if isinstance(x, There)])
    for x in tensors if base not in COPIES else ():
        if isinstance(x, There) and x.on not in (device, ANY):
            raise RuntimeError(f"{name}: a tensor on {device} and one on {x.on}")
        if x.ndim and not isinstance(x, There) and base not in INDEXED:
            raise RuntimeError(f"{name}: a tensor on {device} and one on the processor")
    _kind[-1].refuse(func, tensors, args[0] if base.endswith("_") else kwargs.get("out"))


# The numbers of storages that were made there (a storage has no wrapper); both are kept, so no address comes twice.
_storages: dict[int, tuple[torch.UntypedStorage, torch.UntypedStorage]] = {}


def _moved(x: Tensor, device: torch.device) -> There:
    made = There(x, device)
    storage = made.untyped_storage()
    _storages[storage._cdata] = storage, x.untyped_storage()
    return made


def _held(x: Any) -> Any:
    if isinstance(x, There):
        return x.held
    if isinstance(x, torch.UntypedStorage):
        return _storages[x._cdata][1]
    return HERE if isinstance(x, torch.device) else x


class _Factories(TorchDispatchMode):
    """Makes on the processor what is asked for there."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        device = kwargs.get("device")
        if (
            device is None
            or not (device == ANY or _kind[-1].has(device))
            or any(isinstance(x, There) for x in parts(args))
        ):
            return func(*args, **kwargs)
        return _moved(func(*args, **kwargs | {"device": HERE}), device)


class _Move(torch.autograd.Function):
    """To a pretended device, from another or from the processor, with its gradient going back."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, device: torch.device, dtype: torch.dtype) -> Tensor:
        ctx.device, ctx.dtype = x.device, x.dtype
        return _moved(_held(x).detach().to(dtype, copy=True), device)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        back = _held(grad).to(ctx.dtype)
        return back if ctx.device == HERE else _moved(back.clone(), ctx.device), None, None


def _to(plain: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """`Tensor.to`; torch's own refuses a device that is not there before it asks anybody."""

    def to(self: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        given = [*args, kwargs.get("device"), kwargs.get("dtype")]
        devices = [torch.device(x) for x in given if isinstance(x, str | torch.device)]
        devices += [x.device for x in given if isinstance(x, Tensor)]
        if not devices or not _kind[-1].has(devices[0]):
            return plain(self, *args, **kwargs)
        dtypes = [x for x in given if isinstance(x, torch.dtype)] + [x.dtype for x in given if isinstance(x, Tensor)]
        dtype = next(iter(dtypes), self.dtype)
        if isinstance(self, There) and self.on == devices[0]:
            return plain(self, dtype)
        if isinstance(self, torch.nn.Parameter):
            moved = _moved(self.detach().to(dtype, copy=True), devices[0])
            return torch.nn.Parameter(moved, self.requires_grad)
        return _Move.apply(self, devices[0], dtype)

    return to


def _tensor(plain: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """`torch.tensor`, likewise."""

    def tensor(*args: Any, device: Any = None, **kwargs: Any) -> Tensor:
        made = plain(*args, **kwargs)
        return made if device is None else made.to(device)

    return tensor


def _item(plain: Callable[..., Any]) -> Callable[..., Any]:
    """Getting items by lists and setting them to a number: torch makes tensors of both out of our sight."""

    def item(self: Tensor, index: Any, *value: Any) -> Any:
        several = index if isinstance(index, tuple) else (index,)
        index = tuple(torch.tensor(i) if isinstance(i, list) else i for i in several)
        if value and not isinstance(value[0], Tensor):
            value = (torch.tensor(value[0], dtype=self.dtype),)
        return plain(self, index, *value)

    return item


@contextmanager
def pretended(kind: Kind) -> Iterator[None]:
    """While it is open, devices of this kind are there."""
    replaced = (
        (Tensor, "to", _to),
        (torch, "tensor", _tensor),
        (Tensor, "__getitem__", _item),
        (Tensor, "__setitem__", _item),
    )
    swap = torch.__future__.get_swap_module_params_on_conversion()
    torch.__future__.set_swap_module_params_on_conversion(True)  # for `Module.to`
    with ExitStack() as stack:
        _kind.append(kind)
        stack.callback(_kind.pop)
        stack.callback(torch.__future__.set_swap_module_params_on_conversion, swap)
        stack.callback(_storages.clear)
        for owner, name, make in replaced:
            stack.enter_context(mock.patch.object(owner, name, make(getattr(owner, name))))
        stack.enter_context(_Factories())
        yield
