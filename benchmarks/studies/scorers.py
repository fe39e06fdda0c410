"""Compare the scorers: what they cost, how good their best edges are, and what HAP makes of them
(docs/studies/scorers.md).

    python -m benchmarks.studies.scorers hap-mini [path/to/SmolLM2.gguf] [--seeds 0 1 2] [--again eap-gim]

Every scorer sees the same training prompts. Its best edges are cut out at several sizes (equal live edges),
HAP prunes from its candidates, and all are measured on the same held-out prompts, under resample ablation.
What was computed before is read from benchmarks/studies/data/scorers, except that of the scorers to compute again; the
page shows all that is there.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import torch

from benchmarks.studies import pages
from benchmarks.studies.pruning.circuits import spread
from hap_engine.attribution.scorers import SCORERS, Scores, score
from hap_engine.evaluation.measure import measure
from hap_engine.evaluation.metrics import faithfulness
from hap_engine.graph.circuit import Circuit, empty_circuit
from hap_engine.graph.ranking import edge_budget, top_edges, top_live
from hap_engine.masked.opening import open_masked
from hap_engine.masked.prompt_cache import Prepared
from hap_engine.progress import drain
from hap_engine.pruning.edge_pruning import cut_live, prune, warm_start
from hap_engine.report.titles import circuit_title
from hap_engine.settings import LOOSE, DiscoveryConfig, PruningConfig
from hap_engine.tasks.custom import get_task
from hap_engine.tasks.task import SplitSizes
from hap_engine.transformer.load import load_model

PAGE = pages.PAGES / "scorers.md"
DATA = pages.DATA / "scorers"
SIZES = SplitSizes(train=200, validation=1, test=96)
SCORED = 64
STEPS = PruningConfig("projection", 60)
SPARSITIES = {"hap-mini": (0.8, 0.9, 0.98)}
LARGE = (0.9, 0.95, 0.99)
HEAD = f"""# Scorers compared

Made by `python -m benchmarks.studies.scorers hap-mini path/to/SmolLM2.gguf`. IOI, {SCORED} training prompts for the
scores, {SIZES.test} held-out ones to measure on, resample ablation, equal numbers of live edges. Cost is processor
time as a multiple of plain EAP's. Alone: held-out KL (nats, lower is better) and faithfulness of a scorer's best
edges. HAP: the same after {STEPS.steps} steps of Edge Pruning on {SIZES.train} prompts from its best {LOOSE:.0%}.
Where several seeds were run, the mean and in brackets the lowest and the highest.
"""


def made(reference: str, seed: int, again: Collection[str] = ()) -> Path:
    """The file of one model and seed; computed are the scorers that it lacks and those to compute `again`."""
    model = load_model(reference)
    path = DATA / f"{model.name.split('-Instruct')[0]}.{seed}.json"
    sparsities = SPARSITIES.get(model.name, LARGE)
    record: dict[str, Any] = {"model": model.name, "sparsities": sparsities, "cost": {}, "rows": {}}
    if path.exists():
        record = json.loads(path.read_text(encoding="utf-8"))
    wanted = [name for name in SCORERS if name in again or name not in record["cost"]]
    if not wanted:
        return path
    masked = open_masked(model)
    sets = get_task("ioi").generate(model.tokenizer, SIZES, seed, "abc")
    training = Prepared(masked, sets.train)
    drain(training.run())
    _, unit = _timed(training, "eap")  # what costs are multiples of
    circuits = {"empty": empty_circuit(masked.graph)}
    for name in wanted:
        scores, seconds = _timed(training, name)
        record["cost"][name] = 1.0 if name == "eap" else round(seconds / unit, 2)
        for sparsity in sparsities:
            live = edge_budget(masked.graph, sparsity)
            circuits[f"{name} {sparsity}"] = top_live(masked.graph, scores, live).live
        circuits[f"{name} hap"] = _pruned(training, scores, sparsities[-1], seed)
        print(f"{model.name} seed {seed} {name} {seconds:.1f} s", flush=True)
    full, outcomes = drain(measure(masked, sets.test, circuits))
    top, bottom = (float(outcome["logit_diff"].mean()) for outcome in (full, outcomes["empty"]))
    rows = {
        name: {
            "kl": round(float(outcome["kl"].mean()), 5),
            "faithfulness": round(faithfulness(float(outcome["logit_diff"].mean()), top, bottom), 5),
        }
        for name, outcome in {"full": full, **outcomes}.items()
    }
    controls = {name: row for name, row in record["rows"].items() if name in ("full", "empty")}
    record["rows"] |= rows | controls  # once measured, those stay to the last digit
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(record) + "\n", encoding="utf-8")
    return path


def _timed(training: Prepared, scorer: str) -> tuple[Scores, float]:
    """Scores and the processor seconds that they took."""
    started = time.process_time()
    scores = drain(score(training.first(SCORED), scorer))
    return scores, time.process_time() - started


def _pruned(training: Prepared, scores: Scores, sparsity: float, seed: int) -> Circuit:
    """What HAP makes of these scores."""
    graph = training.masked.graph
    candidates = top_edges(graph, scores, int(LOOSE * graph.n_edges)).live
    live, start = edge_budget(graph, sparsity), warm_start(candidates, STEPS, scores)
    gates = drain(prune(training, candidates, live, STEPS, seed=seed, start=start))
    return cut_live(candidates, gates, live).live


def kept() -> list[dict[str, Any]]:
    """All records, hap-mini first."""
    files = sorted(DATA.glob("*.json"), key=lambda file: (not file.name.startswith("hap"), file))
    return [json.loads(file.read_text(encoding="utf-8")) for file in files]


def page(records: Sequence[dict[str, Any]]) -> str:
    """Every model's table and what it says of the default."""
    parts = [HEAD]
    for model in dict.fromkeys(record["model"] for record in records):
        mine = [record for record in records if record["model"] == model]
        parts += [f"## {model}\n", *_section(mine)]
    return "\n".join(parts)


