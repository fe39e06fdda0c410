"""The engine from a terminal: ``hap discover | evaluate | …``, or ``python -m hap_engine`` in a checkout.

Exit codes: 0 done, 1 an error that the message explains, 2 wrong arguments, 70 an error that nobody foresaw (the
message names a file to send with a report), 130 cancelled (Ctrl-C).
"""

from __future__ import annotations

import argparse
import os
import shlex
import sys
import time
from collections.abc import Callable, Generator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from hap_engine.cli.options import make_parser
from hap_engine.cli.progress_lines import follow
from hap_engine.cli.tables import print_ablations, print_interrupted, print_sizes, print_statistics, print_table
from hap_engine.crash_report import EXIT_CODE, explain, foreseen
from hap_engine.errors import DiskError, HapError, RunFileError, SettingsError
from hap_engine.files import PROGRAM, check_writable
from hap_engine.machine.threads import wait_briefly
from hap_engine.progress import drain
from hap_engine.settings import DiscoveryConfig, PruningConfig, offered, with_preset

if TYPE_CHECKING:
    from hap_engine.masked.masked_pass import MaskedModel
    from hap_engine.progress import Progress
    from hap_engine.runs.record import Run
    from hap_engine.runs.unfinished import Unfinished

OTHERS = int(os.environ.get("WORLD_SIZE", "1")) > 1  # processes that torchrun started beside this one
SHARED = ("discover", "continue", "resume")  # commands that several processes can share
T = TypeVar("T")
RETRY = 10  # seconds between two tries to write a run that no place takes


def main(arguments: list[str] | None = None) -> int:
    parser = make_parser()
    options, rest = parser.parse_known_args(arguments)
    if options.command == "app":
        _app(rest)
    if rest:
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    wait_briefly()
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    try:
        if OTHERS and options.command not in SHARED:
            raise SettingsError(f"hap {options.command} works in one process. Start it without torchrun.")
        COMMANDS[options.command](options)
    except KeyboardInterrupt:
        print("\ncancelled", file=sys.stderr)
        return 130
    except BrokenPipeError:  # whoever read the output (`| head`) has had enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except Exception as error:  # one net: no traceback reaches a user
        command = shlex.join(["hap", *(sys.argv[1:] if arguments is None else arguments)])
        print(f"\nerror: {explain(error, command)}", file=sys.stderr)
        return 1 if foreseen(error) else EXIT_CODE
    return 0


def _app(arguments: list[str]) -> NoReturn:
    """Replace this process by the explorer's, which knows its own options; the engine imports no page."""
    script = PROGRAM / "app" / "serve.py"  # by its path: a folder of the user's may hold an `app` too
    os.execv(sys.executable, [sys.executable, "-P", str(script), *arguments])


def _config(options: argparse.Namespace) -> DiscoveryConfig:
    from hap_engine.machine.estimate import AUTO, faster_dtype

    given = _given(options, DiscoveryConfig) | {"dtype": DiscoveryConfig.dtype}  # decided below: it takes measuring
    more = {"prompts": _given_prompts(options), "layers_on": options.layers_on, "spans": _spans(options.spans)}
    config = DiscoveryConfig(**given | more)
    if options.preset:
        config = with_preset(config, options.preset)
    if options.prompts is not None:
        config = replace(config, sizes=_sizes(options.prompts))
    config = replace(config, pruning=replace(config.pruning, **_given(options, PruningConfig)))
    if options.dtype != AUTO:
        return replace(config, dtype=options.dtype)
    from hap_engine.workflows.measure_machine import measured

    return replace(config, dtype=faster_dtype(config, measured()))


def _given(options: argparse.Namespace, config: type) -> dict[str, Any]:
    """The settings of a config that the options name."""
    values = {name: getattr(options, name) for name in offered(config)}
    return {name: value for name, value in values.items() if value is not None}


