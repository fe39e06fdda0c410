"""Folders of circuits as the MIB benchmark's leaderboard takes them (no torch).

    hap_patching_edge/ioi_gpt2/importances.json         METHOD_ABLATION_LEVEL/TASK_MODEL/one file with scores, or nine

(Facts of the layout from the README of MIB-circuit-track and what it evaluates.) A run is written as scores: each
edge's place in the method's order, so that the best by score and the best by absolute score are the same.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from hap_engine.errors import RunFileError, SettingsError
from hap_engine.files import write_text
from hap_engine.graph.eapig_file import sharing, to_eapig
from hap_engine.graph.edge_order import EdgeOrder
from hap_engine.graph.mib_file import PICKLES
from hap_engine.runs.record import Run
from hap_engine.words import say

FILE = "importances.json"
# What MIB calls its models; others keep their own names.
MODELS = {"gpt2": "gpt2", "Qwen2.5-0.5B": "qwen2.5", "gemma-2-2b": "gemma2", "Llama-3.1-8B": "llama3"}


def write_submission(runs: Sequence[Run], folder: Path) -> list[Path]:
    """A folder a method and in it one a task and model, with every edge's score. Returns the files.

    Raises:
        SettingsError: for a run without circuits of every size, or two runs for one place.
        RunFileError: for a model that MIB's graph does not fit.
        DiskError: naming the file that cannot be written.
    """
    content: dict[Path, tuple[Run, str]] = {}
    for run in runs:
        if not run.orders:
            raise SettingsError(say("mib.no_orders", run=run))
        for method in run.orders:
            path = folder / f"{method}_patching_edge" / f"{run.task['name']}_{mib_name(str(run.model['name']))}" / FILE
            if path in content:
                raise SettingsError(say("mib.twice", one=content[path][0].id, other=run.id, path=path.parent))
            content[path] = run, method
    return [write_text(path, json.dumps(_scored(run, run.orders[method]))) for path, (run, method) in content.items()]


def mib_name(model: str) -> str:
    """A model's name in the name of a folder."""
    own = model.rsplit("/", 1)[-1]
    return MODELS.get(own, own.replace("_", "-"))


def _scored(run: Run, order: EdgeOrder) -> dict[str, object]:
    """The order as scores from 1 down; 0 for edges beyond its end.

    Edges stand in the order in which they come to life: then the best so many have no dead ones among them, and MIB's
    circuit of a size is ours.
    """
    if run.graph.post_norm or run.graph.coupled:
        raise RunFileError(say("mib.unlike", model=run.model["name"]))
    if run.graph.positional:
        raise RunFileError(say("mib.positional", run=run))
    alive = np.where(order.enters > 0, order.enters, order.graph.n_edges + 1)
    cells = order.cells[np.argsort(alive, kind="stable")]
    scores = np.zeros(order.graph.edge_mask.shape)
    scores.flat[cells] = 1 - np.arange(len(cells)) / order.graph.n_edges
    own = order.circuit(len(run.circuits[run.main].circuit))
    return to_eapig(own, scores * sharing(order.graph), int(run.model.get("d_model") or 0))


def circuit_folders(folder: Path) -> dict[Path, list[Path]]:
    """The files of each folder of circuits that is in `folder` or is it.

    Raises:
        SettingsError: if there are none.
    """
    found: dict[Path, list[Path]] = {}
    for path in sorted(folder.rglob("*")):
        if path.suffix in (".json", *PICKLES):
            found.setdefault(path.parent, []).append(path)
    if not found:
        raise SettingsError(say("mib.empty", folder=folder))
    return found


def task_of(folder: Path) -> str:
    """The task that a folder of circuits names; "" where it names none."""
    return folder.name.rpartition("_")[0].replace("_", "-")
