"""What the pages say: each text that is asked for is there, with the values that it names, and each is asked for."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from string import Formatter
from typing import Any

import pytest

from app.words import say

ROOT = Path(__file__).resolve().parents[2]
ASKERS = ("say", "widget", "grid", "parts", "_select", "_number", "_download", "select")
FULL = re.compile(r"^[a-z_]+(\.[a-z0-9_]+)+$|^edge$")


def asked() -> Iterator[tuple[str, str, ast.Call]]:
    """(file, name or pattern of names, call) of everything that code asks of the words."""
    for path in sorted((ROOT / "app").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            called = node.func if isinstance(node, ast.Call) else None
            name = (
                called.id if isinstance(called, ast.Name) else called.attr if isinstance(called, ast.Attribute) else ""
            )
            if isinstance(node, ast.Call) and name in ASKERS:
                yield from ((path.name, text, node) for given in node.args for text in texts(given))


def texts(node: ast.expr) -> Iterator[str]:
    """The texts that an argument may be; ``.*`` stands for what an f-string fills in."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield re.escape(node.value)
    elif isinstance(node, ast.IfExp):
        yield from (*texts(node.body), *texts(node.orelse))
    elif isinstance(node, ast.JoinedStr):
        yield "".join(re.escape(str(p.value)) if isinstance(p, ast.Constant) else ".*" for p in node.values)


def leaves(found: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Every text, or list of texts, with its name."""
    if isinstance(found, dict):
        for key, inner in found.items():
            yield from leaves(inner, f"{name}.{key}" if name else key)
    else:
        yield name, found


def named(found: Any) -> set[str]:
    """The values that a text, or those of a group, name in braces."""
    if isinstance(found, dict):
        return set().union(*map(named, found.values()))
    fields = (field for _, field, _, _ in Formatter().parse(found) if field) if isinstance(found, str) else ()
    return {re.split(r"[.\[]", field)[0] for field in fields} - {"define"}


@pytest.mark.parametrize(("file", "name", "call"), [case for case in asked() if FULL.match(case[1].replace("\\", ""))])
def test_what_is_asked_for_is_there_with_its_values(file: str, name: str, call: ast.Call) -> None:
    found: Any = say.texts
    for part in name.replace("\\", "").split("."):
        assert part in found, f"{file} asks for {name}"
        found = found[part]
    given = {keyword.arg for keyword in call.keywords}
    if None not in given and isinstance(call.func, ast.Name) and call.func.id in ("say", "widget"):
        assert given == named(found), f"{file} gives {name} other values than it names"


def test_every_text_is_asked_for() -> None:
    patterns = [re.compile(pattern + r"(\..*)?") for _, pattern, _ in asked() if "." in pattern.replace(".*", "")]
    unused = [name for name, _ in leaves(say.texts) if not any(pattern.fullmatch(name) for pattern in patterns)]
    assert [
        name for name in unused if not name.startswith(("edge.", "metrics.", "scorecard."))
    ] == []  # these are taken whole
