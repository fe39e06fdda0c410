"""What came of a sweep as one table: a row for each circuit at each size that was measured (no torch).

Runs are read once and kept, so that a page may look again every few seconds.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hap_engine.errors import HapError, RunFileError, SettingsError
from hap_engine.files import Stamp, replacing, stamp
from hap_engine.runs.record import Run
from hap_engine.runs.run_file import load
from hap_engine.sweeps.folder import Folder
from hap_engine.words import say

if TYPE_CHECKING:
    import numpy as np
    from pandas import DataFrame

PARQUET, CSV = "sweep.parquet", "sweep.csv"
MEASURES = ("kl", "faithfulness", "logit_diff", "accuracy", "exact_match")
CONTROLS = ("full", "empty")  # which keep all or nothing, whatever the run
OWN = ("circuit", "edges", "kept", "own_size", "prompts", *MEASURES)  # columns that differ within a run
# Columns of every sweep, which a page or table lays out by name or takes means over; others are settings of the study.
USUAL = {"run", "model", "task", "method", "seed", "sparsity", "steps", "seconds", *OWN}
KEPT = 4096  # runs in memory, some 20 KB each


@dataclass(frozen=True)
class Result:
    """What a sweep takes from the run of a finished cell."""

    about: Mapping[str, Any]  # the columns that are the same in all of its rows
    rows: tuple[tuple[Any, ...], ...]  # values of `OWN`
    shape: tuple[int, int]  # layers, heads in each
    heads: frozenset[str]  # those of its main circuit


@dataclass(frozen=True)
class Results:
    """What was read of a sweep's folder: results and why a file could not be used, by id."""

    found: Mapping[str, Result]
    damaged: Mapping[str, str]
    unread: int  # finished cells for which there was no time


def read(folder: Folder, seconds: float | None = None) -> Results:
    """The results of the finished cells; those that are not known yet for so many seconds (None: all).

    Raises:
        SettingsError: if there is no sweep.
    """
    until = time.monotonic() + seconds if seconds is not None else float("inf")
    found, damaged, unread = dict[str, Result](), dict[str, str](), 0
    for cell in folder.cells():
        try:
            path = folder.file(cell)
            when = stamp(path)
            if time.monotonic() > until:
                unread += 1
                continue
            result = _read(path, when)
        except FileNotFoundError:
            continue
        except (HapError, OSError) as error:
            damaged[cell.id] = str(error)
            continue
        said = {name: value for name, value in cell.given.items() if name not in USUAL}
        found[cell.id] = Result({**result.about, **said}, result.rows, result.shape, result.heads)
    return Results(found, damaged, unread)


def rows(results: Results) -> DataFrame:
    """The rows of every result: run, model, task, method, seed, sparsity, circuit, edges, share kept, measures."""
    import pandas as pd

    made = [{**one.about, **dict(zip(OWN, row, strict=True))} for one in results.found.values() for row in one.rows]
    return pd.DataFrame(made)


def varied(made: DataFrame) -> list[str]:
    """The settings, beside the usual ones, in which runs differ: no mean is taken over these."""
    others = [name for name in made.columns if name not in USUAL and made[name].nunique(dropna=False) > 1]
    return others if "preset" in others or made["steps"].nunique(dropna=False) < 2 else [*others, "steps"]


def frame(folder: Folder) -> DataFrame:
    """`rows` of every finished cell.

    Raises:
        SettingsError: if no cell is finished, or a run file is damaged.
    """
    results = read(folder)
    for name, why in results.damaged.items():
        raise SettingsError(say("sweeps.damaged", path=folder.path / f"{name}.json", why=why))
    if not results.found:
        raise SettingsError(say("sweeps.nothing", path=folder.path))
    return rows(results)


