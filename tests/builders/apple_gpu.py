"""A pretended Apple GPU: a processor that refuses what torch refuses there, or gets wrong.

No such machine is needed. A tensor "on" it is a wrapper round one on the processor. Each operation that reaches the
device is looked up in torch's own list of kernels (``native_functions.yaml``, part of every torch) and refused where
Apple's GPUs have none. Refused are, too: float64 and complex numbers, tensors of two devices in one operation (so the
tests of this device stand for every GPU), and products that have been reported to fail there (`_refuse_products`).

What this cannot show is whether a kernel that is there computes what it should:
`hap_engine.masked.self_check` looks at that where it runs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import cache
from pathlib import Path
from typing import Any
from unittest import mock

import torch
import torchgen
import yaml
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode, return_and_correct_aliasing

THERE, HERE = torch.device("mps"), torch.device("cpu")
aten = torch.ops.aten
# Kernels for every device, and operations that are made of others
GENERAL = {"CompositeExplicitAutograd", "CompositeExplicitAutogradNonFunctional", "CompositeImplicitAutograd"}
INDEXED = {"index", "index_put", "index_put_"}  # take indices of the processor's too
COPIES = {"copy_", "_to_copy"}
PRODUCTS = {"mm", "addmm", "addmm_", "bmm", "baddbmm", "baddbmm_"}
SUMS = {"index_add", "index_add_"}


@cache
def kernels() -> set[str]:
    """The operations that torch has for Apple's GPUs, as ``name.overload``."""
    path = Path(torchgen.__file__).parent / "packaged/ATen/native/native_functions.yaml"
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    entries = {e["func"].split("(")[0]: e for e in yaml.load(path.read_text(), Loader=loader)}

    def there(entry: dict[str, Any]) -> bool:
        if "structured_delegate" in entry:
            return there(entries[entry["structured_delegate"]])
        keys = {key.strip() for keys in entry.get("dispatch", {}) for key in keys.split(",")}
        return not keys or bool(keys & (GENERAL | {"MPS"}))

    return {name for name, entry in entries.items() if there(entry)}


class There(Tensor):
    """A tensor that says it is on the pretended device; torch itself takes it for one without numbers ("meta")."""

    held: Tensor  # its numbers
    device = THERE  # type: ignore[assignment]

    @staticmethod
    def __new__(cls, held: Tensor) -> There:
        if held.dtype == torch.float64 or held.is_complex():
            raise TypeError(f"{THERE} has no {held.dtype}")
        made = Tensor._make_wrapper_subclass(
            cls,
            held.shape,
            strides=held.stride(),
            storage_offset=held.storage_offset(),
            dtype=held.dtype,
            device="meta",
            requires_grad=held.requires_grad,
        )
        made.held = held.detach()
        return made

    def __repr__(self, **_: Any) -> str:  # type: ignore[override]
        return f"There({self.held!r})"

    def tolist(self) -> Any:
        return self.held.tolist()

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        _refuse(func, args, kwargs)
        out = func(*_each(_held, args), **_each(_held, kwargs))
        if func is aten._to_copy.default and kwargs.get("device") == HERE:
            return out
        return return_and_correct_aliasing(func, args, kwargs, _each(_wrapped, out))


def _each(change: Callable[[Any], Any], value: Any) -> Any:
    """What an operation takes or gives, its parts changed; torch's own `tree_map` takes longer than most operations."""
    if isinstance(value, list | tuple):
        return type(value)([_each(change, part) for part in value])
    if isinstance(value, dict):
        return {name: _each(change, part) for name, part in value.items()}
    return change(value)


def _parts(value: Any) -> Iterator[Any]:
    if isinstance(value, dict):
        value = value.values()
    elif not isinstance(value, list | tuple):
        yield value
        return
    for part in value:
        yield from _parts(part)


@cache
def _names(func: Any) -> tuple[str, str]:
    """Of an operation: without and with its overload."""
    base = func._schema.name.removeprefix("aten::")
    overload = func._schema.overload_name
    return base, f"{base}.{overload}" if overload else base


