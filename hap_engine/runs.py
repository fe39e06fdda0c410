"""The run file: everything one discovery found, as versioned JSON.

A run is plain data (no pickle, no code), valid on its own: model, task, seed, settings, versions,
graph sizes, circuits as lists of ``[writer, reader]`` names, metrics with their split and ablation,
roles, the prompts used and the seconds spent. Full score matrices may sit beside it in
``<id>.safetensors``. Files are written to a temporary name and renamed, so a reader never sees half
a run. Loading checks every part that others rely on and answers with one plain sentence.
"""

from __future__ import annotations

import json
import math
import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import platformdirs

from hap_engine.circuit import Circuit
from hap_engine.errors import RunFileError, UnknownNameError
from hap_engine.graph import Graph
from hap_engine.run_checks import METRICS as METRICS
from hap_engine.run_checks import check, check_header

FORMAT = "hap-run"
VERSION = 1
MAX_BYTES = 20 * 2**20  # a SmolLM2 run is about 2 MB; ten times that is not one of ours

EDGE_VALUES = ("scores", "ranks", "gates")


@dataclass(frozen=True)
class CircuitRecord:
    """A circuit of live edges with what the run knows about each of them.

    Attributes:
        circuit: live edges only.
        n_raw: edges chosen before dead ones were removed.
        values: per edge, in the order of ``circuit.names()``: ``scores`` (EAP score), ``ranks`` (EAP
            rank, 1 = largest absolute score), ``gates`` (log alpha after EP; NaN where EP never saw
            the edge).
    """

    circuit: Circuit
    n_raw: int
    values: Mapping[str, np.ndarray] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        return {
            "edges": [list(names) for names in self.circuit.names()],
            "n_raw": self.n_raw,
            "n_live": len(self.circuit),
            **{key: _numbers(array) for key, array in self.values.items()},
        }


@dataclass(frozen=True)
class Run:
    """One discovery. Sections keep the shape that they have in the file (see docs/run-file.md)."""

    id: str
    created: str
    command: str
    versions: Mapping[str, str]
    machine: Mapping[str, Any]
    model: Mapping[str, Any]
    task: Mapping[str, Any]
    seed: int
    settings: Mapping[str, Any]
    graph: Graph
    circuits: Mapping[str, CircuitRecord]
    metrics: Mapping[str, Mapping[str, Any]]
    seconds: Mapping[str, float]
    prompts: Mapping[str, Sequence[Mapping[str, Any]]]
    roles: Mapping[str, Any] = field(default_factory=dict)
    heads: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    history: Sequence[Mapping[str, Any]] = ()
    replay: Mapping[str, Any] = field(default_factory=dict)
    attention: Sequence[Mapping[str, Any]] = ()
    statistics: Mapping[str, Any] = field(default_factory=dict)
    stability: Mapping[str, Any] = field(default_factory=dict)
    name: str | None = None

    @property
    def title(self) -> str:
        return (
            self.name or f"{self.model['name']} · {self.task['title']} · {self.sparsity:.1%} sparse"
        )

    @cached_property
    def fingerprint(self) -> str:
        """Tells this content from that of the same run with other circuits; for caches of a process."""
        circuits = tuple((name, record.circuit) for name, record in self.circuits.items())
        return f"{self.id}-{self.created}-{hash(circuits):x}"

    @property
    def sparsity(self) -> float:
        return float(self.settings["sparsity"])

    @property
    def main(self) -> str:
        """Key of the circuit that the run set out to find (``hap``, ``ep`` or ``eap``)."""
        return str(self.settings["method"])

    def to_dict(self) -> dict[str, Any]:
        plain = [f.name for f in fields(self) if f.name not in ("graph", "circuits")]
        return {
            "format": FORMAT,
            "version": VERSION,
            **{key: getattr(self, key) for key in plain},
            "graph": self.graph.to_dict(),
            "circuits": {key: record.to_dict() for key, record in self.circuits.items()},
        }

    @classmethod
    def from_dict(cls, data: Any) -> Run:
        """Check and read a run.

        Raises:
            RunFileError: naming the part that is missing or wrong.
        """
        check_header(data, FORMAT, VERSION)
        graph = Graph.from_dict(_section(data, "graph", dict))
        circuits = {
            key: _circuit(graph, key, value)
            for key, value in _section(data, "circuits", dict).items()
        }
        optional = {
            "roles": dict, "heads": dict, "history": list, "replay": dict, "attention": list,
            "statistics": dict, "stability": dict,
        }  # fmt: skip
        run = cls(
            **{key: _section(data, key, str) for key in ("id", "created", "command")},
            **{
                key: _section(data, key, dict)
                for key in (
                    "versions",
                    "machine",
                    "model",
                    "task",
                    "settings",
                    "metrics",
                    "seconds",
                )
            },
            **{key: _section(data, key, kind) for key, kind in optional.items() if key in data},
            seed=_section(data, "seed", int),
            prompts=_section(data, "prompts", dict),
            name=data.get("name") if isinstance(data.get("name"), str) else None,
            graph=graph,
            circuits=circuits,
        )
        run = _with_clip(run)
        check(run)
        return replace(run, metrics={k: _nan_for_null(row) for k, row in run.metrics.items()})


