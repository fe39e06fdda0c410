"""What is said to a person, read from a TOML file beside the module that says it.

A text names its values in braces, as ``str.format`` has them: ``"{n:,} edges, KL {row[kl]:.2f}"``.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from functools import reduce
from pathlib import Path
from typing import Any


def beside(module: str, file: str) -> str:
    """The text of a file that ships beside a module, whose ``__file__`` is `module`."""
    return (Path(module).parent / file).read_text(encoding="utf-8")


class Words:
    """The texts of one file.

    Args:
        module: ``__file__`` of the module beside which the file stands.
        always: values that every text may name.
    """

    def __init__(self, module: str, file: str, **always: Any) -> None:
        self.texts = tomllib.loads(beside(module, file))
        self.always = always

    def __call__(self, name: str, /, **values: Any) -> str:
        """The text ``part.name`` with its values."""
        return str(self.parts(name, **values))

    def parts(self, name: str, /, **values: Any) -> Any:
        """All that stands under a name, such as the arguments of a widget, its texts with their values."""
        found = reduce(lambda table, key: table[key], name.split("."), self.texts)
        return _filled(found, self.always | values)


def _filled(found: Any, values: Mapping[str, Any]) -> Any:
    if isinstance(found, str):
        return found.format_map(values)
    return {key: _filled(item, values) for key, item in found.items()} if isinstance(found, dict) else found


say = Words(__file__, "messages.toml")  # the engine's own
