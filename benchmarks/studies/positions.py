"""What does it buy to know where in the sentence an edge acts? (docs/studies/positions.md)

    hap sweep docs/studies/positions-hap-mini.toml
    hap sweep docs/studies/positions-real.toml --model path/to/SmolLM2.gguf
    hap sweep docs/studies/positions-real-quick.toml --model path/to/SmolLM2.gguf
    python -m benchmarks.studies.positions FOLDER…

The folders are those of the sweeps, with that of `positions-real-plain.toml` for IOI without positions. Runs of one
model, task and seed belong together: they have the same prompts. Everything is read from the run files: curves are on
the 64 held-out prompts that a run takes for them. A circuit without positions acts at every span, so it counts as its
copy in all live spans. What was read is kept in data/positions.json, and a run whose file is gone stays in the page.
"""

from __future__ import annotations

import json
import math
import sys
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np

from benchmarks.studies.pages import DATA, PAGES, fill
from hap_engine.graph.circuit import Circuit
from hap_engine.graph.graph import Graph
from hap_engine.report.metric_sentences import distinct
from hap_engine.report.missed_heads import acts_at, reads_from
from hap_engine.report.titles import circuit_title, role_title
from hap_engine.runs.record import Run
from hap_engine.runs.run_file import load

PAGE, KEPT = PAGES / "positions.md", DATA / "positions.json"
SHARES = (0.1, 0.04, 0.02, 0.01, 0.005, 0.002)  # of all positional edges; beside them a run's own size
TOP = 0.01  # of the edges, by EAP: Haklay et al. (2025) compare these
PUBLISHED = {  # Wang et al. (2022), figure 2, of GPT-2 small: where a role acts, and what it reads
    "previous_token": "S1+1 ← S1",
    "duplicate_token": "S2 ← S1",
    "induction": "S2 ← S1+1",
    "s_inhibition": "END ← S2",
    "name_mover": "END ← IO",
    "negative_name_mover": "END ← IO",
}


def in_all_spans(circuit: Circuit, graph: Graph) -> Circuit:
    """The positional copy of a circuit without spans."""
    index = circuit.graph.reader_index
    columns = [index[reader.place] for reader in graph.readers]
    return Circuit(graph, circuit.kept[:, columns] & graph.edge_mask).live


def curves(run: Run, graph: Graph) -> dict[str, dict[str, list[float]]]:
    """Of each order: KL and faithfulness, edges at their spans and distinct edges, at each size of the run."""
    found = {}
    for name, order in run.orders.items():
        row, at, once = run.sizes["metrics"][name], [], []
        for size in run.sizes["grid"]:
            circuit = order.circuit(size)
            at.append(len(circuit if run.graph.positional else in_all_spans(circuit, graph)))
            once.append(distinct(circuit) if run.graph.positional else len(circuit))
        found[name] = {"edges": at, "distinct": once, "kl": row["kl"], "faithfulness": row["faithfulness"]}
    return found


def compared(plain: Run, at: Run) -> dict[str, Any]:
    """What is kept of two runs on the same prompts, without positions and with them."""
    order, whole = at.orders["eap"], plain.orders["eap"]
    best = order.prefix(int(TOP * at.graph.n_edges)).collapsed()
    moved = 1 - len(best & whole.prefix(len(best))) / len(best)
    here = at.circuits[at.main].circuit
    there = plain.orders[plain.main].circuit(distinct(here))
    return {
        "model": at.model["name"],
        "task": at.task["title"],
        "seed": at.seed,
        "steps": at.settings["pruning"]["steps"],
        "spans": [span.name for span in at.graph.spans],
        "all": at.graph.n_edges,
        "own": len(here),
        "own_kl": at.metrics[at.main]["kl"],
        "command": at.command,
        "with": curves(at, at.graph),
        "without": curves(plain, at.graph),
        "moved": moved,
        "heads": [len(here.heads & there.heads), len(here.heads - there.heads), len(there.heads - here.heads)],
        "roles": [
            [facts["role"], head, [*acts_at(here, head)], [*reads_from(here, head)]]
            for head, facts in (at.roles.get("heads") or {}).items()
            if head in here.heads
        ],
    }


def kl_at(curve: dict[str, list[float]], count: str, edges: float) -> float | None:
    """KL at a number of edges, linear in the logarithms between the two measured sizes around it."""
    known = sorted((math.log(n), math.log(max(kl, 1e-6))) for n, kl in zip(curve[count], curve["kl"], strict=True) if n)
    if not known or not known[0][0] <= math.log(edges) + 1e-9 or math.log(edges) - 1e-9 > known[-1][0]:
        return None
    sizes, logs = zip(*known, strict=True)
    return float(np.exp(np.interp(math.log(edges), sizes, logs)))


def spread(values: Iterable[float | None]) -> str:
    """Mean, with the lowest and the highest where there are several; a dash where a seed has none."""
    numbers = list(values)
    if not all(number is not None for number in numbers):
        return "–"
    known = [number for number in numbers if number is not None]
    ends = f" ({min(known):.3f}-{max(known):.3f})" if len(known) > 1 else ""
    return f"{fmean(known):.3f}{ends}"