def _with_clip(run: Run) -> Run:
    """Runs made before gates' pulls were limited (`PruningConfig.clip`) say so from now on."""
    pruning = run.settings.get("pruning")
    if not isinstance(pruning, dict) or "clip" in pruning:
        return run
    limit = " --clip 0" if " discover " in run.command else ""
    settings = {**run.settings, "pruning": {**pruning, "clip": 0.0}}
    return replace(run, settings=settings, command=run.command + limit)


def runs_folder() -> Path:
    """Where finished runs live: ``$HAP_HOME/runs``, or the platform's data folder."""
    return home() / "runs"


def home() -> Path:
    """``$HAP_HOME``, or the platform's folder for user data."""
    chosen = os.environ.get("HAP_HOME")
    return Path(chosen) if chosen else Path(platformdirs.user_data_dir("hap-explorer"))


def dumps(run: Run) -> str:
    return json.dumps(_plain(run.to_dict()), ensure_ascii=False, allow_nan=False)


def loads(text: str | bytes) -> Run:
    """Read a run from the text of its file. Raises RunFileError."""
    if len(text) > MAX_BYTES:
        raise RunFileError(
            f"Expected a run file of at most {MAX_BYTES >> 20} MB, got {len(text) / 2**20:.0f} MB. "
            "Export the run again from the explorer."
        )
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise RunFileError(f"This is not a run file: not valid JSON ({error}).") from None
    return Run.from_dict(data)


def save(run: Run, path: Path | str) -> Path:
    """Write `run` to `path` by atomic rename."""
    return write_text(path, dumps(run))


def write_text(path: Path | str, text: str) -> Path:
    """Write a file by atomic rename: a reader sees the old text or the new one, never a part."""
    path = Path(path)  # a notebook may give text
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, suffix=".part")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    return path


def load(path: Path | str) -> Run:
    """Read a run file. Raises RunFileError."""
    path = Path(path)
    try:
        if path.stat().st_size > MAX_BYTES:
            raise RunFileError(
                f"Expected a run file of at most {MAX_BYTES >> 20} MB, got "
                f"{path.stat().st_size / 2**20:.0f} MB: {path.name} is not one of ours."
            )
        return loads(path.read_bytes())
    except OSError as error:
        raise RunFileError(
            f"Cannot read the run file {path.name}: {error.strerror}. Check the path."
        ) from None


def _section(data: Mapping[str, Any], key: str, kind: type) -> Any:
    value = data.get(key)
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise RunFileError(
            f"The run file's {key!r} should be a {_KINDS[kind]}, got {type(value).__name__}. "
            "The file is damaged; export it again."
        )
    return value


_KINDS = {dict: "mapping", list: "list", str: "text", int: "whole number"}


def _circuit(graph: Graph, key: str, data: Any) -> CircuitRecord:
    where = f"circuit {key!r}"
    if not isinstance(data, dict) or not isinstance(data.get("edges"), list):
        raise RunFileError(f"The run file's {where} should hold a list of edges.")
    pairs = data["edges"]
    if not all(
        isinstance(p, list) and len(p) == 2 and all(isinstance(n, str) for n in p) for p in pairs
    ):
        raise RunFileError(f"Each edge of the {where} should be a pair of names [writer, reader].")
    try:
        rows_columns = [graph.edge(writer, reader) for writer, reader in pairs]
    except UnknownNameError as error:
        raise RunFileError(f"The {where} has an edge that its graph lacks. {error}") from None
    kept = np.zeros_like(graph.edge_mask)
    for cell in rows_columns:
        kept[cell] = True
    if kept.sum() != len(pairs):
        raise RunFileError(f"The {where} lists an edge twice.")
    # Values follow the order of the file's edges; a circuit lists its edges in matrix order.
    order = sorted(range(len(pairs)), key=rows_columns.__getitem__)
    values = {
        name: _values(data[name], order, f"{where} {name}") for name in EDGE_VALUES if name in data
    }
    n_raw = data.get("n_raw", len(pairs))
    if not isinstance(n_raw, int) or n_raw < len(pairs):
        raise RunFileError(f"The {where} states {n_raw!r} raw edges but lists {len(pairs)}.")
    return CircuitRecord(Circuit(graph, kept), n_raw, values)


def _nan_for_null(row: Mapping[str, Any]) -> dict[str, Any]:
    """NaN (a faithfulness without span) is null in the file."""
    return {**row, **{key: math.nan for key in METRICS if row[key] is None}}


def _values(data: Any, order: list[int], where: str) -> np.ndarray:
    numbers = isinstance(data, list) and len(data) == len(order)
    if not numbers or not all(x is None or isinstance(x, int | float) for x in data):
        raise RunFileError(f"Expected one number (or null) per edge in {where}.")
    try:
        array = np.array([math.nan if x is None else float(x) for x in data])
    except OverflowError:
        raise RunFileError(f"A number in {where} is too large.") from None
    return array[order] if order else array


def _numbers(array: np.ndarray) -> list[float | None]:
    """Numbers as JSON: NaN becomes null; seven significant digits are more than float32 holds."""
    return [None if not math.isfinite(x) else float(f"{x:.7g}") for x in np.asarray(array).tolist()]


def _plain(value: Any) -> Any:
    """Dataclass-free, NaN-free JSON data."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, np.ndarray):
        return _plain(value.tolist())
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, np.generic):
        return _plain(value.item())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value
