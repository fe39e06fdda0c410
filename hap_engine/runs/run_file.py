"""The run file: everything one discovery found, as versioned JSON.

A run is plain data (no pickle, no code), valid on its own: model, task, seed, settings, versions,
graph sizes, circuits as lists of ``[writer, reader]`` names, metrics with their split and ablation,
roles, the prompts used and the seconds spent. Files are written to a temporary name and renamed, so a
reader never sees half a run. Loading checks every part that others rely on and answers with one plain
sentence.
"""

from __future__ import annotations

import json
import math
import shlex
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from hap_engine.errors import DiskError, RunFileError, UnknownNameError
from hap_engine.files import home, parse_json, write_text
from hap_engine.findings import EDGE_VALUES, METRICS, CircuitRecord
from hap_engine.graph.circuit import Circuit
from hap_engine.graph.graph import Graph
from hap_engine.runs.compact import packed, packed_replay, unpacked, unpacked_replay
from hap_engine.runs.record import Run
from hap_engine.runs.schema import OPTIONAL, REQUIRED, check, check_header, conform
from hap_engine.settings import PruningConfig

FORMAT = "hap-run"
VERSION = 1
REMEDIES = ("The file is damaged; export it again.", "run `evaluate --full` again.")  # of content that is wrong
MAX_BYTES = 60 * 2**20  # a SmolLM2 run is about 2 MB, one of 1.6 million edges 23 (`python -m benchmarks.big_run`)


def to_dict(run: Run) -> dict[str, Any]:
    """The file's content; the inverse of `from_dict`."""
    plain = [field.name for field in fields(run) if field.name not in ("graph", "circuits")]
    return {
        "format": FORMAT,
        "version": VERSION,
        **{key: getattr(run, key) for key in plain},
        "sizes": _with_orders(run.sizes, lambda order, _: packed(order)),
        "replay": packed_replay(run.replay, run.graph),
        "graph": run.graph.to_dict(),
        "circuits": {key: _circuit_to_dict(record) for key, record in run.circuits.items()},
    }


def _circuit_to_dict(record: CircuitRecord) -> dict[str, Any]:
    return {
        "edges": [list(names) for names in record.circuit.names()],
        "n_raw": record.n_raw,
        "n_live": len(record.circuit),
        **{key: _numbers(array) for key, array in record.values.items()},
    }


def from_dict(data: Any) -> Run:
    """Check and read a run.

    Raises:
        RunFileError: naming the part that is missing or wrong.
    """
    check_header(data, FORMAT, VERSION)
    try:
        return _read(data)
    except RunFileError as error:
        told = str(error)
        raise RunFileError(told if told.endswith(REMEDIES) else f"{told} {REMEDIES[0]}") from None


def _read(data: dict[str, Any]) -> Run:
    for key, kind in {"graph": "dict", "circuits": "dict", **REQUIRED, **OPTIONAL}.items():
        if key in data or key not in OPTIONAL:
            conform(data.get(key), kind, repr(key))
    graph = Graph.from_dict(data["graph"])
    circuits = {key: _circuit(graph, key, value) for key, value in data["circuits"].items()}
    sections = {key: _known(data[key]) for key in (*REQUIRED, *OPTIONAL) if key in data}
    if "sizes" in sections:
        sections["sizes"] = _with_orders(sections["sizes"], unpacked)
    if "replay" in sections:
        sections["replay"] = unpacked_replay(sections["replay"], graph)
    name = data.get("name") if isinstance(data.get("name"), str) else None
    run = _as_then(Run(**sections | {"metrics": data["metrics"]}, name=name, graph=graph, circuits=circuits))
    check(run)
    return replace(run, metrics={k: _nan_for_null(row) for k, row in run.metrics.items()})


def _with_orders(sizes: Mapping[str, Any], change: Callable[[Any, str], Any]) -> Mapping[str, Any]:
    """The section with each of its orders changed, given also what it is called."""
    orders = sizes.get("orders")
    if not isinstance(orders, dict):
        return sizes
    return {**sizes, "orders": {name: change(order, f"order of edges {name[:40]!r}") for name, order in orders.items()}}


def _known(value: Any) -> Any:
    """A section without what is null in it: that says as much as a key that is not there."""
    if isinstance(value, dict):
        return {key: _known(item) for key, item in value.items() if item is not None}
    if isinstance(value, list) and value and isinstance(value[0], dict):
        return [_known(item) for item in value]
    return value


def _numbers(array: np.ndarray) -> list[float | None]:
    """Numbers as JSON: NaN becomes null; seven significant digits are more than float32 holds."""
    return [None if not math.isfinite(x) else float(f"{x:.7g}") for x in np.asarray(array).tolist()]


