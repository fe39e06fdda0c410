"""The prompts of a run, and whether a model can read them: asked before it is opened where possible (no torch)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from tokenizers import Tokenizer

from hap_engine.errors import TaskError
from hap_engine.models.catalog import config_of, resolve, tokenizer_file
from hap_engine.models.supported import max_tokens
from hap_engine.models.tokenizer import read_tokenizer
from hap_engine.settings import DiscoveryConfig, PruningConfig
from hap_engine.tasks.custom import problem
from hap_engine.tasks.pair import PromptPair
from hap_engine.tasks.rows import sift
from hap_engine.tasks.task import TRIAL_SIZES, PromptSets


def make_prompts(config: DiscoveryConfig, tokenizer: Tokenizer, name: str, limit: int | None) -> PromptSets:
    """The splits of a run.

    Args:
        name: of the model, for messages.
        limit: the longest prompt that it reads; None: any.

    Raises:
        TaskError: if the tokenizer leaves too few prompts, or one is too long.
    """
    task = config.find_task()
    corruption = config.corruption or task.default_corruption
    sets = task.generate(tokenizer, config.sizes, config.seed, corruption)
    pairs = (*sets.train, *sets.validation, *sets.test)
    longest = max(pairs, key=lambda pair: len(pair.clean_ids))
    if limit is not None and len(longest.clean_ids) > limit:
        raise TaskError(
            f"The longest prompt has {len(longest.clean_ids)} tokens ({longest.pair.clean[:60]!r} …), and "
            f"{name} reads at most {limit} (its positions, or the window of its attention). Choose shorter "
            "prompts or another model."
        )
    return sets


def try_prompts(config: DiscoveryConfig) -> None:
    """Make a few of the prompts (own ones: all) with the model's tokenizer if it is on this machine.

    Raises:
        TaskError: what the run would end with, a minute and a gigabyte later.
    """
    source = resolve(config.model)
    words = tokenizer_file(source)
    if words is not None:
        usual = PruningConfig()  # no prompt depends on it, and a larger batch would be refused
        few = config if config.prompts else replace(config, sizes=TRIAL_SIZES, pruning=usual)
        limit = max_tokens(config_of(source) or {})
        make_prompts(few, read_tokenizer(words), source.name, limit)


def usable_rows(
    rows: Sequence[PromptPair | str], reference: str | None
) -> tuple[tuple[PromptPair, ...], list[tuple[int, str]]]:
    """The rows of a prompts file that can be used, and what is wrong with each other one (from 1).

    Args:
        reference: the model whose tokenizer looks at them too, if it is on this machine.
    """
    words = tokenizer_file(resolve(reference)) if reference else None
    if words is None:
        return sift(rows)
    return sift(rows, partial(problem, read_tokenizer(words)))