def _sizes(text: str) -> Any:
    from hap_engine.tasks.task import SplitSizes

    parts = text.split(",")
    if len(parts) != 3 or not all(part.strip().isdigit() for part in parts):
        raise SettingsError(f"Expected --prompts as train,validation,test (such as 600,100,256), got {text!r}.")
    return SplitSizes(*(int(part) for part in parts))


def _given_prompts(options: argparse.Namespace) -> Any:
    """The rows of the prompts file, if one is named; on demand only those that can be used."""
    path = options.prompts_file
    if path is None:
        return ()
    from hap_engine.tasks.prompts_file import read_rows
    from hap_engine.tasks.rows import check_rows, told
    from hap_engine.workflows.run_prompts import usable_rows

    file = read_rows(_found(path))
    if file.spaced:
        print(
            f"In {file.spaced:,} of {len(file.rows):,} rows a space was put before the answers, or moved to them from "
            'the end of the prompts. (A row that says "spaces": "as written" stays as it is.)',
            file=sys.stderr,
        )
    if not options.skip_bad_rows:
        return check_rows(file.rows)
    good, wrong = usable_rows(file.rows, options.model)
    if wrong:
        print(f"{told(wrong, len(file.rows))}\nGoing on with the other {len(good):,}.", file=sys.stderr)
    return check_rows(good)


def _spans(path: Path | None) -> Any:
    from hap_engine.tasks.span_file import read_span_file

    return None if path is None else read_span_file(_found(path))


def _found(path: Path) -> Path:
    """A file; a bare name is looked up among the saved runs too."""
    from hap_engine.runs.run_file import runs_folder

    saved = runs_folder() / path.name
    return path if path.exists() or not saved.is_file() else saved


def _discover(options: argparse.Namespace) -> None:
    _run(_config(options), options.out)


def _continue(options: argparse.Namespace) -> None:
    from hap_engine.runs.continue_run import further
    from hap_engine.runs.run_file import load

    config = further(load(_found(options.file)), options.sparsity)
    if options.steps:
        config = replace(config, pruning=replace(config.pruning, steps=options.steps))
    _run(replace(config, model=options.model or config.model, layers_on=options.layers_on), options.out)


def _resume(options: argparse.Namespace) -> None:
    from hap_engine.runs.run_file import runs_folder
    from hap_engine.runs.unfinished import every_interrupted, forget, interrupted

    folder = runs_folder()
    if options.run is None:
        return print_interrupted(every_interrupted(folder))
    left = interrupted(folder, options.run)
    if left is None and not options.forget:
        raise SettingsError(f"Nothing is kept of an interrupted run {options.run[:64]!r}. `hap resume` lists those.")
    if left is None or options.forget:
        forget(folder, options.run)
        return print(f"Nothing is kept of run {options.run[:64]} any more.")
    config = replace(left.config, layers_on=options.layers_on or left.config.layers_on)
    _run(config, options.out or (Path(left.out) if left.out else None), left.run)


def _run(config: DiscoveryConfig, out: Path | None, resumed: str = "") -> None:
    """Estimate, discover, save and report; a place that cannot be written is told before the work."""
    from hap_engine.runs.run_file import runs_folder
    from hap_engine.runs.unfinished import Following, Unfinished, forget
    from hap_engine.workflows.run_prompts import try_prompts, with_data

    folder = runs_folder()
    check_writable(out or folder / "run.json")
    follow(with_data(config.find_task()))
    try_prompts(config)  # before torch is imported: that takes seconds
    from hap_engine.machine.estimate import describe
    from hap_engine.masked.processes import joined
    from hap_engine.report.missed_heads import misplaced
    from hap_engine.report.titles import attention_ways
    from hap_engine.report.verdict import verdict, warnings
    from hap_engine.workflows.discover import discover
    from hap_engine.workflows.measure_machine import measured

    cost = describe(config, measured())
    if cost is not None and not OTHERS:
        print(f"{cost.sentence} (an estimate for this machine)", file=sys.stderr)
    if OTHERS and os.environ["RANK"] != "0":  # it computes its share; process 0 tells and writes
        with joined(config.device, config.layers_on):
            drain(discover(config, None, Following(folder, out, resumed)))
        return
    state = Unfinished(folder, out, resumed)
    with joined(config.device, config.layers_on):
        run = _kept_up(discover(config, None, state), state)
    path, problem = _kept(run, None, out or folder / f"{run.id}.json")
    print_table(run.metrics, run)
    if run.roles and "eap" in run.circuits:
        print("\n" + verdict(run).sentence)
        for found in misplaced(run, "eap", run.main):
            print(found.sentence)
    print_sizes(run)
    for warning in warnings(run):
        print("\n" + warning)
    seconds = ", ".join(f"{name} {value:.1f} s" for name, value in run.seconds.items())
    print(f"\n{attention_ways(run.model)}\n{seconds}\nWritten to {path}")
    if problem:
        raise problem
    forget(folder, run.id)


