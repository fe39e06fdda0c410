"""The house: no import circle, folders that fit a glance, packages that say what is in them."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("hap_engine", "app", "benchmarks")
MOST_MODULES = 12
FILES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for package in PACKAGES
    for path in (ROOT / package).rglob("*.py")
}


def imported(path: Path) -> Iterator[str]:
    """The project's modules that a file imports, within functions too."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module in FILES:
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            yield from names & FILES.keys() or {node.module}
        elif isinstance(node, ast.Import):
            yield from {alias.name for alias in node.names} & FILES.keys()


def test_no_import_circle() -> None:
    public = ("hap_engine", "hap_engine.api")  # the package's face names the api, which nothing below imports
    graph = {name: set(imported(path)) - {name} for name, path in FILES.items() if name not in public}
    order = list(TopologicalSorter(graph).static_order())  # raises CycleError, naming the circle
    assert len(order) >= len(FILES) - len(public)


@pytest.mark.parametrize("folder", sorted({path.parent for path in FILES.values()}), ids=lambda path: path.name)
def test_a_folder_fits_a_glance(folder: Path) -> None:
    modules = [path for path in folder.glob("*.py") if path.name != "__init__.py"]
    assert len(modules) <= MOST_MODULES
    text = ast.get_docstring(ast.parse((folder / "__init__.py").read_text(encoding="utf-8")))
    assert text, "a package says what is in it"


def test_no_test_imports_another() -> None:
    for path in (ROOT / "tests").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("tests."):
                assert ".test_" not in f".{node.module}", path
