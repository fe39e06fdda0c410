"""The engine from a terminal: ``python -m hap_engine discover | evaluate | …``.

Exit codes: 0 done, 1 an error that the message explains, 2 wrong arguments, 130 cancelled (Ctrl-C).
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hap_engine.errors import HapError, SettingsError, TaskError
from hap_engine.options import make_parser
from hap_engine.terminal import follow, print_ablations, print_statistics, print_table

if TYPE_CHECKING:
    from hap_engine.settings import DiscoveryConfig
    from hap_engine.tasks import Task

ASKED = 64  # prompts a task in the table of ``tasks --model``


def main(arguments: list[str] | None = None) -> int:
    options = make_parser().parse_args(arguments)
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    try:
        COMMANDS[options.command](options)
    except HapError as error:
        print(f"\nerror: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\ncancelled", file=sys.stderr)
        return 130
    except BrokenPipeError:  # whoever read the output (`| head`) has had enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


def _config(options: argparse.Namespace) -> DiscoveryConfig:
    from dataclasses import replace

    from hap_engine.estimate import AUTO, faster_dtype
    from hap_engine.settings import DiscoveryConfig, with_preset

    names = ("model", "task", "corruption", "sparsity", "method", "scorer", "keep", "keep_level",
             "seed", "device", "memory")  # fmt: skip
    config = DiscoveryConfig(
        **{name: getattr(options, name) for name in names},
        sizes=_sizes(options.prompts),
        prompts=_own_prompts(options.prompts_file),
    )
    if options.preset:
        config = with_preset(config, options.preset)
    tuned = (
        "budget",
        "steps",
        "batch_size",
        "lr",
        "init",
        "warm_start",
        "descent",
        "harden",
        "patience",
    )
    given = {name: getattr(options, name) for name in tuned if getattr(options, name) is not None}
    config = replace(config, pruning=replace(config.pruning, **given))
    return replace(config, dtype=faster_dtype(config) if options.dtype == AUTO else options.dtype)


def _sizes(text: str | None) -> Any:
    from hap_engine.tasks import SplitSizes

    if text is None:
        return SplitSizes()
    parts = text.split(",")
    if len(parts) != 3 or not all(part.strip().isdigit() for part in parts):
        raise SettingsError(
            f"Expected --prompts as train,validation,test (such as 600,100,256), got {text!r}."
        )
    return SplitSizes(*(int(part) for part in parts))


def _own_prompts(path: Path | None) -> Any:
    """The rows of a prompts file."""
    from hap_engine.tasks.prompts_file import read_prompts

    return () if path is None else read_prompts(_found(path))


def _found(path: Path) -> Path:
    """A file; a bare name is looked up among the saved runs too."""
    from hap_engine.runs import runs_folder

    saved = runs_folder() / path.name
    return path if path.exists() or not saved.is_file() else saved


def _discover(options: argparse.Namespace) -> None:
    _check_out(options.out)
    _run(_config(options), options.out)


def _continue(options: argparse.Namespace) -> None:
    from dataclasses import replace

    from hap_engine.rerun import further
    from hap_engine.runs import load
    from hap_engine.tasks import CUSTOM

    _check_out(options.out)
    path = _found(options.file)
    run = load(path)
    own = _own_prompts(path) if run.task["name"] == CUSTOM else ()
    config = further(run, options.sparsity, own)
    if options.steps:
        config = replace(config, pruning=replace(config.pruning, steps=options.steps))
    _run(replace(config, model=options.model or config.model), options.out)


def _check_out(out: Path | None) -> None:
    if out and (out.is_dir() or _nearest(out).is_file()):
        raise SettingsError(
            f"Expected --out as a file that can be written, got {out}. Name a .json file."
        )


def _run(config: DiscoveryConfig, out: Path | None) -> None:
    """Estimate, discover, save and report."""
    from hap_engine.discovery import discover
    from hap_engine.estimate import describe
    from hap_engine.runs import runs_folder, save
    from hap_engine.verdict import verdict

    cost = describe(config)
    if cost is not None:
        print(f"{cost.sentence} (an estimate for this machine)", file=sys.stderr)
    run = follow(discover(config))
    path = save(run, out or runs_folder() / f"{run.id}.json")
    print_table(run.metrics, run)
    if run.roles and "eap" in run.circuits:
        print("\n" + verdict(run).sentence)
    seconds = ", ".join(f"{name} {value:.1f} s" for name, value in run.seconds.items())
    print(f"\n{seconds}\nWritten to {path}")


def _nearest(path: Path) -> Path:
    """The closest parent that exists."""
    return next(parent for parent in path.absolute().parents if parent.exists())


def _evaluate(options: argparse.Namespace) -> None:
    from hap_engine.examination import examine, reevaluate
    from hap_engine.models import load_model
    from hap_engine.patching import MaskedModel
    from hap_engine.runs import load, save

    run = load(options.file)
    if not options.model and "reference" not in run.model:
        raise SettingsError("The run file does not say where its model is. Name it with --model.")
    model = load_model(options.model or run.model["reference"], device=options.device)
    if model.graph == run.graph and model.sha256 != run.model.get("sha256"):
        print("note: these weights differ from the run's (other hash)", file=sys.stderr)
    masked = MaskedModel(model)
    metrics = follow(reevaluate(masked, run, options.ablation))
    print_table(metrics, run)
    if options.full:
        examined = follow(examine(masked, run, prompts=options.prompts))
        print_statistics(examined)
        print_ablations(examined)
        print(f"Written to {save(examined, options.out or options.file)}")


def _stability(options: argparse.Namespace) -> None:
    from hap_engine.examination import with_stability
    from hap_engine.runs import load, save
    from hap_engine.terminal import print_stability

    runs = with_stability([load(path) for path in options.files])
    for path, run in zip(options.files, runs, strict=True):
        save(run, path)
    print_stability(runs[0])


def _reproduce(options: argparse.Namespace) -> None:
    from dataclasses import replace

    from hap_engine.reproduce import configs, reproduce, table
    from hap_engine.runs import runs_folder

    wanted = configs(options.steps, options.seed)
    if options.device != "cpu":
        wanted = {name: replace(config, device=options.device) for name, config in wanted.items()}
    rows = follow(reproduce(runs_folder(), wanted))
    print(f"GPT-2 small, IOI, 94 % of the edges removed, seed {options.seed}; held-out prompts.")
    print(table(rows))
    if options.steps:
        print(f"EP and HAP with {options.steps:,} steps; the published recipe has 3,000.")
    print(f"The runs are in {runs_folder()}")


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
    from hap_engine.tasks import TASKS, get_task

    if options.task:
        tasks = [get_task(options.task, _own_prompts(options.prompts_file))]
    else:
        tasks = list(TASKS.values())
    if options.model:
        _check_tasks(tasks, options)
        return
    for task in tasks:
        print(f"{task.name}: {task.title}")
        for name, text in task.corruptions.items():
            print(f"  --corruption {name}: {text}")
    print("custom: your own pairs, with --prompts-file. How well does a model do? Add --model.")


def _check_tasks(tasks: Sequence[Task], options: argparse.Namespace) -> None:
    """Each task's row: the full model on clean prompts and (in brackets) on corrupted ones."""
    from hap_engine.models import loading
    from hap_engine.patching import MaskedModel
    from hap_engine.task_check import check_task
    from hap_engine.tasks import SplitSizes

    model = follow(loading(options.model, options.device))
    masked = MaskedModel(model)
    print(f"{model.name}, on clean prompts and (in brackets) on corrupted ones")
    columns = ("accuracy", "top1", "logit_diff", "prob_diff")
    print(f"{'task':14}" + "".join(f"{name:>16}" for name in columns))
    for task in tasks:
        try:
            sets = task.generate(
                model.tokenizer, SplitSizes(1, 1, ASKED), options.seed, task.default_corruption
            )
        except TaskError as error:
            print(f"{task.name:14}  cannot be asked: {error}")
            continue
        found = follow(check_task(masked, sets.test)).to_dict()
        cells = [f"{found[name]:.2f} ({found['corrupt_' + name]:.2f})" for name in columns]
        print(f"{task.name:14}" + "".join(f"{cell:>16}" for cell in cells))
        if not (found["solved"] and found["broken"]):
            print(f"{'':14}  {found['sentence']}")


COMMANDS = {
    "discover": _discover,
    "continue": _continue,
    "evaluate": _evaluate,
    "stability": _stability,
    "reproduce-paper": _reproduce,
    "models": _models,
    "tasks": _tasks,
}

if __name__ == "__main__":
    sys.exit(main())
