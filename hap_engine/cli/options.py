"""The terminal's commands and their options, which stand in ``options.toml`` (no torch)."""

from __future__ import annotations

import argparse
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from types import NoneType
from typing import Any, get_args, get_type_hints

from hap_engine.machine.estimate import AUTO
from hap_engine.settings import DiscoveryConfig, PruningConfig, offered
from hap_engine.words import beside

ABOUT = "Discover, evaluate and compare circuits of transformers."
KINDS = {"int": int, "float": float, "path": Path}
CONFIGS = {config.__name__: config for config in (DiscoveryConfig, PruningConfig)}


def make_parser() -> argparse.ArgumentParser:
    """Reads the command (``options.command``) and its options."""
    name = "hap" if Path(sys.argv[0]).stem == "hap" else "python -m hap_engine"
    parser = argparse.ArgumentParser(prog=name, description=ABOUT)
    commands = parser.add_subparsers(dest="command", required=True, metavar="command")
    for title, told in tomllib.loads(beside(__file__, "options.toml")).items():
        command = commands.add_parser(title, **told["about"])
        for option in told["options"]:
            ADDED[next((kind for kind in ADDED if kind in option), "name")](command, **option)
    commands.choices["discover"].set_defaults(dtype=AUTO)
    return parser


def _offer(command: argparse.ArgumentParser, settings: str, defaults: bool = False, **more: Any) -> None:
    """An option for each setting of a config that is one: its name, its type and its help stand there."""
    config = CONFIGS[settings]
    types, usual = get_type_hints(config), vars(config()) if defaults else {}
    for name, text in offered(config).items():
        kind = next(kind for kind in (*get_args(types[name]), types[name]) if kind is not NoneType)
        option, said = f"--{name.replace('_', '-')}", text.replace("%", "%%")
        command.add_argument(option, type=_read(kind, text), default=usual.get(name), help=said, **more)


def _read(kind: type, about: str) -> Callable[[str], Any]:
    """Reads a value; where it is no number says which kind is expected, and what of, with its unit."""

    def read(text: str) -> Any:
        try:
            return kind(text)
        except ValueError:
            expected = "a whole number" if kind is int else "a number"
            raise argparse.ArgumentTypeError(f"expected {expected} ({about}), got {text!r}") from None

    return read if kind in (int, float) else kind


def _offer_lists(command: argparse.ArgumentParser, lists: str) -> None:
    """The same, each with any number of values."""
    _offer(command, lists, nargs="+")


def _add(command: argparse.ArgumentParser, name: str, **option: Any) -> None:
    """An option as the file has it; ``{bos}`` in a help is that of the setting."""
    if "type" in option:
        option["type"] = _read(KINDS[option["type"]], option.get("help", ""))
    if "help" in option:
        option["help"] = option["help"].replace("{bos}", offered(DiscoveryConfig)["bos"])
    command.add_argument(name, **option)


# Any of them takes what its entries give.
ADDED: dict[str, Callable[..., None]] = {
    "settings": _offer,
    "lists": _offer_lists,
    "name": _add,
}  # by the key that an entry of the file has
