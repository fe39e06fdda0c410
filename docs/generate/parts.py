"""Text that a page takes from where it is written: options from the parser, words from the glossary, …

A page asks by a line of its own, ``<!-- made: options -->``; `PARTS` lists what it can ask for. The words after the
name are arguments: ``<!-- made: section README.md "The explorer" -->``.
"""

from __future__ import annotations

import argparse
import ast
import posixpath
import re
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import yaml

import hap_engine
from app.glossary import TERMS
from app.serve import parser as serve_parser
from hap_engine.cli.options import make_parser
from hap_engine.picture.palette import DARK, LIGHT, Palette

ROOT = Path(__file__).parents[2]
ASKED = re.compile(r"^<!-- made: (.+?) -->$", re.MULTILINE)
LINK = re.compile(r"(!?)\[([^\]]*)\]\(([^)\s#]+)(#[^)\s]*)?\)")
# Files outside docs/ that a page shows whole, and that page.
SHOWN_BY = {
    "README.md": "index.md",
    "CHANGELOG.md": "changelog.md",
    "CITATION.cff": "cite.md",
    "benchmarks/RESULTS.md": "studies/cost.md",
    "assets/models/hap-mini/README.md": "hap-mini.md",
}


def fill_in(markdown: str, page: str) -> str:
    """The page with all that it asks for.

    Args:
        page: its path within docs/, from which links are counted.

    Raises:
        ValueError: if it asks for what nobody makes; the build stops.
    """

    def made(asked: re.Match[str]) -> str:
        name, *arguments = shlex.split(asked[1])
        if name not in PARTS:
            raise ValueError(f"{page} asks for {name!r}; there are {', '.join(PARTS)}.")
        return relinked(PARTS[name](*arguments), arguments[0] if name in FROM_FILES else f"docs/{page}", page)

    return ASKED.sub(made, markdown)


# --- From the code ---------------------------------------------------------------------------------


def options() -> str:
    """Every command of the terminal with its options; those of ``hap app`` stand with the explorer."""
    (commands,) = [action for action in make_parser()._actions if isinstance(action, argparse._SubParsersAction)]
    about = {action.dest: action.help for action in commands._choices_actions}
    found = {**commands.choices, "app": serve_parser()}
    return "\n".join(line for name, command in found.items() for line in _command(name, command, about.get(name)))


def _command(name: str, command: argparse.ArgumentParser, about: str | None) -> Iterator[str]:
    yield f"### {name}\n"
    if about:
        sentence = _help(about, {})
        yield f"{sentence[0].upper()}{sentence[1:].rstrip('.')}.\n"
    yield f"```\nhap {name} {_usage(command)}".rstrip() + "\n```\n"
    yield from _table(command)
    yield ""


def _usage(command: argparse.ArgumentParser) -> str:
    given = [_metavar(action) for action in command._actions if not action.option_strings]
    takes_options = any(action.option_strings and action.dest != "help" for action in command._actions)
    words = [f"{name} …" if several else name for name, several in given]
    return " ".join([*words, "[options]"] if takes_options else words)


def _table(command: argparse.ArgumentParser) -> Iterator[str]:
    rows = [_row(action) for action in command._actions if action.dest != "help"]
    if rows:
        yield from ("| option | without it | meaning |", "|---|---|---|", *rows)


def _row(action: argparse.Action) -> str:
    names, (metavar, several) = action.option_strings, _metavar(action)
    shown = f"`{metavar}`{' …' if several else ''}" if not names else f"`{names[-1]}`"
    if names and action.nargs != 0:
        shown = f"`{names[-1]} {metavar}`"
    return f"| {shown} | {_default(action)} | {_cell(_help(action.help or '', vars(action)))} |"


def _metavar(action: argparse.Action) -> tuple[str, bool]:
    """What stands for the value, and whether there may be several."""
    choices = f"{{{','.join(map(str, action.choices))}}}" if action.choices else ""
    name = action.metavar or choices or (action.dest.upper() if action.option_strings else action.dest)
    return (name if isinstance(name, str) else " ".join(name)), action.nargs in ("+", "*")


def _default(action: argparse.Action) -> str:
    if action.required:
        return "must be given"
    nothing = action.default is None or action.nargs == 0 or action.default == argparse.SUPPRESS
    return "" if nothing else f"`{_cell(str(action.default))}`"


def _help(text: str, values: Any) -> str:
    return text % {"prog": "hap", **values}


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")


def glossary() -> str:
    """Every word that the explorer explains."""
    words = sorted(TERMS.items(), key=lambda item: item[0].lower())
    return "\n\n".join(f"**{name}**\n:   {_cell(meaning)}" for name, meaning in words)