def _section(records: Sequence[dict[str, Any]]) -> Iterator[str]:
    sparsities = records[0]["sparsities"]
    columns = {**{str(s): f"alone, {s:.0%}" for s in sparsities}, "hap": f"HAP, {sparsities[-1]:.0%}"}
    titles = [f"{title}: KL | F" for title in columns.values()]
    yield f"| scorer | cost | {' | '.join(titles)} |"
    yield "|---|---:|" + "---:|---:|" * len(titles)
    kl: dict[str, dict[str, float]] = {column: {} for column in columns}
    for name in SCORERS:
        cells = [f"{fmean(record['cost'][name] for record in records):.1f}"]
        for column in columns:
            rows = [record["rows"][f"{name} {column}"] for record in records]
            kl[column][name] = fmean(row["kl"] for row in rows)
            cells.append(spread([row["kl"] for row in rows], 2))
            cells.append(f"{fmean(row['faithfulness'] for row in rows):.2f}")
        yield f"| {circuit_title(name)} | {' | '.join(cells)} |"
    ranked = {column: sorted(values, key=values.__getitem__) for column, values in kl.items()}
    best = "; ".join(f"{title}: {circuit_title(ranked[column][0])}" for column, title in columns.items())
    default = DiscoveryConfig().scorer
    places = "; ".join(f"{title}: {ranked[column].index(default) + 1}" for column, title in columns.items())
    yield f"\nLowest mean KL. {best}."
    yield f"Place of the default, {circuit_title(default)}, among the {len(SCORERS)}. {places}."
    yield f"{len(records)} {'seed' if len(records) == 1 else 'seeds'}.\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="*", default=["hap-mini"])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--again", nargs="+", default=[], choices=tuple(SCORERS), help="scorers to compute again")
    options = parser.parse_args()
    torch.set_num_threads(1)  # so that processor time means something
    for model in options.models:
        for seed in options.seeds:
            print(made(model, seed, options.again))
    PAGE.write_text(page(kept()), encoding="utf-8")
    print(PAGE)


if __name__ == "__main__":
    main()
