"""The checker of array shapes while tests run: jaxtyping with beartype, for signatures that state an array's shape.

What it says depends on the kinds, sizes and element types of what goes in and comes out, and on nothing else. So each
combination of these is checked when a function first meets it: checked at every call, tests took up to six times
as long.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from functools import wraps
from threading import get_ident
from types import FunctionType
from typing import Any

import jaxtyping
from beartype import BeartypeConf, beartype

STATES_A_SHAPE = re.compile(r"\b(Float|Int|Bool|Shaped)\[")
_beartype = beartype(conf=BeartypeConf(is_pep484_tower=True))  # a whole number is a number
_every_call = jaxtyping.jaxtyped


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
    stated: list[Any] = []

    def check(function: Any) -> Any:
        """jaxtyping asks here with the names in the annotations resolved."""
        if not STATES_A_SHAPE.search(" ".join(map(str, function.__annotations__.values()))):
            return function
        stated.append(function)
        return _beartype(function)

    checking = _every_call(made, typechecker=check)
    return _at_each_new_shape(made, checking, check) if stated else made


def _at_each_new_shape(function: Any, checking: Any, check: Any) -> Any:
    given: dict[int, Any] = {}  # what came out, by thread
    thread = get_ident  # the names of this module are out of reach below

    def give(*_: Any, **__: Any) -> Any:
        return given.pop(thread())

    answer = wraps(function)(FunctionType(give.__code__, function.__globals__, closure=give.__closure__))
    checking_answer = _every_call(answer, typechecker=check)
    known_in, known_out = set(), set()

    @wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        into = kind(args), *((name, kind(value)) for name, value in kwargs.items())
        out = (function if into in known_in else checking)(*args, **kwargs)
        both = into, kind(out)
        if both not in known_out:
            if into in known_in:
                given[thread()] = out
                checking_answer(*args, **kwargs)
            known_in.add(into)
            known_out.add(both)
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
