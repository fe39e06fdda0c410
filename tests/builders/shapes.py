"""The checker of array shapes while tests run: beartype, for signatures that state the shape of an array."""

from __future__ import annotations

import re
from typing import Any

from beartype import BeartypeConf, beartype

STATES_A_SHAPE = re.compile(r"\b(Float|Int|Bool|Shaped)\[")
_check = beartype(conf=BeartypeConf(is_pep484_tower=True))  # a whole number is a number


def checked(function: Any) -> Any:
    """`function`, checked at each call if its signature states a shape; fakes stand in for everything else."""
    stated = " ".join(map(str, getattr(function, "__annotations__", {}).values()))
    return _check(function) if STATES_A_SHAPE.search(stated) else function