def _as_then(run: Run) -> Run:
    """The settings of a run in full, with what was the default when it was made in its command too."""
    pruning = run.settings.get("pruning")
    if not isinstance(pruning, dict):
        return run
    if "clip" not in pruning:  # runs made before a gate's pull was limited do not name it
        pruning = {**pruning, "clip": 0.0}
    today, command = asdict(PruningConfig()), run.command
    for name in ("budget", "steps", "clip"):  # whose defaults have changed
        option, value = f" --{name} ", pruning.get(name)
        if " discover " in command and value not in (None, today[name]) and option not in command:
            command += option + shlex.quote(f"{value:g}" if isinstance(value, float) else str(value))
    return replace(run, settings={**run.settings, "pruning": pruning}, command=command)


def runs_folder() -> Path:
    """Where finished runs live: ``$HAP_HOME/runs``, or the platform's data folder."""
    return home() / "runs"


def dumps(run: Run) -> str:
    return json.dumps(_plain(to_dict(run)), ensure_ascii=False, allow_nan=False, separators=(",", ": "))


def loads(text: str | bytes) -> Run:
    """Read a run from the text of its file. Raises RunFileError."""
    if len(text) > MAX_BYTES:
        raise RunFileError(
            f"Expected a run file of at most {MAX_BYTES >> 20} MB, got {len(text) / 2**20:.0f} MB. "
            "Export the run again from the explorer."
        )
    try:
        data = parse_json(text)
    except ValueError as error:
        raise RunFileError(f"This is not a run file: not valid JSON ({error}). {REMEDIES[0]}") from None
    return from_dict(data)


def save(run: Run, path: Path | str) -> Path:
    """Write `run` to `path` by atomic rename. Raises DiskError."""
    return write_text(path, dumps(run))


def keep(run: Run, path: Path) -> tuple[Path, DiskError | None]:
    """`save` a run that took long; where the disk refuses, into the folder for temporary files.

    Returns:
        The file that was written and, if it is not `path`, the error that says why.

    Raises:
        DiskError: if that folder cannot be written either.
    """
    try:
        return save(run, path), None
    except DiskError as error:
        kept = save(run, elsewhere(run))
        return kept, DiskError(f"{error} The run is safe in {kept}: move it from there.")


def elsewhere(run: Run) -> Path:
    """Where a run goes that its own place does not take."""
    return Path(tempfile.gettempdir()) / f"hap-run-{run.id}.json"


def load(path: Path | str) -> Run:
    """Read a run file. Raises RunFileError."""
    path = Path(path)
    try:
        if path.stat().st_size > MAX_BYTES:
            raise RunFileError(
                f"Expected a run file of at most {MAX_BYTES >> 20} MB, got "
                f"{path.stat().st_size / 2**20:.0f} MB: {path.name} is not one of ours. Choose another."
            )
        return loads(path.read_bytes())
    except OSError as error:
        raise RunFileError(f"Cannot read the run file {path.name}: {error.strerror}. Check the path.") from None


def _circuit(graph: Graph, key: str, data: Any) -> CircuitRecord:
    where = f"circuit {key!r}"
    if not isinstance(data, dict) or not isinstance(data.get("edges"), list):
        raise RunFileError(f"The run file's {where} should hold a list of edges.")
    pairs = data["edges"]
    if not all(isinstance(p, list) and len(p) == 2 and all(isinstance(n, str) for n in p) for p in pairs):
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
    values = {name: _values(data[name], order, f"{where} {name}") for name in EDGE_VALUES if name in data}
    n_raw = data.get("n_raw", len(pairs))
    if not isinstance(n_raw, int) or n_raw < len(pairs):
        raise RunFileError(f"The {where} states {n_raw!r} raw edges but lists {len(pairs)}.")
    return CircuitRecord(Circuit(graph, kept), n_raw, values)


def _nan_for_null(row: Mapping[str, Any]) -> dict[str, Any]:
    """NaN (a faithfulness without span) is null in the file."""
    return _known(row) | {key: math.nan for key in METRICS if row[key] is None}


def _values(data: Any, order: list[int], where: str) -> np.ndarray:
    numbers = isinstance(data, list) and len(data) == len(order)
    if not numbers or not all(x is None or isinstance(x, int | float) for x in data):
        raise RunFileError(f"Expected one number (or null) per edge in {where}.")
    try:
        array = np.array([math.nan if x is None else float(x) for x in data])
    except OverflowError:
        raise RunFileError(f"A number in {where} is too large.") from None
    return array[order] if order else array


def _plain(value: Any) -> Any:
    """Dataclass-free, NaN-free JSON data."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items() if item is not None}
    if isinstance(value, np.ndarray):
        return _plain(value.tolist())
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, np.generic):
        return _plain(value.item())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value
