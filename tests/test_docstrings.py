"""Docstrings and comments name what is there: a name in backticks is one of the code's, a file one of the project's."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SOURCES = sorted(path for package in ("hap_engine", "app") for path in (ROOT / package).rglob("*.py"))
FILES = {path.name for folder in ("hap_engine", "app", "tests", "benchmarks") for path in (ROOT / folder).rglob("*.py")}
FIELDS = {"Name": "id", "Attribute": "attr", "arg": "arg", "keyword": "arg", "FunctionDef": "name", "ClassDef": "name"}
QUOTED = re.compile(r"(?<!`)`([\w.]+)`(?!`)")


def names_in(path: Path) -> set[str]:
    """All names that a file's code uses, with those it imports and the texts that could be keys."""
    found: set[str] = set(path.relative_to(ROOT).with_suffix("").parts)
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if field := FIELDS.get(type(node).__name__):
            found.add(str(getattr(node, field)))
        elif isinstance(node, ast.alias):
            found.update(node.name.split("."))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            found.add(node.value)
    return found


def names_by_module() -> dict[str, set[str]]:
    """The names of each module and the modules of each package; those of one name together."""
    found: dict[str, set[str]] = {}
    for path in SOURCES:
        found.setdefault(path.stem, set()).update(names_in(path))
        found.setdefault(path.parent.name, set()).update({path.stem, *(p.name for p in path.parent.iterdir())})
    return found


MODULES = names_by_module()
NAMES = set().union(*MODULES.values())


def texts(path: Path) -> Iterator[str]:
    """The docstrings and comments of a file."""
    source = path.read_text(encoding="utf-8")
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Module | ast.FunctionDef | ast.ClassDef):
            yield ast.get_docstring(node) or ""
    yield from (t.string for t in tokenize.generate_tokens(io.StringIO(source).readline) if t.type == tokenize.COMMENT)


def there(name: str) -> bool:
    """Whether every part of a dotted name is one of the code's, and that after a module's in that module."""
    parts = name.split(".")
    inside = (second in MODULES.get(first, NAMES) for first, second in pairwise(parts))
    return all(part in NAMES for part in parts) and all(inside)


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_what_a_docstring_names_is_there(path: Path) -> None:
    text = "\n".join(texts(path))
    names = QUOTED.findall(text)
    paths = re.findall(r"\b(?:tests|docs|hap_engine|app|assets|benchmarks)/[\w./-]+\.\w+", text)
    assert [name for name in names if not (name in FILES if name.endswith(".py") else there(name))] == []
    assert [name for name in paths if not (ROOT / name).exists()] == []
