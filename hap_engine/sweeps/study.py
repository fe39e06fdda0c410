"""Which runs a study asks for: every combination of its settings, each an ordinary run with its ordinary id (no torch).

A study is a TOML file, or the same as options of ``hap sweep``: names of settings, each with one value or a list::

    model = ["hap-mini"]
    task = ["ioi", "greater-than"]
    sparsity = [0.95, 0.98]
    seed = [0, 1, 2]
    preset = "quick"

All that is wrong is told at once, before anything starts.
"""

from __future__ import annotations

import itertools
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path
from types import NoneType
from typing import Any, get_args, get_type_hints

from hap_engine.errors import HapError, SettingsError
from hap_engine.models.catalog import identity, resolve
from hap_engine.runs.schema import ID
from hap_engine.settings import DiscoveryConfig, PruningConfig, offered, run_id, with_preset
from hap_engine.tasks.custom import NAME as CUSTOM
from hap_engine.words import say

KINDS = {name: kind for config in (DiscoveryConfig, PruningConfig) for name, kind in get_type_hints(config).items()}
SPLITS = ("train", "validation", "test")  # prompts of each
MOST = 100_000  # cells: a list with a typing error should not fill a disk


@dataclass(frozen=True)
class Cell:
    """One run of a study."""

    id: str  # of the run, and so of its file
    given: Mapping[str, Any]  # what the study says of it, by the settings' names
    config: DiscoveryConfig


def read_study(path: Path) -> dict[str, list[Any]]:
    """The lists of values of a study file. Raises SettingsError."""
    try:
        text = path.read_text(encoding="utf-8")
        found = tomllib.loads(text)
    except (OSError, UnicodeError) as error:
        raise SettingsError(say("sweeps.unread", path=path, why=getattr(error, "strerror", None) or error)) from error
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(say("sweeps.toml", path=path, why=error)) from error
    return {name: value if isinstance(value, list) else [value] for name, value in found.items()}


def cells(study: Mapping[str, Sequence[Any]]) -> list[Cell]:
    """Every cell of the grid, each id once, the cells of one model together.

    Raises:
        SettingsError: with everything that is wrong, one line each.
    """
    if wrong := [*_unknown(study), *_mistyped(study)]:
        raise SettingsError(say("sweeps.wrong", lines="\n".join(wrong)))
    count = 1
    for values in study.values():
        count *= len(values)
    if not 0 < count <= MOST:
        raise SettingsError(say("sweeps.many", most=MOST, count=count))
    found, impossible, known = dict[str, Cell](), dict[str, None](), dict[str, str]()
    for values in itertools.product(*study.values()):
        given = dict(zip(study, values, strict=True))
        try:
            config = _config(given)
            name = config.model
            if name not in known:
                known[name] = identity(resolve(name)) or ""
                if not known[name]:
                    raise SettingsError(say("sweeps.not_here", name=name))
            cell = Cell(run_id(config, known[name]), given, config)
            found.setdefault(cell.id, cell)
        except HapError as error:
            impossible[f"- {error}"] = None
    if impossible:
        raise SettingsError(say("sweeps.wrong", lines="\n".join(impossible)))
    return sorted(found.values(), key=lambda cell: cell.config.model)


def names() -> list[str]:
    """What a study may say."""
    return [*offered(DiscoveryConfig), "preset", *offered(PruningConfig), *SPLITS]


def _unknown(study: Mapping[str, Sequence[Any]]) -> list[str]:
    wrong = []
    for name in study:
        if name not in names():
            near = get_close_matches(name, names(), 1)
            wrong.append(say("sweeps.unknown", name=name, near=f" Did you mean {near[0]}?" if near else ""))
    if CUSTOM in study.get("task", ()):
        wrong.append(say("sweeps.custom"))
    return wrong


def _mistyped(study: Mapping[str, Sequence[Any]]) -> list[str]:
    """A value of another type than its setting has, and a list without values."""
    wrong = []
    for name in study.keys() & {*names()}:
        kind = {"preset": str, **dict.fromkeys(SPLITS, int)}.get(name) or KINDS[name]
        kinds = [one for one in get_args(kind) or (kind,) if one is not NoneType]
        fitting = (*kinds, int) if float in kinds else (*kinds,)
        odd = [value for value in study[name] if isinstance(value, bool) or not isinstance(value, fitting)]
        wrong += [say("sweeps.kind", name=name, kind=kinds[0].__name__, value=value) for value in odd]
        if not study[name]:
            wrong.append(say("sweeps.empty", name=name))
    return wrong


def _config(given: Mapping[str, Any]) -> DiscoveryConfig:
    """The settings of a cell. Raises HapError."""
    own = {name: value for name, value in given.items() if name in offered(DiscoveryConfig)}
    sizes = {name: value for name, value in given.items() if name in SPLITS}
    config = DiscoveryConfig(**own)
    if "preset" in given:
        config = with_preset(config, given["preset"])
    config = replace(config, sizes=replace(config.sizes, **sizes))
    pruning = {name: value for name, value in given.items() if name in offered(PruningConfig)}
    return replace(config, pruning=replace(config.pruning, **pruning))


def of_record(record: Mapping[str, Any]) -> Cell:
    """A cell as `Cell.given` describes it in a sweep's folder. Raises ValueError for an id that is no file's name."""
    if not ID.fullmatch(record["id"]):
        raise ValueError(record["id"])
    return Cell(record["id"], record["given"], _config(record["given"]))


def to_record(cell: Cell) -> dict[str, Any]:
    return {"id": cell.id, "given": dict(cell.given)}
