"""How good are a run's circuits at every size? (docs/studies/sizes.md)

    python -m benchmarks.studies.sizes hap-mini [path/to/SmolLM2.gguf]

Three standard runs of IOI a model, one a seed, and of hap-mini three more of seeds that nobody looked at while the
default was chosen. The circuits of their orders are measured on all 256 held-out prompts
(a run itself takes 64 of them), and what was measured is kept in data/sizes: it is not computed twice. A run that
lies under HAP_HOME is used, another one is made and put there.
"""

from __future__ import annotations

import json
import sys
from statistics import fmean
from typing import Any

from benchmarks.studies.pages import DATA, PAGES, fill
from hap_engine.cli.progress_lines import follow
from hap_engine.evaluation.measure import measure
from hap_engine.evaluation.metrics import faithfulness
from hap_engine.graph.circuit import empty_circuit
from hap_engine.masked.opening import open_masked
from hap_engine.models.catalog import resolve, weights_sha256
from hap_engine.progress import drain
from hap_engine.report.every_size import size_verdict
from hap_engine.report.titles import circuit_title
from hap_engine.runs.run_file import load, runs_folder, save
from hap_engine.settings import DiscoveryConfig, run_id
from hap_engine.transformer.load import load_model
from hap_engine.workflows.discover import discover
from hap_engine.workflows.run_prompts import make_prompts

PAGE, KEPT = PAGES / "sizes.md", DATA / "sizes"
SEEDS = (0, 1, 2)
UNSEEN = (3, 4, 5)  # by those who chose the default
MINI = {0.2: 0.005, 0.1: 0.007, 0.06: 0.010, 0.04: 0.020, 0.02: 0.080}  # share of the edges kept: KL to reach
REAL = {0.1: 0.13, 0.06: 0.14, 0.04: 0.16, 0.02: 0.22, 0.01: 0.30, 0.005: 0.42, 0.002: 0.80}


def config(model: str, seed: int) -> DiscoveryConfig:
    """The usual sparsity of each model; a real one in bfloat16, as the terminal chooses where that is faster."""
    if model == "hap-mini":
        return DiscoveryConfig(sparsity=0.98, seed=seed)
    return DiscoveryConfig(model=model, sparsity=0.99, seed=seed, dtype="bfloat16")


def goals_of(model: str) -> dict[float, float]:
    return MINI if model == "hap-mini" else REAL


def kept(model: str, seed: int) -> dict[str, Any]:
    """What was measured of one run; computed if it is not there."""
    wanted = config(model, seed)
    name = run_id(wanted, weights_sha256(resolve(model)) or "")
    path = KEPT / f"{name}.json"
    if path.exists():
        return dict(json.loads(path.read_text(encoding="utf-8")))
    file = runs_folder() / f"{name}.json"
    run = load(file) if file.exists() else load(save(follow(discover(wanted)), file))
    masked = open_masked(load_model(model))
    shares, pairs = goals_of(model), make_prompts(wanted, masked.model.reader).test
    sizes = [int(share * masked.graph.n_edges + 1e-9) for share in shares]
    circuits = {(name, size): order.circuit(size) for name, order in run.orders.items() for size in sizes}
    full, outcomes = drain(measure(masked, pairs, {**circuits, ("empty", 0): empty_circuit(masked.graph)}))
    kl = {key: round(float(outcome["kl"].mean()), 5) for key, outcome in outcomes.items()}
    top, bottom = (float(each["logit_diff"].mean()) for each in (full, outcomes["empty", 0]))
    faith = {k: round(faithfulness(float(o["logit_diff"].mean()), top, bottom), 5) for k, o in outcomes.items()}
    record = {"model": masked.model.name, "seed": seed, "shares": list(shares), "n_prompts": len(pairs)}
    record |= {"steps": wanted.pruning.steps, "command": run.command, "empty": kl["empty", 0]}
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


def unseen(goals: dict[float, float]) -> str:
    """hap-mini's table on the seeds that the default was not chosen on."""
    records = [kept("hap-mini", seed) for seed in UNSEEN]
    seeds = ", ".join(map(str, UNSEEN))
    return f"The default was not chosen on seeds {seeds}:\n\n{table(records, goals)}\n\n{heads(records)}"


def main(models: list[str]) -> None:
    for model in models:
        goals, records = goals_of(model), [kept(model, seed) for seed in SEEDS]
        text = section(records, goals)
        if model == "hap-mini":
            fill(PAGE, "hap-mini", f"{text}\n\n{unseen(goals)}")
        else:
            fill(PAGE, "real", text)
        print(table(records, goals))


if __name__ == "__main__":
    main(sys.argv[1:] or ["hap-mini"])