def table(records: Sequence[dict[str, Any]]) -> str:
    """A row a size: KL of every method with positions, and without them at as many edges, counted both ways."""
    first = records[0]
    names = ["eap", *(name for name in first["with"] if name not in ("eap", "hap", "random")), "hap"]
    heads = [
        "edges at their spans",
        *(circuit_title(name) for name in names),
        *(f"{circuit_title(name)} without" for name in names),
        "HAP without, as many distinct",
        "faithfulness of HAP",
    ]
    lines = [f"| {' | '.join(heads)} |", "|" + "---:|" * len(heads)]
    sizes = sorted({*(int(share * first["all"] + 1e-9) for share in SHARES), first["own"]}, reverse=True)
    for size in sizes:
        cells = [f"{size:,}" + (" (the run's)" if size == first["own"] else "")]
        cells += [spread(kl_at(r["with"][name], "edges", size) for r in records) for name in names]
        cells += [spread(kl_at(r["without"][name], "edges", size) for r in records) for name in names]
        cells.append(spread(_equal_distinct(r, size) for r in records))
        cells.append(f"{fmean(_faith(r['with']['hap'], size) for r in records):.2f}")
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _equal_distinct(record: dict[str, Any], size: int) -> float | None:
    curve = record["with"]["hap"]
    once = np.interp(size, curve["edges"][::-1], curve["distinct"][::-1])
    return kl_at(record["without"]["hap"], "distinct", float(once))


def _faith(curve: dict[str, list[float]], size: int) -> float:
    known = [(edges, faith) for edges, faith in zip(curve["edges"], curve["faithfulness"], strict=True) if edges]
    edges, faith = zip(*reversed(known), strict=True)
    return float(np.interp(math.log(size), np.log(edges), faith))


def section(records: Sequence[dict[str, Any]]) -> str:
    first, n = records[0], len(records)
    shared, new, lost = (fmean(column) for column in zip(*(r["heads"] for r in records), strict=True))
    others = [name for name in first["with"] if name not in ("hap", "random")]
    below = {name: [kl < kls for r in records for kl, kls in _beside(r, name)] for name in others}
    said = " and ".join(f"{circuit_title(name)} at {sum(won)} of {len(won)} sizes" for name, won in below.items())
    seeds = f"{n} seeds (mean, lowest and highest)" if n > 1 else "One seed"
    kls = ", ".join(f"{r['own_kl']:.3f}" for r in records)
    return "\n\n".join(
        [
            f"### {first['task']}",
            f"{seeds}, {first['steps']} steps, spans {', '.join(first['spans'])}; {first['all']:,} edges at their "
            f"spans. At its own {first['own']:,} edges HAP has KL {kls} on all held-out prompts. With positions it is "
            f"below {said}. {moved(records)} of the {TOP:.0%} of edges that EAP ranks best with positions are not "
            f"among as many best ones without. Heads, at as many distinct edges: {shared:.1f} in HAP's circuit with "
            f"positions and without, {new:.1f} only with, "
            f"{lost:.1f} only without. The first run: `{first['command']}`.",
            table(records),
        ]
    )


def _beside(record: dict[str, Any], name: str) -> Iterable[tuple[float, float]]:
    return zip(record["with"]["hap"]["kl"], record["with"][name]["kl"], strict=True)


def moved(records: Sequence[dict[str, Any]]) -> str:
    return f"{fmean(r['moved'] for r in records):.0%}"


def roles(records: Sequence[dict[str, Any]]) -> str:
    """Where the heads of each role act in HAP's circuit of the first run, beside what is published."""
    found = defaultdict(list)
    for role, head, acts, reads in records[0]["roles"]:
        found[role].append(f"{head}: {', '.join(acts)} ← {', '.join(reads)}")
    lines = ["| role | GPT-2 small, published | this circuit |", "|---|---|---|"]
    for role, heads in found.items():
        lines.append(f"| {role_title(role)} | {PUBLISHED.get(role, '–')} | {'; '.join(heads)} |")
    return "\n".join(lines)


def read(folders: Sequence[Path]) -> list[dict[str, Any]]:
    """What is kept, with the pairs of runs in some folders."""
    kept = {_key(record): record for record in (json.loads(KEPT.read_text()) if KEPT.exists() else [])}
    runs: dict[tuple[Any, ...], dict[bool, Run]] = defaultdict(dict)
    for path in (path for folder in folders for path in sorted(folder.glob("*.json"))):
        if path.name in ("sweep.json", "now.json"):
            continue
        run = load(path)
        same = run.model["sha256"], run.task["name"], run.seed, run.settings["pruning"]["steps"]
        runs[same][run.graph.positional] = run
    for pair in runs.values():
        if len(pair) == 2:
            record = compared(pair[False], pair[True])
            kept[_key(record)] = record
    return sorted(kept.values(), key=_key)


def _key(record: dict[str, Any]) -> tuple[Any, ...]:
    return record["model"], record["task"], record["steps"], record["seed"]


def main(folders: Sequence[str]) -> None:
    records = read([Path(folder) for folder in folders])
    KEPT.write_text(json.dumps(records, indent=None) + "\n", encoding="utf-8")
    for part, model in (("hap-mini", "hap-mini"), ("real", "SmolLM2")):
        own = [record for record in records if record["model"].startswith(model)]
        parts = []
        for task in dict.fromkeys((record["task"], record["steps"]) for record in own):
            group = [record for record in own if (record["task"], record["steps"]) == task]
            parts.append(section(group))
            if any(record["roles"] for record in group):
                parts.append(roles(group))
        if own:
            fill(PAGE, part, "\n\n".join([f"## {own[0]['model']}", *parts]))


if __name__ == "__main__":
    main(sys.argv[1:])
