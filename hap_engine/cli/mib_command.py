"""The terminal's command ``mib``: a folder for the MIB benchmark from runs, or CPR and CMD of anybody's folder."""

from __future__ import annotations

import argparse
from pathlib import Path

from hap_engine.cli.progress_lines import follow
from hap_engine.errors import SettingsError
from hap_engine.report.titles import say as sentence
from hap_engine.words import say

OUT = Path("mib")


def mib(options: argparse.Namespace) -> None:
    """Write, or with ``--evaluate`` measure. Raises HapError with what is missing or wrong."""
    if bool(options.runs) == bool(options.evaluate):
        raise SettingsError(say("mib.which"))
    if options.evaluate:
        _evaluate(options)
    else:
        _write(options)


def _write(options: argparse.Namespace) -> None:
    from hap_engine.runs.mib_folder import write_submission
    from hap_engine.runs.run_file import load

    runs = [load(path) for path in options.runs]
    folder = options.out or OUT
    files = write_submission(runs, folder)
    measured = [(run.id, name, row) for run in runs for name, row in run.sizes["metrics"].items() if "cpr" in row]
    print(f"{'run':14}{'method':14}{'CPR':>8}{'CMD':>8}")
    for run, name, row in measured:
        print(f"{run:14}{name:14}{row['cpr']:>8.3f}{row['cmd']:>8.3f}")
    print(sentence("areas.reading"))
    models, tasks = ({path.parent.name.rpartition("_")[at] for path in files} for at in (2, 0))
    print(f"\nWritten to {folder}: {len(files)} circuits.")
    if min(len(models), len(tasks)) < 2:
        print(say("mib.few", models=len(models), tasks=len(tasks)))


def _evaluate(options: argparse.Namespace) -> None:
    if not options.model:
        raise SettingsError(say("mib.no_model"))
    if not options.evaluate.is_dir():
        raise SettingsError(say("mib.no_folder", folder=options.evaluate))
    from hap_engine.masked.opening import open_masked
    from hap_engine.transformer.load import loading
    from hap_engine.workflows.evaluate_mib import GRID, evaluate_folder

    masked = open_masked(follow(loading(options.model, options.device)))
    found, others = follow(
        evaluate_folder(masked, options.evaluate, options.task, options.prompts, options.seed, options.bos)
    )
    print(f"{masked.model.name} · {options.prompts} test prompts a task · cut edges carry the corrupted run")
    wide = max(len(str(one.folder)) for one in found)
    print(f"{'circuits':{wide}}{'task':>15}{'CPR':>8}{'CMD':>8}  faithfulness at " + " ".join(f"{k:.1%}" for k in GRID))
    for one in found:
        curve = " ".join(f"{value:.2f}" for value in one.curves["cmd"])
        print(f"{one.folder!s:{wide}}{one.task:>15}{one.cpr:>8.3f}{one.cmd:>8.3f}  {curve}")
    print(sentence("areas.reading"))
    for folder in others:
        print(f"{folder}: circuits of another model, left out.")
