"""The terminal command that makes a run again."""

from __future__ import annotations

import shlex
from dataclasses import asdict

from hap_engine.settings import DiscoveryConfig, offered, run_id

ALWAYS = ("model", "task", "sparsity", "seed")  # said even where they are the default: what a reader looks for


def command(config: DiscoveryConfig, reference: str, identity: str) -> str:
    """The command for `config`, on the model that `reference` names, by `identity` in the run's id."""
    default = DiscoveryConfig()
    if config.start is not None:  # all else is in the file of the run that it goes on from
        words = f"python -m hap_engine continue {config.start.run}.json --sparsity {config.sparsity}"
        return f"{words} --steps {config.pruning.steps}"
    parts = ["python -m hap_engine discover", f"--model {shlex.quote(reference)}"]
    parts += [f"--task {config.task}", f"--sparsity {config.sparsity}", f"--seed {config.seed}"]
    if config.prompts:  # the run's own file holds them
        parts.append(f"--prompts-file {run_id(config, identity)}.json")
    if config.spans:  # likewise
        parts.append(f"--spans {run_id(config, identity)}.json")
    names = [name for name in offered(DiscoveryConfig) if name not in ALWAYS]
    names.insert(names.index("device"), names.pop(names.index("corruption")))  # its place since the first runs
    for name in names:
        value = getattr(config, name)
        if name == "dtype" or value != getattr(default, name):  # dtype: the default depends on the machine
            parts.append(f"--{name.replace('_', '-')} {value}")
    for name, value in asdict(config.pruning).items():
        if value != getattr(default.pruning, name):
            parts.append(f"--{name.replace('_', '-')} {value}")
    if config.sizes != default.sizes:
        sizes = config.sizes
        parts.append(f"--prompts {sizes.train},{sizes.validation},{sizes.test}")
    return " ".join(parts)
