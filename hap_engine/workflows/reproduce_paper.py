"""The table of the HAP paper again: EAP, EP and HAP on IOI in GPT-2 small at 94 % sparsity (arXiv 2510.03282, table 1).

The weights are those of the Hub's ``gpt2``. Everything else is ours: prompts with the structure of the
published ones, GPT-2's graph with one embedding (32,491 edges), the held-out test. Each method is one
ordinary `discover` run, written to disk as soon as it is made; a run that is there already is not made
again, and one that was interrupted goes on, so an interrupted table goes on where it stopped.

EP is run as published (`settings.PRESETS`: 3,000 steps of AdamW) on all edges; HAP runs twice on EAP's loose set:
with the published recipe, as the paper does, and with this project's defaults.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, replace
from pathlib import Path

from hap_engine.explain.roles import published_roles
from hap_engine.progress import Progress
from hap_engine.report.titles import METRIC_TITLES
from hap_engine.runs.record import Run
from hap_engine.runs.run_file import load, save
from hap_engine.runs.unfinished import Unfinished, forget
from hap_engine.settings import PRESETS, DiscoveryConfig, PruningConfig, run_id
from hap_engine.tasks.task import SplitSizes
from hap_engine.transformer.load import Model, loading
from hap_engine.workflows.discover import discover

MODEL = "gpt2"
S_INHIBITION = "s_inhibition"
SIZES = SplitSizes(train=200)  # as in the paper


@dataclass(frozen=True)
class Row:
    """One line of the table; None: not reported. `accuracy` is the paper's, whose definition is not stated."""

    method: str
    accuracy: float
    logit_diff: float
    kl: float | None
    seconds: float


PUBLISHED = (
    Row("EAP", 0.698, 3.13, None, 4),
    Row("EP", 0.772, 3.48, 0.190, 2921),
    Row("HAP", 0.759, 3.42, 0.188, 1579),
)


@dataclass(frozen=True, eq=False)
class Reproduced:
    """One of our runs and the line of the paper that it answers."""

    name: str
    published: Row
    run: Run
    circuit: str

    def cells(self) -> list[str]:
        """Name, both accuracies, logit difference, KL, seconds, S-inhibition heads kept."""
        metrics = self.run.metrics[self.circuit]
        phases = ("score",) if self.circuit == "eap" else ("score", "prune")
        seconds = sum(self.run.seconds[phase] for phase in phases)
        return [
            self.name,
            f"{metrics['top1']:.3f}",
            f"{metrics['accuracy']:.3f}",
            f"{metrics['logit_diff']:.2f}",
            f"{metrics['kl']:.3f}",
            f"{seconds:,.0f}",
            kept_heads(self.run, self.circuit),
        ]


def configs(steps: int | None = None, seed: int = 0, sizes: SplitSizes = SIZES) -> dict[str, DiscoveryConfig]:
    """The runs, by name. EAP picks HAP's candidates and 200 prompts train, as in the paper.

    Args:
        steps: of the published recipe; None: its own 3,000.
    """
    recipe = PRESETS["published"]
    published = replace(recipe, steps=steps or recipe.steps)
    base = DiscoveryConfig(model=MODEL, sparsity=0.94, scorer="eap", pruning=published, sizes=sizes, seed=seed)
    ours = replace(PruningConfig(), steps=min(PruningConfig().steps, published.steps))
    return {
        "EP, published recipe": replace(base, method="ep"),
        "HAP, published recipe": base,
        "HAP, our defaults": replace(base, scorer=DiscoveryConfig().scorer, pruning=ours),
    }


def reproduce(
    folder: Path, wanted: dict[str, DiscoveryConfig], model: Model | None = None
) -> Generator[Progress, None, list[Reproduced]]:
    """Make the runs that `folder` lacks, and the table's rows.

    Raises:
        HapError: if the model is neither on this machine nor to be had.
    """
    if model is None:
        first = next(iter(wanted.values()))
        model = yield from loading(first.model, first.device)
    rows: list[Reproduced] = []
    eap, ep, hap = PUBLISHED
    for name, config in wanted.items():
        path = folder / f"{run_id(config, model.identity)}.json"
        if not path.exists():
            run = yield from discover(config, model, Unfinished(folder))
            save(run, path)
            forget(folder, run.id)
        run = load(path)
        if not rows:
            rows.append(Reproduced("EAP", eap, run, "eap"))
        rows.append(Reproduced(name, ep if config.method == "ep" else hap, run, config.method))
    return rows


def kept_heads(run: Run, circuit: str) -> str:
    """How many S-inhibition heads (the published ones, else the measured) have an edge in the circuit."""
    published = published_roles(str(run.model["name"]))
    measured = {head: facts["role"] for head, facts in run.roles.get("heads", {}).items()}
    heads = [h for h, role in (published or measured).items() if role == S_INHIBITION]
    kept = sum(head in run.circuits[circuit].circuit.heads for head in heads)
    return f"{kept} of {len(heads)}"


def table(rows: list[Reproduced]) -> str:
    """Ours beside the paper's, as Markdown."""
    accuracy, logit_diff, kl = (METRIC_TITLES[key] for key in ("accuracy", "logit_diff", "kl"))
    ours = ["method", METRIC_TITLES["top1"], accuracy, logit_diff, kl, "seconds", "S-inhibition heads"]
    head = [*ours, f"paper: {accuracy}", logit_diff, kl, "seconds"]
    lines = [head, ["---"] * len(head)]
    for row in rows:
        paper = row.published
        kl = "not reported" if paper.kl is None else f"{paper.kl:.3f}"
        theirs = [f"{paper.accuracy:.3f}", f"{paper.logit_diff:.2f}", kl, f"{paper.seconds:,.0f}"]
        lines.append([*row.cells(), *theirs])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
