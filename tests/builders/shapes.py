"""The checker of array shapes while tests run: jaxtyping with beartype, for signatures that state an array's shape.

What it says depends on the kinds, sizes and element types of what goes in and comes out, and on nothing else. So each
combination of these is checked when a function first meets it: checked at every call, tests took up to six times
as long.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Mapping
from functools import wraps
from inspect import Signature, signature
from threading import get_ident
from types import FunctionType
from typing import Any

import jaxtyping
from beartype import BeartypeConf, beartype

STATES_A_SHAPE = re.compile(r"\b(Float|Int|Bool|Shaped)\[")
WORD = re.compile(r"\w+")
_every_call = jaxtyping.jaxtyped(typechecker=beartype(conf=BeartypeConf(is_pep484_tower=True)))  # an int is a float


def install(package: str) -> None:
    """Check the modules of a package, which must not have been imported yet."""
    jaxtyping.jaxtyped = lambda typechecker: checked  # the name that decorates every function and class
    jaxtyping.install_import_hook(package, None)


def checked(made: Any) -> Any:
    """A function, or a dataclass by its `__init__`, checked if it states a shape; fakes stand in for all else."""
    if isinstance(made, type):
        if dataclasses.is_dataclass(made):
            made.__init__ = checked(made.__init__)  # type: ignore[misc]
        return made
    return _at_each_new_shape(made) if _states_a_shape(made) else made


def _states_a_shape(function: Any) -> bool:
    """In its annotations or in what they name."""
    stated = " ".join(map(str, function.__annotations__.values()))
    named = (str(function.__globals__.get(word)) for word in WORD.findall(stated))
    return any(map(STATES_A_SHAPE.search, (stated, *named)))


@dataclasses.dataclass(frozen=True)
class Check:
    """Of what goes into one function and what comes out."""

    into: Callable[..., Any]
    out: Callable[..., Any]
    given: dict[int, Any]  # what came out, by thread
    known: set[Any] = dataclasses.field(default_factory=set)  # what was right before


_checks: dict[Any, Check] = {}  # a function within a function is made again and again


def _check_of(function: Any) -> Check:
    name = function.__module__, function.__qualname__, function.__code__
    if name not in _checks:
        stated, given = signature(function), {}
        thread = get_ident  # in a stub the names of this module are out of reach

        def give(*_: Any, **__: Any) -> Any:
            return given.pop(thread(), None)

        def stub(says: Signature) -> Any:
            made = FunctionType(give.__code__, function.__globals__, function.__name__, closure=give.__closure__)
            made.__module__, made.__qualname__, made.__signature__ = function.__module__, function.__qualname__, says
            return _every_call(made)

        _checks[name] = Check(stub(stated.replace(return_annotation=Signature.empty)), stub(stated), given)
    return _checks[name]


def _at_each_new_shape(function: Any) -> Any:
    check = _check_of(function)
    known = check.known

    @wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        into = kind(args), *((name, kind(value)) for name, value in kwargs.items())
        if into not in known:
            check.into(*args, **kwargs)
            known.add(into)
        out = function(*args, **kwargs)
        both = into, kind(out)
        if both not in known:
            check.given[get_ident()] = out
            check.out(*args, **kwargs)
            known.add(both)
        return out

    return call


def kind(value: Any) -> Any:
    """All of a value that a signature can speak of, as something that can be compared.

    Lists and the values of mappings count as the set of what is in them, however often it is there.
    """
    if hasattr(type(value), "__array__"):
        return type(value), value.dtype, value.shape
    if isinstance(value, tuple):
        return type(value), tuple(map(kind, value))
    if isinstance(value, list | set | frozenset):
        return type(value), frozenset(map(kind, value))
    if isinstance(value, Mapping):
        return type(value), frozenset((kind(key), kind(part)) for key, part in value.items())
    return type(value)
