"""What came of a sweep as one table: a row for each circuit at each size that was measured (no torch)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hap_engine.errors import HapError, SettingsError
from hap_engine.files import replacing
from hap_engine.runs.record import Run
from hap_engine.runs.run_file import load
from hap_engine.sweeps.folder import Folder
from hap_engine.words import say

if TYPE_CHECKING:
    from pandas import DataFrame

PARQUET, CSV = "sweep.parquet", "sweep.csv"
MEASURES = ("kl", "faithfulness", "logit_diff", "accuracy", "exact_match")


def frame(folder: Folder) -> DataFrame:
    """The rows of every finished cell: run, model, task, method, seed, sparsity, circuit, edges, share kept, measures.

    Raises:
        SettingsError: if no cell is finished.
    """
    import pandas as pd

    rows = []
    for cell in folder.cells():
        path = folder.file(cell)
        if path.exists():
            try:
                rows += list(_rows(load(path), cell.given))
            except HapError as error:
                raise SettingsError(say("sweeps.damaged", path=path, why=error)) from error
    if not rows:
        raise SettingsError(say("sweeps.nothing", path=folder.path))
    return pd.DataFrame(rows)


def _rows(run: Run, given: Any) -> Iterator[dict[str, Any]]:
    about = {
        "run": run.id,
        "model": run.model["name"],
        "task": run.task["name"],
        "method": run.settings["method"],
        "seed": run.settings["seed"],
        "sparsity": run.sparsity,
        "steps": run.settings["pruning"]["steps"],
        "seconds": run.seconds.get("total"),
        **{name: value for name, value in given.items() if name in ("preset", "scorer", "corruption")},
    }
    n_edges = run.graph.n_edges
    for name, row in run.metrics.items():
        own = {"circuit": name, "edges": row["n_edges"], "kept": row["n_edges"] / n_edges, "own_size": True}
        yield {**about, **own, "prompts": row["n_prompts"], **{key: row.get(key) for key in MEASURES}}
    for name, row in run.sizes.get("metrics", {}).items():
        for at, size in enumerate(run.sizes["grid"]):
            own = {"circuit": name, "edges": size, "kept": size / n_edges, "own_size": False}
            found = {key: row[key][at] for key in MEASURES if key in row}
            yield {**about, **own, "prompts": run.sizes["n_prompts"], **found}


def write(folder: Folder) -> Path:
    """Write the table beside the runs: `PARQUET`, or `CSV` where no reader of parquet is installed."""
    rows = frame(folder)
    try:
        import pyarrow  # noqa: F401
    except ImportError:
        path = folder.path / CSV
        with replacing(path) as file:
            rows.to_csv(file, index=False)
        return path
    path = folder.path / PARQUET
    with replacing(path) as file:
        rows.to_parquet(file, index=False)
    return path


def summary(folder: Folder, columns: Sequence[str] = ("model", "task", "sparsity", "circuit")) -> DataFrame:
    """Means over seeds at each run's own size, with the number of runs and the spread of KL over them."""
    rows = frame(folder)
    own = rows[rows["own_size"] & ~rows["circuit"].isin(["full", "empty"])]
    grouped = own.groupby([*columns, "steps"], as_index=False, sort=True)
    return grouped.agg(
        runs=("run", "nunique"),
        edges=("edges", "mean"),
        kl=("kl", "mean"),
        spread=("kl", "std"),
        faithfulness=("faithfulness", "mean"),
        exact_match=("exact_match", "mean"),
    ).round(3)
