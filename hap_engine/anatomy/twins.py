"""Copies of a model's modules that share its weights and have some of their parts exchanged.

So a family's own code runs with other values inside it, without hooks: the model itself stays as it is, and several
threads may do this at once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import Module


class Stop(Exception):  # noqa: N818
    """Ends a module's code where what was wanted of it is there."""


def twin(module: Module, parts: Mapping[str, Any]) -> Any:
    """A copy of `module` with some of its descendants, by dotted name, exchanged for other callables."""
    copied = _copy(module)
    inner: dict[str, dict[str, Any]] = {}
    for name, part in parts.items():
        first, _, rest = name.partition(".")
        if rest:
            inner.setdefault(first, {})[rest] = part
        else:
            copied._modules[first] = part
    for first, exchanged in inner.items():
        copied._modules[first] = twin(module._modules[first], exchanged)  # type: ignore[arg-type]
    return copied


def acting(module: Module, forward: Callable[..., Any]) -> Any:
    """A copy of `module` that does something else when it is called; its attributes stay."""
    copied = _copy(module)
    copied.__dict__["forward"] = forward
    return copied


def _copy(module: Module) -> Any:
    copied = object.__new__(type(module))
    copied.__dict__.update(module.__dict__)
    copied.__dict__["_modules"] = dict(module._modules)
    return copied


def answer(value: Tensor) -> Callable[..., Tensor]:
    """A part that gives `value` at whatever it is asked, in the shape of the question."""
    return lambda x, *_, **__: value.reshape(*x.shape[:-1], value.shape[-1])


def first(output: Any) -> Any:
    """What a module gives, without what it tells besides."""
    return output[0] if isinstance(output, tuple) else output


def given(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> list[tuple[int | str, Any]]:
    """All arguments of a call, each with its place or name."""
    return [*enumerate(args), *kwargs.items()]


@dataclass(frozen=True, eq=False)
class Call:
    """What a module was called with, and where in it the stream is: a place or a name."""

    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    at: int | str

    @classmethod
    def of(cls, args: tuple[Any, ...], kwargs: Mapping[str, Any], width: int) -> Call:
        """The stream is the first tensor of real numbers ``[…, width]``."""
        for at, value in given(args, kwargs):
            if isinstance(value, Tensor) and value.is_floating_point() and value.shape[-1:] == (width,):
                return cls(args, dict(kwargs), at)
        raise TypeError("it is called without a stream")

    @property
    def stream(self) -> Tensor:
        found: Tensor = self.args[self.at] if isinstance(self.at, int) else self.kwargs[self.at]
        return found

    def on(self, device: torch.device) -> Call:
        """The same with all its tensors on a device."""
        return Call(moved(self.args, device), moved(self.kwargs, device), self.at)

    def others(self) -> list[Tensor]:
        """The other tensors that are shaped as the stream is."""
        besides = (value for at, value in given(self.args, self.kwargs) if at != self.at)
        return [value for value in besides if isinstance(value, Tensor) and value.shape == self.stream.shape]

    def run(self, module: Callable[..., Any], stream: Tensor) -> Any:
        """Call `module` the same way with another stream."""
        args, kwargs = list(self.args), dict(self.kwargs)
        if isinstance(self.at, int):
            args[self.at] = stream
        else:
            kwargs[self.at] = stream
        return module(*args, **kwargs)


def moved(value: Any, device: torch.device) -> Any:
    """What a module takes or gives, all tensors in it on a device."""
    if isinstance(value, Tensor):
        return value.to(device)
    if type(value) in (list, tuple):
        return type(value)(moved(part, device) for part in value)
    return {name: moved(part, device) for name, part in value.items()} if type(value) is dict else value


@dataclass(frozen=True, eq=False)
class Seen:
    """One call of a part, as it was watched."""

    name: str
    inputs: tuple[Tensor, ...]
    output: Tensor | None
    besides: int | None  # how much it gave besides; None: no tuple


def watch(parts: Mapping[str, Module], run: Callable[[], object]) -> list[Seen]:
    """Run something and tell in order how each of the parts was called."""
    seen: list[Seen] = []

    def heard(name: str) -> Callable[..., None]:
        def hook(_: Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
            inputs = [value.clone() for _, value in given(args, kwargs) if isinstance(value, Tensor)]
            out = first(output)
            besides = len(output) - 1 if isinstance(output, tuple) else None
            seen.append(Seen(name, tuple(inputs), out.clone() if isinstance(out, Tensor) else None, besides))

        return hook

    hooks = [part.register_forward_hook(heard(name), with_kwargs=True) for name, part in parts.items()]
    try:
        run()
    finally:
        for hook in hooks:
            hook.remove()
    return seen


def same(x: Tensor | None, y: Tensor | None) -> bool:
    """Equal numbers, whatever their shapes."""
    return x is not None and y is not None and x.numel() == y.numel() and torch.equal(x.flatten(), y.flatten())