@lru_cache(maxsize=KEPT)
def _read(path: Path, when: Stamp) -> Result:
    run = load(path)
    if run.id != path.stem:
        raise RunFileError(say("sweeps.other_run", expected=path.stem, found=run.id))
    about = {
        "run": run.id,
        "model": str(run.model["name"]),
        "task": str(run.task["name"]),
        "method": run.main,
        "seed": run.seed,
        "sparsity": run.sparsity,
        "steps": run.settings.get("pruning", {}).get("steps"),
        "seconds": run.seconds.get("total"),
    }
    graph, kept = run.graph, run.circuits[run.main].circuit.heads
    return Result(about, tuple(_rows(run)), (graph.n_layers, graph.n_heads), frozenset(kept))


def _rows(run: Run) -> Iterator[tuple[Any, ...]]:
    n_edges = run.graph.n_edges
    for name, row in run.metrics.items():
        size = row.get("n_edges")
        yield (name, size, size and size / n_edges, True, row.get("n_prompts"), *map(row.get, MEASURES))
    for name, row in run.sizes.get("metrics", {}).items():
        for at, size in enumerate(run.sizes["grid"]):
            found = (row[key][at] if key in row else None for key in MEASURES)
            yield (name, size, size / n_edges, False, run.sizes["n_prompts"], *found)


def write(folder: Folder) -> Path:
    """Write the table beside the runs: `PARQUET`, or `CSV` where no reader of parquet is installed."""
    made = frame(folder)
    try:
        import pyarrow  # noqa: F401
    except ImportError:
        path = folder.path / CSV
        with replacing(path) as file:
            made.to_csv(file, index=False)
        return path
    path = folder.path / PARQUET
    with replacing(path) as file:
        made.to_parquet(file, index=False)
    return path


def summary(folder: Folder, columns: Sequence[str] = ("model", "task", "sparsity", "circuit")) -> DataFrame:
    """Means over seeds at each run's own size, with the number of runs and the spread of KL over them."""
    made = own_size(frame(folder))
    by = list(dict.fromkeys([*columns[:-1], *varied(made), columns[-1], "steps"]))
    grouped = made.groupby(by, as_index=False, sort=True, dropna=False)
    return grouped.agg(
        runs=("run", "nunique"),
        edges=("edges", "mean"),
        kl=("kl", "mean"),
        spread=("kl", "std"),
        faithfulness=("faithfulness", "mean"),
        exact_match=("exact_match", "mean"),
    ).round(3)


def own_size(made: DataFrame) -> DataFrame:
    """The rows of circuits at the size that their run was asked for."""
    return made[made["own_size"] & ~made["circuit"].isin(CONTROLS)]


def heat(made: DataFrame, down: str, across: str, measure: str) -> DataFrame:
    """For each pair of values that has runs: `mean`, `low` and `high` of a measure, and the ids of these `runs`."""
    grouped = made.dropna(subset=[measure]).groupby([down, across], as_index=False, sort=True)
    return grouped.agg(
        mean=(measure, "mean"),
        low=(measure, "min"),
        high=(measure, "max"),
        runs=("run", lambda ids: tuple(dict.fromkeys(ids))),
    )


def curves(made: DataFrame, measure: str) -> DataFrame:
    """For each circuit and share of the edges kept: `mean`, `low` and `high` of a measure over the runs (`runs`)."""
    at_sizes = made[~made["own_size"]].dropna(subset=[measure])
    # A run's own size stands among the others, and is not the same for all of them.
    common = at_sizes.groupby(["circuit", "edges"])["run"].transform("nunique")
    most = at_sizes.groupby("circuit")["run"].transform("nunique")
    grouped = at_sizes[common == most].groupby(["circuit", "kept"], as_index=False, sort=True)
    return grouped.agg(mean=(measure, "mean"), low=(measure, "min"), high=(measure, "max"), runs=("run", "nunique"))


def head_shares(results: Sequence[Result]) -> np.ndarray:
    """``[layer, head]``: the share of these runs, all of one model, whose circuit keeps the head."""
    import numpy as np

    layers, heads = results[0].shape
    names = [[f"a{layer}.h{head}" for head in range(heads)] for layer in range(layers)]
    return np.array([[np.mean([name in one.heads for one in results]) for name in row] for row in names])
