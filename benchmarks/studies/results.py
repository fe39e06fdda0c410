"""Write measured figures into the texts from the shipped runs: ``python -m benchmarks.studies.results``.

Fills the README's results (the IOI runs; docs/studies/tasks.md has the others) and the measured roles in
hap-mini's model card.
"""

from __future__ import annotations

from benchmarks.studies.pages import ROOT, SHIPPED, fill
from hap_engine.report.every_size import removed, size_verdict, tested_on
from hap_engine.report.titles import CONTROL_TITLES, ROLE_TITLES, circuit_title, row_title
from hap_engine.report.verdict import verdict
from hap_engine.runs.record import Run
from hap_engine.runs.run_file import load


def main() -> None:
    runs = [load(path) for path in SHIPPED.glob("*.json")]
    runs = [run for run in runs if run.task["name"] == "ioi"]
    runs.sort(key=lambda run: -run.graph.n_edges)
    fill(ROOT / "README.md", "results", "\n".join(map(_section, runs)))
    (mini,) = [run for run in runs if run.model["name"] == "hap-mini"]
    fill(ROOT / "assets" / "models" / "hap-mini" / "README.md", "roles", _roles(mini))


def _roles(run: Run) -> str:
    lines = [
        f"| {head} | {ROLE_TITLES.get(found['role'], found['role'])} | {found['sentence']} |"
        for head, found in run.roles["heads"].items()
    ]
    return "\n".join(
        [
            f"Measured on {run.roles['n_prompts']} prompts (`{run.command}`); thresholds are in the run.",
            "",
            "| head | role | evidence |",
            "|---|---|---|",
            *lines,
        ]
    )


def _section(run: Run) -> str:
    names = [*CONTROL_TITLES, *(name for name in run.metrics if name not in CONTROL_TITLES)]
    rows = [
        f"| {row_title(run.metrics, name)} | {m['n_edges']:,} | {m['kl']:.2f} "
        f"| {m['logit_diff']:.2f} | {m['faithfulness']:z.2f} | {m['accuracy']:.0%} "
        f"| {m['exact_match']:.2f} |"
        for name in names
        if (m := run.metrics.get(name))
    ]
    return "\n".join(
        [
            f"**{run.model['name']}, {run.task['title']}, {run.sparsity:.0%} of "
            f"{run.graph.n_edges:,} edges removed** (`{run.command}`, "
            f"{run.seconds['total']:,.0f} s with {run.machine['threads']} thread(s)):",
            "",
            "| circuit | live edges | KL | logit difference | faithfulness | accuracy | exact match |",
            "|---|---:|---:|---:|---:|---:|---:|",
            *rows,
            "",
            *_sizes(run),
            f"{verdict(run).sentence} {size_verdict(run)}".strip(),
            "",
        ]
    )


def _sizes(run: Run) -> list[str]:
    """KL at every size, for the methods that a run ranks; nothing of a run of one size."""
    if not run.orders:
        return []
    heads = [removed(run, size) for size in run.sizes["grid"]]
    rows = []
    for name, row in run.sizes["metrics"].items():
        cells = " | ".join(f"{kl:.2f}" for kl in row["kl"])
        rows.append(f"| {CONTROL_TITLES.get(name, '').lower() or circuit_title(name)} | {cells} |")
    told = f"At every size, on {tested_on(run.sizes)}:"
    return [told, "", f"| KL, removed | {' | '.join(heads)} |", f"|---{'|---:' * len(heads)}|", *rows, ""]


if __name__ == "__main__":
    main()
