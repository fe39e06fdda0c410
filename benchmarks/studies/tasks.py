"""HAP against EAP on every task that a model solves (docs/studies/tasks.md), from the folders of its sweeps.

    hap sweep docs/studies/tasks-hap-mini.toml
    python -m benchmarks.studies.tasks docs/studies/tasks-hap-mini

    hap sweep docs/studies/tasks-real.toml --model path/to/SmolLM2.gguf
    python -m benchmarks.studies.tasks docs/studies/tasks-real

The folders of one call are the rows of one model's table. A cell that failed is there with the reason.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

from benchmarks.studies.pages import PAGES, fill
from hap_engine.runs.record import Run
from hap_engine.runs.run_file import load
from hap_engine.settings import DiscoveryConfig
from hap_engine.sweeps.folder import Folder

PAGE = PAGES / "tasks.md"


def row(run: Run) -> str:
    full, eap, hap = (run.metrics[key] for key in ("full", "eap", "hap"))
    alone = run.metrics[DiscoveryConfig().scorer]  # the filter's best edges, without learning
    better = "yes" if hap["kl"] < min(eap["kl"], alone["kl"]) else "**no**"
    curves = [run.sizes["metrics"][name]["kl"] for name in ("hap", "eap", DiscoveryConfig().scorer)]
    ahead = [here < min(others) for here, *others in zip(*curves, strict=True)]
    return (
        f"| {run.task['title']} | {full['accuracy']:.0%} | {hap['n_edges']:,} / {eap['n_edges']:,} | {hap['kl']:.3f} |"
        f" {eap['kl']:.3f} | {alone['kl']:.3f} | {better} | {sum(ahead)} of {len(ahead)} |"
        f" {hap['faithfulness']:.2f} / {eap['faithfulness']:.2f} |"
        f" {hap['exact_match']:.2f} / {eap['exact_match']:.2f} | {run.settings['pruning']['steps']} |"
    )


def rows(folder: Folder) -> Iterator[tuple[str, str]]:
    """The model's name ("" of a failed cell) and the row of each cell."""
    failed = {cell.id: why for cell, why in folder.status().failed}
    for cell in folder.cells():
        if cell.id in failed:
            yield "", f"| {cell.config.find_task().title} | {failed[cell.id]} | | | | | | | | | |"
        else:
            run = load(folder.file(cell))
            yield run.model["name"], row(run)


def main(folders: list[str]) -> None:
    found = [pair for folder in folders for pair in rows(Folder(Path(folder)))]
    names = {name for name, _ in found if name}
    if len(names) != 1:
        raise SystemExit(f"Expected the runs of one model, got those of {', '.join(sorted(names)) or 'none'}.")
    (name,) = names
    lines = [
        (
            "| task | full model right | live edges, HAP / EAP | KL, HAP | KL, EAP | KL, filter alone |"
            " HAP below both | sizes at which it is | faithfulness | exact match | steps |"
        ),
        "|---|---:|---:|---:|---:|---:|---|---:|---:|---:|---:|",
        *(line for _, line in found),
    ]
    fill(PAGE, "hap-mini" if name == "hap-mini" else "real", "\n".join([f"## {name}", "", *lines]))


if __name__ == "__main__":
    main(sys.argv[1:])
