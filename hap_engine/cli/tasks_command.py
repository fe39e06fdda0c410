"""The terminal's command ``tasks``: what the tasks are, and how well a model does them or somebody's own pairs."""

from __future__ import annotations

import argparse
import textwrap
from collections.abc import Sequence

from hap_engine.cli.progress_lines import follow
from hap_engine.errors import SettingsError
from hap_engine.report.titles import METRIC_TITLES
from hap_engine.tasks.builtin import TASKS, ready
from hap_engine.tasks.custom import NAME as CUSTOM
from hap_engine.tasks.custom import get_task
from hap_engine.tasks.pair import PromptPair
from hap_engine.tasks.task import Task

ASKED = 64  # prompts a task
WEAKEST = 10  # pairs of one's own that are listed
COLUMNS = ("accuracy", "top1", "logit_diff", "prob_diff")


def tasks(options: argparse.Namespace, own: Sequence[PromptPair]) -> None:
    """List the tasks, explain one, or (with ``--model``) ask a model.

    Raises:
        HapError: an unknown task or model, or own pairs that the model cannot read.
    """
    if own and options.task in (None, CUSTOM):
        if options.model is None:
            raise SettingsError("Expected a model that reads the pairs. Add --model.")
        _ask_own(options, own)
    elif options.task == CUSTOM:
        raise SettingsError("Expected your own pairs with the task custom. Add --prompts-file.")
    else:
        chosen = [get_task(options.task)] if options.task else []
        if options.model:
            _ask(options, chosen)
        else:
            _list(chosen or list(TASKS.values()), explain=bool(options.task))


def _list(chosen: Sequence[Task], explain: bool) -> None:
    for task in chosen:
        print(f"{task.name}: {task.title}{_to_download(task)}")
        if explain:
            print(textwrap.indent(textwrap.fill(task.summary, 96), "  "))
            print(f"  token roles: {', '.join(task.role_names) or 'none'}; score beside KL: {task.metric}")
        for name, text in task.corruptions.items():
            print(f"  --corruption {name}: {text}")
    print(
        "custom: your own pairs, with --prompts-file. What is a task about? Name it with --task. "
        "How well does a model do? Add --model."
    )


def _to_download(task: Task) -> str:
    if task.data is None or task.data.here:
        return ""
    return f" (a run downloads its prompts, {task.data.megabytes:g} MB)"


def _ask(options: argparse.Namespace, chosen: Sequence[Task]) -> None:
    """Each task's row: the full model on clean prompts and (in brackets) on corrupted ones.

    One that is named is downloaded; without a name all are asked that are here.
    """
    from hap_engine.workflows.ask_model import ask_tasks
    from hap_engine.workflows.run_prompts import with_data

    for named in chosen:
        follow(with_data(named))
    chosen = chosen or ready()
    model, answers = follow(ask_tasks(options.model, chosen, ASKED, options.seed, options.device, options.bos))
    print(f"{model.name}, on clean prompts and (in brackets) on corrupted ones")
    print(f"{'task':14}" + "".join(f"{METRIC_TITLES[name]:>24}" for name in COLUMNS))
    for task, answer in answers.items():
        if COLUMNS[0] not in answer:
            print(f"{task:14}  cannot be asked: {answer['sentence']}")
            continue
        cells = [f"{answer[name]:.2f} ({answer['corrupt_' + name]:.2f})" for name in COLUMNS]
        print(f"{task:14}" + "".join(f"{cell:>24}" for cell in cells))
        if not (answer["solved"] and answer["broken"]):
            print(f"{'':14}  {answer['sentence']}")


def _ask_own(options: argparse.Namespace, own: Sequence[PromptPair]) -> None:
    """Every pair is asked; the weakest are listed, with what is wrong with them."""
    from hap_engine.settings import DiscoveryConfig
    from hap_engine.workflows.run_prompts import scored, try_prompts

    try_prompts(DiscoveryConfig(model=options.model, task=CUSTOM, prompts=tuple(own), bos=options.bos))
    from hap_engine.workflows.ask_model import ask_pairs, summary

    model, rows, found = follow(ask_pairs(options.model, own, options.device, options.bos))
    print(f"{scored(model.reader, rows)}\n{model.name}: {summary(found)}")
    print(f"\nThe weakest pairs\n{'row':>5} {'p(answer)':>10} {'corrupted':>10} {'logit difference':>17}  prompt")
    for index in sorted(range(len(found)), key=lambda index: found[index].clean_diff)[:WEAKEST]:
        one, pair = found[index], rows[index].pair
        print(
            f"{index + 1:5} {one.clean:10.1%} {one.corrupt:10.1%} {one.clean_diff:17.2f}  "
            f"… {pair.clean[-40:]}{pair.answer} (the model says {one.says!r})"
        )
        if one.complaint:
            print(f"{'':5} {one.complaint}")
