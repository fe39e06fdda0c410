"""The engine from a terminal: ``python -m hap_engine discover | evaluate | models | tasks``.

Exit codes: 0 done, 1 an error that the message explains, 2 wrong arguments, 130 cancelled (Ctrl-C).
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Generator
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

from hap_engine.errors import HapError, SettingsError
from hap_engine.progress import Progress

if TYPE_CHECKING:
    from hap_engine.runs import Run
    from hap_engine.settings import DiscoveryConfig

T = TypeVar("T")
COLUMNS = ("kl", "logit_diff", "faithfulness", "accuracy", "top1", "exact_match")


def main(arguments: list[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    try:
        options.run(options)
    except HapError as error:
        print(f"\nerror: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\ncancelled", file=sys.stderr)
        return 130
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m hap_engine", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="command")

    found = commands.add_parser("discover", help="find a circuit and write a run file")
    found.add_argument(
        "--model", default="hap-mini", help="bundled or Hub name, folder, .gguf file"
    )
    found.add_argument("--task", default="ioi")
    found.add_argument("--corruption", help="abc (default), s2 or s2_io for ioi")
    found.add_argument("--sparsity", type=float, default=0.98, help="share of edges removed")
    found.add_argument("--method", default="hap", help="hap, eap or ep")
    found.add_argument("--scorer", default="eap-ig", help="picks HAP's candidates: eap or eap-ig")
    found.add_argument(
        "--keep", type=float, help="share of edges left to EP (max(10 %%, 4 x target))"
    )
    found.add_argument("--preset", help="quick, standard or thorough")
    found.add_argument("--budget", help="projection (default) or lagrangian (published)")
    found.add_argument("--steps", type=int, help="steps of Edge Pruning")
    found.add_argument("--batch-size", type=int, help="prompts per step")
    found.add_argument("--lr", type=float, help="step size of the gates")
    found.add_argument("--init", type=float, help="log alpha at the start")
    found.add_argument("--warm-start", type=float, help="c in init + c (rank - 1/2)")
    found.add_argument("--descent", type=float, help="share of steps over which the budget falls")
    found.add_argument("--harden", type=float, help="share of steps before the noise fades")
    found.add_argument(
        "--prompts-file", type=Path, help="your own pairs (.jsonl, .csv or a run) for --task custom"
    )
    found.add_argument("--prompts", help="train,validation,test counts, e.g. 320,100,256")
    found.add_argument("--seed", type=int, default=0)
    found.add_argument("--device", default="cpu", help="cpu, cuda or mps")
    found.add_argument("--dtype", default="float32", help="of training: float32 or bfloat16")
    found.add_argument(
        "--out", type=Path, help="run file to write (default: the explorer's folder)"
    )
    found.set_defaults(run=_discover)

    tested = commands.add_parser("evaluate", help="test a run file's circuits again")
    tested.add_argument("file", type=Path)
    tested.add_argument("--model", help="where the model is, if not where the run found it")
    tested.add_argument("--device", default="cpu")
    tested.set_defaults(run=_evaluate)

    commands.add_parser("models", help="models that can be opened by name").set_defaults(
        run=_models
    )
    commands.add_parser("tasks", help="tasks and their corruptions").set_defaults(run=_tasks)
    return parser


def _config(options: argparse.Namespace) -> DiscoveryConfig:
    from dataclasses import replace

    from hap_engine.settings import DiscoveryConfig, with_preset

    names = ("model", "task", "corruption", "sparsity", "method", "scorer", "keep", "seed",
             "device", "dtype")  # fmt: skip
    config = DiscoveryConfig(
        **{name: getattr(options, name) for name in names},
        sizes=_sizes(options.prompts),
        prompts=_own_prompts(options.prompts_file),
    )
    if options.preset:
        config = with_preset(config, options.preset)
    tuned = ("budget", "steps", "batch_size", "lr", "init", "warm_start", "descent", "harden")
    given = {name: getattr(options, name) for name in tuned if getattr(options, name) is not None}
    return replace(config, pruning=replace(config.pruning, **given))


def _sizes(text: str | None) -> Any:
    from hap_engine.tasks import SplitSizes

    if text is None:
        return SplitSizes()
    parts = text.split(",")
    if len(parts) != 3 or not all(part.strip().isdigit() for part in parts):
        raise SettingsError(
            f"Expected --prompts as train,validation,test (such as 320,100,256), got {text!r}."
        )
    return SplitSizes(*(int(part) for part in parts))


def _own_prompts(path: Path | None) -> Any:
    """The rows of a prompts file; a bare name is looked up among the saved runs too."""
    from hap_engine.runs import runs_folder
    from hap_engine.tasks.prompts_file import read_prompts

    if path is None:
        return ()
    saved = runs_folder() / path.name
    return read_prompts(path if path.exists() or not saved.is_file() else saved)


def _discover(options: argparse.Namespace) -> None:
    from hap_engine.discovery import discover
    from hap_engine.estimate import describe
    from hap_engine.runs import runs_folder, save
    from hap_engine.verdict import verdict

    if options.out and (options.out.is_dir() or _nearest(options.out).is_file()):
        raise SettingsError(
            f"Expected --out as a file that can be written, got {options.out}. Name a .json file."
        )
    config = _config(options)
    cost = describe(config)
    if cost is not None:
        print(f"{cost.sentence} (an estimate for this machine)", file=sys.stderr)
    run = follow(discover(config))
    path = save(run, options.out or runs_folder() / f"{run.id}.json")
    print_table(run.metrics, run)
    if run.roles and "eap" in run.circuits:
        print("\n" + verdict(run).sentence)
    seconds = ", ".join(f"{name} {value:.1f} s" for name, value in run.seconds.items())
    print(f"\n{seconds}\nWritten to {path}")


def _nearest(path: Path) -> Path:
    """The closest parent that exists."""
    return next(parent for parent in path.absolute().parents if parent.exists())


def _evaluate(options: argparse.Namespace) -> None:
    from hap_engine.evaluation import Setting, evaluate
    from hap_engine.models import load_model
    from hap_engine.patching import MaskedModel
    from hap_engine.runs import load
    from hap_engine.tasks import PromptPair, encode_pair

    run = load(options.file)
    keys = {"clean", "corrupt", "answer", "distractor"}
    tests = run.prompts.get("test", ())
    if not tests or not all(keys <= set(prompt) for prompt in tests):
        raise SettingsError(
            "The run file holds no test prompts, so there is nothing to evaluate on."
        )
    if not options.model and "reference" not in run.model:
        raise SettingsError("The run file does not say where its model is. Name it with --model.")
    model = load_model(options.model or run.model["reference"], device=options.device)
    if model.graph != run.graph:
        raise SettingsError(
            f"The run was made on {run.model['name']} ({run.graph.n_edges:,} edges), and "
            f"{model.name} has {model.graph.n_edges:,}. Name the right model with --model."
        )
    if model.sha256 != run.model.get("sha256"):
        print("note: these weights differ from the run's (other hash)", file=sys.stderr)
    pairs = [
        encode_pair(model.tokenizer, PromptPair.from_dict(prompt)) for prompt in run.prompts["test"]
    ]
    circuits = {name: record.circuit for name, record in run.circuits.items()}
    setting = Setting("test", f"resample ({run.task.get('corruption', '?')})", run.seed)
    size = len(circuits[run.main])
    metrics = follow(evaluate(MaskedModel(model), pairs, circuits, setting, control_size=size))
    print_table(metrics, run)


def _models(options: argparse.Namespace) -> None:
    from hap_engine.catalog import BUNDLED, HUB_MODELS
    from hap_engine.hub import cached, cached_models

    for name in BUNDLED:
        print(f"{name:40} bundled")
    for name, model in HUB_MODELS.items():
        where = "on this machine" if cached(name) else f"to download ({model.gigabytes:g} GB)"
        print(f"{name:40} {where}: {model.text}")
    for name in cached_models():
        if name not in HUB_MODELS:
            print(f"{name:40} on this machine")
    print(
        "Also: the path of a .gguf file or of a save_pretrained folder, or any Hub owner/name or "
        "owner/name@revision."
    )


def _tasks(options: argparse.Namespace) -> None:
    from hap_engine.tasks import TASKS

    for task in TASKS.values():
        print(f"{task.name}: {task.title}")
        for name, text in task.corruptions.items():
            print(f"  --corruption {name}: {text}")


def follow(work: Generator[Progress, None, T]) -> T:
    """Drive `work` to its end with one live line per phase on standard error."""
    bar = _Bar(sys.stderr.isatty())
    while True:
        try:
            bar.show(next(work))
        except StopIteration as stop:
            bar.end()
            return cast(T, stop.value)


class _Bar:
    """A progress line that is rewritten on a terminal and printed once a phase elsewhere."""

    def __init__(self, live: bool) -> None:
        self.live, self.phase, self.started = live, "", time.monotonic()

    def show(self, record: Progress) -> None:
        if record.phase != self.phase:
            self.end()
            self.phase, self.started = record.phase, time.monotonic()
            if not self.live:
                print(f"{record.phase}: {record.message}", file=sys.stderr, flush=True)
        if not self.live:
            return
        share = record.step / max(1, record.total)
        filled = round(24 * share)
        took = time.monotonic() - self.started
        left = f"{took / share * (1 - share):4.0f} s left" if share > 0.02 else ""
        extra = ""
        if "kl" in record.data:
            extra = f"KL {record.data['kl']:.3f}  edges {record.data['budget']:,.0f}"
        line = f"{record.phase:9}[{'█' * filled}{'·' * (24 - filled)}] {record.step}/{record.total} {left}  {extra}"
        print(f"\r\x1b[2K{line}", end="", file=sys.stderr, flush=True)

    def end(self) -> None:
        if self.phase and self.live:
            print(file=sys.stderr)


def print_table(metrics: Any, run: Run) -> None:
    tag = next(iter(metrics.values()))
    print(
        f"\n{run.model['name']} · {run.task['title']} · {tag['n_prompts']} {tag['split']} prompts · "
        f"ablation: {tag['ablation']} · seed {run.seed}"
    )
    print(f"{'circuit':10}{'edges':>8}" + "".join(f"{name:>14}" for name in COLUMNS))
    order = [
        "full",
        "empty",
        "random",
        *(key for key in metrics if key not in ("full", "empty", "random")),
    ]
    for name in order:
        row = metrics[name]
        cells = "".join(f"{row[key]:>14.3f}" for key in COLUMNS)
        print(f"{name:10}{row['n_edges']:>8,}{cells}")


if __name__ == "__main__":
    sys.exit(main())
