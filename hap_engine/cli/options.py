"""The terminal's commands and their options (no torch)."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path
from types import NoneType
from typing import Any, get_args, get_type_hints

from hap_engine.machine.estimate import AUTO
from hap_engine.settings import DiscoveryConfig, PruningConfig, offered

ABOUT = "Discover, evaluate and compare circuits of transformers."


def make_parser() -> argparse.ArgumentParser:
    """Reads the command (``options.command``) and its options."""
    name = "hap" if Path(sys.argv[0]).stem == "hap" else "python -m hap_engine"
    parser = argparse.ArgumentParser(prog=name, description=ABOUT)
    begins = offered(DiscoveryConfig)["bos"].metadata["help"]
    commands = parser.add_subparsers(dest="command", required=True, metavar="command")

    discover = commands.add_parser("discover", help="find a circuit and write a run file")
    _offer(discover, DiscoveryConfig, vars(DiscoveryConfig()))
    discover.set_defaults(dtype=AUTO)
    discover.add_argument("--preset", help="quick, standard, thorough or published")
    _offer(discover, PruningConfig, {})  # not given: as the preset has it
    discover.add_argument("--prompts-file", type=Path, help="your own pairs for --task custom: JSONL, JSON, CSV, a run")
    _skip(discover)
    discover.add_argument("--prompts", help="train,validation,test counts, e.g. 600,100,256")
    discover.add_argument("--out", type=Path, help="run file to write (default: the explorer's folder)")

    onward = commands.add_parser("continue", help="prune a run's circuit on to a tighter budget")
    onward.add_argument("file", type=Path, help="a run of hap or ep, or its name in the explorer")
    onward.add_argument("--sparsity", type=float, required=True, help="above that of the run")
    onward.add_argument("--steps", type=int, help="of Edge Pruning (default: as the run)")
    onward.add_argument("--model", help="where the model is, if not where the run found it")
    onward.add_argument("--out", type=Path, help="run file to write (default: explorer's folder)")

    tested = commands.add_parser("evaluate", help="test a run file's circuits again")
    tested.add_argument("file", type=Path)
    tested.add_argument("--model", help="where the model is, if not where the run found it")
    tested.add_argument("--device", default="cpu")
    tested.add_argument("--bos", help=f"{begins} (default: as in the run)")
    tested.add_argument("--ablation", default="resample", help="what cut edges carry: resample, mean or zero")
    tested.add_argument(
        "--full",
        action="store_true",
        help="also: complement, completeness, minimality, curves, paired tests, what EAP missed",
    )
    tested.add_argument("--prompts", type=int, default=64, help="test prompts for the parts of --full that cost most")
    tested.add_argument("--out", type=Path, help="where --full writes (default: the same file)")

    steady = commands.add_parser("stability", help="which edges several seeds' runs share")
    steady.add_argument("files", type=Path, nargs="+", help="runs that differ in their seed only")

    paper = commands.add_parser("reproduce-paper", help="the paper's table: EAP, EP and HAP on GPT-2 small at 94 %%")
    paper.add_argument("--steps", type=int, help="fewer than the published 3,000, for a look")
    paper.add_argument("--seed", type=int, default=0)
    paper.add_argument("--device", default="cpu")

    commands.add_parser("app", help="start the explorer; its options: app --help", add_help=False)
    commands.add_parser("models", help="models that can be opened by name")
    asked = commands.add_parser("tasks", help="the tasks, and how well a model does them")
    asked.add_argument("--model", help="measure each task on this model")
    asked.add_argument("--task", help="only this one; without --model, what it is about")
    asked.add_argument("--prompts-file", type=Path, help="your own pairs instead: every row is asked")
    _skip(asked)
    asked.add_argument("--bos", default=DiscoveryConfig.bos, help=begins)
    asked.add_argument("--seed", type=int, default=0)
    asked.add_argument("--device", default="cpu")
    return parser


def _offer(command: argparse.ArgumentParser, config: type, defaults: Mapping[str, Any]) -> None:
    """An option for each setting of a config that is one: its name, its type and its help stand there."""
    types = get_type_hints(config)
    for name, setting in offered(config).items():
        kind = next(kind for kind in (*get_args(types[name]), types[name]) if kind is not NoneType)
        text = setting.metadata["help"].replace("%", "%%")
        command.add_argument(f"--{name.replace('_', '-')}", type=kind, default=defaults.get(name), help=text)


def _skip(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--skip-bad-rows",
        action="store_true",
        help="go on without the rows of the prompts file that cannot be used; each is told",
    )
