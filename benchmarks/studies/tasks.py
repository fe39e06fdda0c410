"""HAP against EAP on every task that a model solves (docs/studies/tasks.md).

    python -m benchmarks.studies.tasks hap-mini [path/to/SmolLM2.gguf]

hap-mini at 95 %, other models at 99 % of edges removed. Each model is asked first which tasks it can do; those it
cannot are in the table with the reason. A run is written as soon as it is made and not made twice: those of
hap-mini and the standard ones under HAP_HOME, the quick ones of other models among the shipped examples (assets/runs).
"""

from __future__ import annotations

import sys

from assets.make_runs import FOLDER, ship
from benchmarks.studies.pages import PAGES, fill
from hap_engine.cli.progress_lines import follow
from hap_engine.errors import TaskError
from hap_engine.masked.masked_pass import MaskedModel
from hap_engine.masked.opening import open_masked
from hap_engine.models.catalog import resolve, weights_sha256
from hap_engine.progress import drain
from hap_engine.runs.record import Run
from hap_engine.runs.run_file import load, runs_folder, save
from hap_engine.settings import PRESETS, DiscoveryConfig, run_id
from hap_engine.tasks.custom import get_task
from hap_engine.tasks.task import SplitSizes
from hap_engine.transformer.load import load_model
from hap_engine.workflows.ask_model import check_task
from hap_engine.workflows.discover import discover

PAGE = PAGES / "tasks.md"
MINI = ("ioi", "greater-than", "pronoun", "agreement", "induction")  # what a word-level toy can learn
REAL = ("ioi", "capital", "agreement", "pronoun", "greater-than")
STANDARD = ("ioi",)  # of a real model; the others quickly
ASKED = 64  # prompts on which a model is asked whether it can do a task


def configs(model: str) -> list[DiscoveryConfig]:
    """One run a task, with the standard settings for IOI."""
    if model == "hap-mini":
        return [DiscoveryConfig(task=task, sparsity=0.95) for task in MINI]
    made = [DiscoveryConfig(model=model, task=t, sparsity=0.99, dtype="bfloat16") for t in REAL]  # here the faster one
    quick = {"pruning": PRESETS["quick"], "sizes": SplitSizes(train=320)}
    return [c if c.task in STANDARD else DiscoveryConfig(**{**vars(c), **quick}) for c in made]


def unable(masked: MaskedModel, config: DiscoveryConfig) -> str:
    """Why a run on this task would say little; empty if the model does the task."""
    task = get_task(config.task)
    try:
        sets = task.generate(masked.model.tokenizer, SplitSizes(ASKED, 1, 1), config.seed, task.default_corruption)
    except TaskError as error:
        return str(error)
    found = drain(check_task(masked, sets.train))
    return "" if found.solved and found.broken else found.sentence


def run_of(config: DiscoveryConfig) -> Run:
    """The run with these settings: as it was made before, or made now."""
    name = run_id(config, weights_sha256(resolve(config.model)) or "")
    folder = runs_folder() if config.model == "hap-mini" or config.task in STANDARD else FOLDER
    path = folder / f"{name}.json"
    if not path.exists():
        run = follow(discover(config))
        return load(ship(run) if folder == FOLDER else save(run, path))
    return load(path)


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


def section(model: str) -> tuple[str, str]:
    masked = open_masked(load_model(model))
    lines = [
        (
            "| task | full model right | live edges, HAP / EAP | KL, HAP | KL, EAP | KL, filter alone |"
            " HAP below both | sizes at which it is | faithfulness | exact match | steps |"
        ),
        "|---|---:|---:|---:|---:|---:|---|---:|---:|---:|---:|",
    ]
    for config in configs(model):
        reason = unable(masked, config)
        if reason:
            lines.append(f"| {get_task(config.task).title} | {reason} | | | | | | | | | |")
        else:
            lines.append(row(run_of(config)))
        print(lines[-1], flush=True)
    return masked.model.name, "\n".join(lines)


def main(models: list[str]) -> None:
    for model in models:
        name, table = section(model)
        fill(PAGE, "hap-mini" if name == "hap-mini" else "real", f"## {name}\n\n{table}")


if __name__ == "__main__":
    main(sys.argv[1:] or ["hap-mini"])
