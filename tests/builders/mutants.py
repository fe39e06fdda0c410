"""What a damaged or hostile file may hold: every part of a good one, replaced by every kind of junk."""

from __future__ import annotations

import copy
from collections.abc import Iterator
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
            yield f"{'/'.join(map(str, path))} = {told}", mutant
