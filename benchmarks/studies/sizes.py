"""How good are a run's circuits at every size? (docs/studies/sizes.md)

    hap sweep docs/studies/sizes-hap-mini.toml
    python -m benchmarks.studies.sizes docs/studies/sizes-hap-mini

    hap sweep docs/studies/sizes-real.toml --model path/to/SmolLM2.gguf
    python -m benchmarks.studies.sizes docs/studies/sizes-real

Standard runs of IOI, one a seed; three of hap-mini's six are of seeds that nobody looked at while the default was
chosen. The circuits of their orders are measured on all 256 held-out prompts (a run itself takes 40 of them), and what
was measured is kept in data/sizes: it is not computed twice, and the run is then not needed.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from statistics import fmean
from typing import Any

from benchmarks.studies.pages import DATA, PAGES, fill
from hap_engine.evaluation.measure import measure
from hap_engine.evaluation.metrics import faithfulness
from hap_engine.graph.circuit import empty_circuit
from hap_engine.masked.opening import open_masked
from hap_engine.progress import drain
from hap_engine.report.every_size import size_verdict
from hap_engine.report.titles import circuit_title
from hap_engine.runs.run_file import load
from hap_engine.sweeps.folder import Folder
from hap_engine.sweeps.study import Cell
from hap_engine.transformer.load import load_model
from hap_engine.workflows.run_prompts import make_prompts

PAGE, KEPT = PAGES / "sizes.md", DATA / "sizes"
SEEDS = (0, 1, 2)
UNSEEN = (3, 4, 5)  # by those who chose the default
MINI = {0.2: 0.005, 0.1: 0.007, 0.06: 0.010, 0.04: 0.020, 0.02: 0.080}  # share of the edges kept: KL to reach
REAL = {0.1: 0.13, 0.06: 0.14, 0.04: 0.16, 0.02: 0.22, 0.01: 0.30, 0.005: 0.42, 0.002: 0.80}


def goals_of(model: str) -> dict[float, float]:
    return MINI if model == "hap-mini" else REAL


def kept(folder: Folder, cell: Cell) -> dict[str, Any]:
    """What was measured of one run of a sweep; computed if it is not there."""
    path, model = KEPT / f"{cell.id}.json", cell.config.model
    if path.exists():
        return dict(json.loads(path.read_text(encoding="utf-8")))
    run = load(folder.file(cell))
    masked = open_masked(load_model(model))
    shares, pairs = goals_of(model), make_prompts(cell.config, masked.model.reader).test
    sizes = [int(share * masked.graph.n_edges + 1e-9) for share in shares]
    circuits = {(name, size): order.circuit(size) for name, order in run.orders.items() for size in sizes}
    full, outcomes = drain(measure(masked, pairs, {**circuits, ("empty", 0): empty_circuit(masked.graph)}))
    kl = {key: round(float(outcome["kl"].mean()), 5) for key, outcome in outcomes.items()}
    top, bottom = (float(each["logit_diff"].mean()) for each in (full, outcomes["empty", 0]))
    faith = {k: round(faithfulness(float(o["logit_diff"].mean()), top, bottom), 5) for k, o in outcomes.items()}
    record = {"model": masked.model.name, "seed": run.seed, "shares": list(shares), "n_prompts": len(pairs)}
    record |= {"steps": cell.config.pruning.steps, "command": run.command, "empty": kl["empty", 0]}
    record |= {"verdict": size_verdict(run)}
    record["metrics"] = {
        name: {"kl": [kl[name, size] for size in sizes], "faithfulness": [faith[name, size] for size in sizes]}
        for name in run.orders
    }
    KEPT.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    return record


def table(records: list[dict[str, Any]], goals: dict[float, float]) -> str:
    """Mean KL over the seeds at each size, the lowest and highest beside it, and the goal."""
    heads = [f"{1 - share:.1%} removed" for share in goals]
    lines = [f"| KL | {' | '.join(heads)} |", "|---|" + "---:|" * len(heads)]
    rows = [*records[0]["metrics"]]
    for name in rows:
        columns = zip(*(record["metrics"][name]["kl"] for record in records), strict=True)
        cells = [f"{fmean(column):.3f} ({min(column):.3f}-{max(column):.3f})" for column in columns]
        lines.append(f"| {circuit_title(name)} | {' | '.join(cells)} |")
    lines.append(f"| *goal for HAP* | {' | '.join(f'*{goal:.3f}*' for goal in goals.values())} |")
    faith = zip(*(record["metrics"]["hap"]["faithfulness"] for record in records), strict=True)
    lines.append(f"| faithfulness of HAP | {' | '.join(f'{fmean(column):.2f}' for column in faith)} |")
    return "\n".join(lines)


def section(records: list[dict[str, Any]], goals: dict[float, float]) -> str:
    """One model's table, with what of the goals is reached, computed."""
    means = [fmean(column) for column in zip(*(r["metrics"]["hap"]["kl"] for r in records), strict=True)]
    reached = sum(mean <= goal for mean, goal in zip(means, goals.values(), strict=True))
    others = [name for name in records[0]["metrics"] if name != "hap"]
    below = all(
        kl < record["metrics"][name]["kl"][i]
        for record in records
        for name in others
        for i, kl in enumerate(record["metrics"]["hap"]["kl"])
    )
    first, beside = records[0], " and ".join(map(circuit_title, others))
    said = "at every one of these sizes, for every seed" if below else "at most of these sizes, not at all of them"
    return "\n\n".join(
        [
            f"## {first['model']}",
            f"{len(records)} seeds, {first['steps']} steps, {first['n_prompts']} held-out prompts; mean KL with the "
            f"lowest and the highest. HAP is below {beside} {said}. Goals reached: {reached} of "
            f"{len(goals)}. Everything corrupted: KL {first['empty']:.2f}. The first run: `{first['command']}`.",
            table(records, goals),
            heads(records),
        ]
    )


def heads(records: list[dict[str, Any]]) -> str:
    """Where each seed's methods lose the S-inhibition heads, as the page of its run says it."""
    return "\n".join(f"- Seed {record['seed']}: {record['verdict']}" for record in records)


def unseen(records: list[dict[str, Any]], goals: dict[float, float]) -> str:
    """hap-mini's table on the seeds that the default was not chosen on."""
    seeds = ", ".join(map(str, UNSEEN))
    return f"The default was not chosen on seeds {seeds}:\n\n{table(records, goals)}\n\n{heads(records)}"


def main(place: str) -> None:
    folder = Folder(Path(place))
    cells = folder.cells()
    records, goals = [kept(folder, cell) for cell in cells], goals_of(cells[0].config.model)
    seen = [record for record in records if record["seed"] in SEEDS]
    text, new = section(seen, goals), [record for record in records if record["seed"] in UNSEEN]
    if new:
        text = f"{text}\n\n{unseen(new, goals)}"
    fill(PAGE, "hap-mini" if goals is MINI else "real", text)
    print(table(seen, goals))


if __name__ == "__main__":
    main(sys.argv[1])