def _kept_up(work: Generator[Progress, None, T], state: Unfinished) -> T:
    """Follow work that goes on from its state; say so where it is interrupted."""
    from hap_engine.runs.run_file import runs_folder
    from hap_engine.runs.unfinished import Interrupted, kept

    try:
        return follow(work)
    except KeyboardInterrupt:
        if left := kept(runs_folder(), state.run):
            so = f", and so does: hap resume {left.run}" if isinstance(left, Interrupted) else "."
            said = f"Interrupted; kept is what was found up to {left.told}. The same command goes on from there{so}"
            print(f"\n{said}", file=sys.stderr)
        raise


def _kept(run: Run, seen: Run | None, path: Path) -> tuple[Path, HapError | None]:
    """`keep` a run that was computed, or changed since it was `seen`, beside what others change in its file.

    It is tried again as long as no place takes the run, for it is in memory alone.
    """
    from hap_engine.runs.merge import changing, with_changes
    from hap_engine.runs.run_file import elsewhere, keep, save

    said = ""
    while True:
        try:
            with changing(path.parent):
                return keep(with_changes(run, seen, path), path)
        except RunFileError as error:
            aside = save(run, elsewhere(run))
            return aside, RunFileError(f"{error} What was found now is in {aside}.")
        except DiskError as error:
            if said != str(error):
                said = str(error)
                print(f"\n{error} The run stays in memory and is written when there is room.", file=sys.stderr)
            time.sleep(RETRY)


def _evaluate(options: argparse.Namespace) -> None:
    from hap_engine.runs.run_file import load, runs_folder
    from hap_engine.runs.unfinished import Unfinished, forget
    from hap_engine.workflows.add_to_run import adding
    from hap_engine.workflows.retest import examine, reevaluate

    run, state, more = load(options.file), Unfinished(runs_folder()), Unfinished(runs_folder())
    if options.full:
        check_writable(options.out or options.file)
    if options.bos and options.full:
        raise SettingsError("--full adds to the run, whose prompts begin as they did. Leave --bos out, or --full.")
    masked = _opened(options, run)
    work = adding(state, reevaluate, masked, run, ablation=options.ablation, bos=options.bos)
    metrics = _kept_up(work, state)
    print_table(metrics, run)
    if options.full:
        examined = _kept_up(adding(more, examine, masked, run, prompts=options.prompts), more)
        print_statistics(examined)
        print_ablations(examined)
        _write(examined, run, options.out or options.file)
    for done in (state, more):
        forget(runs_folder(), done.run)


def _opened(options: argparse.Namespace, run: Run) -> MaskedModel:
    """The run's model, from where the options or the run say that it is."""
    from hap_engine.masked.opening import is_model_of, open_masked
    from hap_engine.transformer.load import load_model

    if not options.model and "reference" not in run.model:
        raise SettingsError("The run file does not say where its model is. Name it with --model.")
    model = load_model(options.model or run.model["reference"], device=options.device)
    if model.graph == run.graph.whole and not is_model_of(model, run):
        print("note: these weights, config or tokenizer differ from the run's (other hash)", file=sys.stderr)
    return open_masked(model)