def public_names() -> str:
    """What ``import hap_engine`` offers, under the modules in which it stands: mkdocstrings reads their docstrings."""
    homes: dict[str, list[str]] = {}
    for name in hap_engine.__all__:
        if name in hap_engine._PUBLIC:
            homes.setdefault(hap_engine._PUBLIC[name], []).append(name)
    lines: list[str] = []
    for home in sorted(homes, key=lambda home: home != "api"):
        module = f"hap_engine.{home}"
        lines += [f"## {_first_line(module)}", "", f"`{module}`", ""]
        for name in homes[home]:
            lines += [f"::: {module}.{name}", ""]
    return "\n".join(lines)


def docstring(module: str) -> str:
    """A module's docstring without its first line; ``::`` before an indented block becomes ``:``."""
    return re.sub(r"::\n", ":\n", _docstring(module).split("\n", 1)[1].strip())


def _docstring(module: str) -> str:
    path = ROOT.joinpath(*module.split("."))
    path = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    return ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""


def _first_line(module: str) -> str:
    return re.split(r"[.:](?:\s|$)", _docstring(module), maxsplit=1)[0]


def colours() -> str:
    """The explorer's palette as variables of the site's two schemes."""
    return "".join(
        f'[data-md-color-scheme="{scheme}"] {{ {variables(palette)} }}\n'
        for scheme, palette in (("default", LIGHT), ("slate", DARK))
    )


def variables(palette: Palette) -> str:
    return " ".join(f"--hap-{name.replace('_', '-')}: {value};" for name, value in palette.colours.items())


# --- From other files ------------------------------------------------------------------------------


def whole(path: str) -> str:
    """A Markdown file without its title and what stands above it."""
    return (ROOT / path).read_text(encoding="utf-8").partition("\n# ")[2].partition("\n")[2] or _below_title(path)


def _below_title(path: str) -> str:
    return (ROOT / path).read_text(encoding="utf-8").partition("# ")[2].partition("\n")[2]


def section(path: str, heading: str = "") -> str:
    """What stands under a heading of a Markdown file; without a name, between its title and the first heading.

    Raises:
        ValueError: if there is no such heading.
    """
    parts = re.split(r"^## (.+)$", _below_title(path), flags=re.MULTILINE)
    found = dict(zip(["", *parts[1::2]], parts[::2], strict=True))
    if heading not in found:
        raise ValueError(f"{path} has no heading {heading!r}.")
    return found[heading].strip()


def citation() -> str:
    """What to cite, from CITATION.cff."""
    data = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    lines = [data["message"], ""]
    for paper in data["references"]:
        names = [author["family-names"] for author in paper["authors"]]
        who = ", ".join(names[:-1]) + (" and " if names[1:] else "") + names[-1]
        lines.append(f"- {who} ({paper['year']}). *{paper['title']}*. [{paper['url'].split('//')[1]}]({paper['url']})")
    entries = "\n\n".join(_bibtex(paper) for paper in data["references"])
    return "\n".join([*lines, "", "```bibtex", entries, "```"])


def _bibtex(paper: dict[str, Any]) -> str:
    names = [author["family-names"] for author in paper["authors"]]
    number = paper["url"].rpartition("/")[2]
    fields = {
        "title": f"{{{paper['title']}}}",
        "author": " and ".join(names),
        "year": paper["year"],
        "eprint": number,
        "archivePrefix": "arXiv",
        "url": paper["url"],
    }
    body = ",\n".join(f"  {key} = {{{value}}}" for key, value in fields.items())
    return f"@misc{{{names[0].split()[0].lower()}{paper['year']},\n{body}\n}}"


def relinked(text: str, source: str, page: str) -> str:
    """Links of a file, counted from the page that shows it; files that no page shows are named.

    Raises:
        ValueError: for a link to a file that is not there.
    """
    here = posixpath.dirname(f"docs/{page}")

    def link(found: re.Match[str]) -> str:
        image, words, target, anchor = found.groups()
        if ":" in target:
            return found[0]
        path = posixpath.normpath(posixpath.join(posixpath.dirname(source), target))
        if not (ROOT / path).exists():
            raise ValueError(f"{source} links to {target}, which is not there.")
        shown = path if path.startswith("docs/") else f"docs/{SHOWN_BY[path]}" if path in SHOWN_BY else ""
        if not shown:
            return words if words.strip("`") == path else f"{words} (`{path}`)"
        return f"{image}[{words}]({posixpath.relpath(shown, here)}{anchor or ''})"

    return LINK.sub(link, text)


PARTS: dict[str, Callable[..., str]] = {
    "options": options,
    "glossary": glossary,
    "public_names": public_names,
    "docstring": docstring,
    "whole": whole,
    "section": section,
    "citation": citation,
}
FROM_FILES = ("whole", "section")
