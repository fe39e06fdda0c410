"""Write the README's table of results from the shipped runs: ``python -m docs.make_results``."""

from __future__ import annotations

from pathlib import Path

from hap_engine.runs import Run, load
from hap_engine.verdict import METHOD_TITLES, verdict

ROOT = Path(__file__).parents[1]
MARKS = ("<!-- results:begin -->", "<!-- results:end -->")
ROWS = {"full": "full model", "empty": "everything corrupted", "random": "random circuits"}


def main() -> None:
    readme = ROOT / "README.md"
    before, rest = readme.read_text(encoding="utf-8").split(MARKS[0])
    _, after = rest.split(MARKS[1])
    runs = [load(path) for path in (ROOT / "assets" / "runs").glob("*.json")]
    runs.sort(key=lambda run: -run.graph.n_edges)
    body = "\n".join(map(_section, runs))
    readme.write_text(f"{before}{MARKS[0]}\n{body}\n{MARKS[1]}{after}", encoding="utf-8")


def _section(run: Run) -> str:
    names = [*ROWS, *(name for name in run.metrics if name not in ROWS)]
    rows = [
        f"| {ROWS.get(name, METHOD_TITLES.get(name, name))} | {m['n_edges']:,} | {m['kl']:.2f} "
        f"| {m['logit_diff']:.2f} | {m['faithfulness']:.2f} | {m['accuracy']:.0%} "
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
            "| circuit | live edges | KL | logit difference | faithfulness | IO>S | exact match |",
            "|---|---:|---:|---:|---:|---:|---:|",
            *rows,
            "",
            f"{verdict(run).sentence}",
            "",
        ]
    )


if __name__ == "__main__":
    main()