def _refuse(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    """Raises where torch would on such a device."""
    base, name = _names(func)
    if name not in kernels():
        raise NotImplementedError(f"{name} is not there for {THERE}")
    tensors = [x for x in _parts((args, kwargs)) if isinstance(x, Tensor)]
    for x in tensors:
        if x.ndim and not isinstance(x, There) and base not in INDEXED | COPIES:
            raise RuntimeError(f"{name}: a tensor on {THERE} and one on the processor")
    _refuse_products(base, tensors, args[0] if base.endswith("_") else kwargs.get("out"))


def _refuse_products(name: str, tensors: list[Tensor], out: Tensor | None) -> None:
    """Raises for products that were reported to fail on Apple's GPUs.

    Of an empty tensor: pytorch issues 137406 and 187399 (an assertion fails), 175902 (arbitrary numbers where the
    inner dimension is 0), 186972 (sums). Into a tensor with gaps: 104832 (the result is lost).
    """
    if name in PRODUCTS | SUMS and not all(x.numel() for x in tensors):
        raise RuntimeError(f"{name} of an empty tensor fails on {THERE}")
    if name in PRODUCTS and out is not None and not out.is_contiguous():
        raise RuntimeError(f"{name} into a tensor with gaps fails on {THERE}")


# The numbers of storages that were made there (a storage has no wrapper); both are kept, so no address comes twice.
_storages: dict[int, tuple[torch.UntypedStorage, torch.UntypedStorage]] = {}


def _moved(x: Tensor) -> There:
    made = There(x)
    storage = made.untyped_storage()
    _storages[storage._cdata] = storage, x.untyped_storage()
    return made


def _held(x: Any) -> Any:
    if isinstance(x, There):
        return x.held
    if isinstance(x, torch.UntypedStorage):
        return _storages[x._cdata][1]
    return HERE if isinstance(x, torch.device) else x


def _wrapped(x: Any) -> Any:
    return There(x) if isinstance(x, Tensor) and not isinstance(x, There) else x


class _Factories(TorchDispatchMode):
    """Makes on the processor what is asked for there."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        there = str(kwargs.get("device")) in (THERE.type, "meta")
        if not there or any(isinstance(x, There) for x in _parts(args)):
            return func(*args, **kwargs)
        return _moved(func(*args, **kwargs | {"device": HERE}))


class _Move(torch.autograd.Function):
    """From the processor, with its gradient going back."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, dtype: torch.dtype) -> Tensor:
        ctx.dtype = x.dtype
        return _moved(x.detach().to(dtype, copy=True))

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return grad.cpu().to(ctx.dtype), None


def _to(plain: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """`Tensor.to`; torch's own refuses a device that is not there before it asks anybody."""

    def to(self: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        given = [*args, kwargs.get("device"), kwargs.get("dtype")]
        devices = [torch.device(x) for x in given if isinstance(x, str | torch.device)]
        devices += [x.device for x in given if isinstance(x, Tensor)]
        if not devices or devices[0].type != THERE.type:
            return plain(self, *args, **kwargs)
        dtype = next((x for x in given if isinstance(x, torch.dtype)), self.dtype)
        if isinstance(self, There):
            return plain(self, dtype)
        if isinstance(self, torch.nn.Parameter):
            moved = _moved(self.detach().to(dtype, copy=True))
            return torch.nn.Parameter(moved, self.requires_grad)
        return _Move.apply(self, dtype)

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
def pretended() -> Iterator[None]:
    """While it is open, the device ``mps`` is there."""
    replaced = (
        (Tensor, "to", _to),
        (torch, "tensor", _tensor),
        (Tensor, "__getitem__", _item),
        (Tensor, "__setitem__", _item),
    )
    swap = torch.__future__.get_swap_module_params_on_conversion()
    torch.__future__.set_swap_module_params_on_conversion(True)  # for `Module.to`
    with ExitStack() as stack:
        stack.callback(torch.__future__.set_swap_module_params_on_conversion, swap)
        stack.callback(_storages.clear)
        for owner, name, make in replaced:
            stack.enter_context(mock.patch.object(owner, name, make(getattr(owner, name))))
        stack.enter_context(_Factories())
        yield