def _write(run: Run, seen: Run, path: Path) -> None:
    written, problem = _kept(run, seen, path)
    print(f"Written to {written}")
    if problem:
        raise problem


def _stability(options: argparse.Namespace) -> None:
    from hap_engine.cli.tables import print_stability
    from hap_engine.runs.run_file import load, save
    from hap_engine.workflows.retest import with_stability

    if options.bootstrap is not None:
        if len(options.files) > 1:
            raise SettingsError(f"Expected one run to resample the prompts of, got {len(options.files)}. Name one.")
        from hap_engine.workflows.search_again import bootstrap

        path = options.files[0]
        return _add(options, path, bootstrap, print_stability, resamples=options.bootstrap)
    runs = [load(path) for path in options.files]
    for path in options.files:
        check_writable(path)
    runs = with_stability(runs)
    for path, run in zip(options.files, runs, strict=True):
        save(run, path)
    print_stability(runs[0])


def _rival(options: argparse.Namespace) -> None:
    from hap_engine.cli.tables import print_rival
    from hap_engine.workflows.rivals import find_rival

    _add(options, options.file, find_rival, print_rival)


def _per_prompt(options: argparse.Namespace) -> None:
    from hap_engine.cli.tables import print_prompt_circuits
    from hap_engine.workflows.search_again import per_prompt

    _add(options, options.file, per_prompt, print_prompt_circuits, prompts=options.prompts)


def _add(options: argparse.Namespace, path: Path, work: Any, show: Callable[[Run], None], **more: Any) -> None:
    """Add to a finished run with its model, show what was added and write it."""
    from hap_engine.runs.run_file import load, runs_folder
    from hap_engine.runs.unfinished import Unfinished, forget
    from hap_engine.workflows.add_to_run import adding

    path = _found(path)
    run, out, state = load(path), options.out or path, Unfinished(runs_folder())
    check_writable(out)
    found = _kept_up(adding(state, work, _opened(options, run), run, steps=options.steps, **more), state)
    show(found)
    _write(found, run, out)
    forget(runs_folder(), state.run)


def _reproduce(options: argparse.Namespace) -> None:
    from hap_engine.runs.run_file import runs_folder
    from hap_engine.workflows.reproduce_paper import configs, reproduce, table

    check_writable(runs_folder() / "run.json")
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
    from hap_engine.models.catalog import BUNDLED, HUB_MODELS
    from hap_engine.models.hub import cached, cached_models

    for name in BUNDLED:
        print(f"{name:40} bundled")
    for name, model in HUB_MODELS.items():
        where = "on this machine" if cached(name) else f"to download ({model.gigabytes:g} GB)"
        licence = f" (accept the {model.licence} on the Hub first)" if model.licence else ""
        print(f"{name:40} {where}: {model.text}{licence}")
    for name in cached_models():
        if name not in HUB_MODELS:
            print(f"{name:40} on this machine")
    print(
        "Also: the path of a .gguf file or of a save_pretrained folder, or any Hub owner/name or owner/name@revision."
    )


def _tasks(options: argparse.Namespace) -> None:
    from hap_engine.cli.tasks_command import tasks

    tasks(options, _given_prompts(options))


def _sweep(options: argparse.Namespace) -> None:
    from hap_engine.cli.sweep_command import sweep

    sweep(options)


def _mib(options: argparse.Namespace) -> None:
    from hap_engine.cli.mib_command import mib

    mib(options)


def _gallery(options: argparse.Namespace) -> None:
    from hap_engine.cli.gallery_command import gallery

    gallery(options)


COMMANDS = {
    "discover": _discover,
    "continue": _continue,
    "resume": _resume,
    "evaluate": _evaluate,
    "stability": _stability,
    "rival": _rival,
    "per-prompt": _per_prompt,
    "reproduce-paper": _reproduce,
    "models": _models,
    "tasks": _tasks,
    "mib": _mib,
    "sweep": _sweep,
    "gallery": _gallery,
}
