"""What a damaged or hostile file may hold: every part of a good one, replaced by every kind of junk."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator
from random import Random
from typing import Any

GONE = object()  # in place of a value: its key is left out
JUNK = (GONE, None, True, 0, -1, 0.5, 1e308, 10**12, 10**400, "", "junk", [], ["x"], [None], [[]], {}, {"x": []})

Path = tuple[str | int, ...]


def parts(data: Any, path: Path = ()) -> Iterator[Path]:
    """Paths of all parts of a JSON value; of lists, and of mappings whose values look alike, only the first entry."""
    if path:
        yield path
    if isinstance(data, dict):
        seen = []
        for key, value in data.items():
            shape = (type(value), frozenset(value) if isinstance(value, dict) else None)
            if not isinstance(value, dict | list) or shape not in seen:
                seen.append(shape)
                yield from parts(value, (*path, key))
    elif isinstance(data, list) and data:
        yield from parts(data[0], (*path, 0))


def mutants(data: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Copies of `data` with one part changed, each with its name."""
    for path in parts(data):
        for junk in JUNK:
            yield replaced(data, path, junk)


def replaced(data: dict[str, Any], path: Path, junk: Any) -> tuple[str, dict[str, Any]]:
    """A copy of `data` with junk at `path`, and its name."""
    mutant = copy.deepcopy(data)
    *parents, last = path
    part: Any = mutant
    for key in parents:
        part = part[key]
    if junk is GONE:
        del part[last]
    else:
        part[last] = copy.deepcopy(junk)
    told = "gone" if junk is GONE else repr(junk)[:12]
    return f"{'/'.join(map(str, path))} = {told}", mutant


# What no JSON may hold, and where: the sign before it, which stands in every JSON text of some size.
NEVER = ((b'": ', b'": NaN, "a": '), (b'"', b'"\\ud800'), (b'{"', b'{"a": 1, "a": 2, "'), (b'": ', b'": ' + b"[" * 500))


def bytes_changed(data: bytes, chance: Random) -> tuple[str, bytes, bool]:
    """What became of the bytes of a file, those bytes, and whether they can be no JSON."""
    at = chance.randrange(1, len(data) - 1)
    match kind := chance.choice(("cut", "flipped", "doubled", "dropped", "never")):
        case "cut":
            return f"cut at {at}", data[:at], True
        case "flipped":
            changed = bytearray(data)
            for _ in range(chance.choice((1, 3, 30))):
                changed[chance.randrange(len(data))] = chance.randrange(256)
            return f"{kind}, one at {at}", bytes(changed), False
        case "never":
            sign, instead = chance.choice(NEVER)
            places = [found.start() for found in re.finditer(re.escape(sign), data)] or [0]
            place = chance.choice(places)
            return f"{instead[:20]!r} at {place}", data[:place] + instead + data[place + len(sign) :], True
    length = chance.choice((1, 10, 1000))
    middle = data[at : at + length] * 2 if kind == "doubled" else b""
    return f"{length} {kind} at {at}", data[:at] + middle + data[at + length :], False
