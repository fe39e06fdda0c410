"""The house: no import circle, folders that fit a glance, packages that say what is in them."""

from __future__ import annotations

import ast
import re
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


NAMED = re.compile(r"(?<![\w/.])(?:hap_engine|app|tests)/[\w/]+\.(?:py|css|js)\b|hap_engine(?:\.\w+)+|`\w+\.py`")


def stands(name: str) -> bool:
    """Whether there is such a file (a path, or a bare name in quotes), module, or name in a module."""
    if name.endswith("`"):
        return any(path.name == name.strip("`") for path in [*FILES.values(), *(ROOT / "tests").rglob("*.py")])
    if "/" in name:
        return (ROOT / name).is_file()
    parts = name.split(".")
    module = next(cut for cut in range(len(parts), 0, -1) if ".".join(parts[:cut]) in FILES)
    text = FILES[".".join(parts[:module])].read_text(encoding="utf-8")
    return module == len(parts) or re.search(rf"\b{parts[module]}\b", text) is not None


def test_texts_name_only_what_there_is() -> None:
    """Comments, docstrings, pages and code in strings: what has moved misleads whoever looks for it."""
    pages = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "docs").rglob("*.py")]
    tests = (ROOT / "tests").rglob("*.py")
    words = [path for package in PACKAGES for path in (ROOT / package).rglob("*.toml")]
    for path in [ROOT / "Makefile", ROOT / "pyproject.toml", *pages, *words, *tests, *FILES.values()]:
        wrong = [name for name in NAMED.findall(path.read_text(encoding="utf-8")) if not stands(name)]
        assert not wrong, f"{path.relative_to(ROOT)} names {wrong}"
