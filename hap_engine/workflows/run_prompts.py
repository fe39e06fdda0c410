"""The prompts of a run, and whether a model can read them: asked before it is opened where possible (no torch)."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import replace
from functools import partial

from hap_engine.graph.graph import Graph
from hap_engine.models.catalog import resolve
from hap_engine.models.hub import download_data
from hap_engine.models.reader import reader_of
from hap_engine.progress import Progress, watched
from hap_engine.settings import DiscoveryConfig, PruningConfig
from hap_engine.tasks.pair import EncodedPair, PromptPair, token_text
from hap_engine.tasks.reader import Reader, encode_sets, problem
from hap_engine.tasks.rows import sift
from hap_engine.tasks.span_file import names_by_file
from hap_engine.tasks.spans import divided
from hap_engine.tasks.task import TRIAL_SIZES, PromptSets, SplitSizes, Task

SHOWN = 4  # tokens of a set of answers


def with_data(task: Task) -> Generator[Progress, None, None]:
    """Download what a task's prompts are read from, where that is not here yet; stopping to iterate stops it.

    Raises:
        ModelError: if it cannot be had.
    """
    if task.data is not None and not task.data.here:
        yield from watched(partial(download_data, task.data), "load", f"Asking for {task.data.repository}")


def task_prompts(reader: Reader, task: Task, sizes: SplitSizes, seed: int, corruption: str | None = None) -> PromptSets:
    """A task's splits for a model.

    Args:
        corruption: None: the task's default.

    Raises:
        TaskError: if the tokenizer leaves too few prompts, or the model cannot read one.
    """
    return encode_sets(reader, task.generate(reader.tokenizer, sizes, seed, corruption or task.default_corruption))


def make_prompts(config: DiscoveryConfig, reader: Reader) -> PromptSets:
    """The splits of a run. Raises TaskError as `task_prompts` does."""
    return task_prompts(reader.feeding(config.bos), config.find_task(), config.sizes, config.seed, config.corruption)


def settled(config: DiscoveryConfig, reader: Reader) -> DiscoveryConfig:
    """The settings with what ``auto`` means for a model's beginning-of-text token.

    A run without such a token does not name it, whoever decided so: it is the run that was made before there was a
    choice.
    """
    first = reader.feeding(config.bos).begins
    left_out = "never" if reader.begins else "auto"
    return replace(config, bos="always" if first else left_out)


def few_prompts(config: DiscoveryConfig, reader: Reader, sizes: SplitSizes = TRIAL_SIZES) -> PromptSets:
    """As `make_prompts`, only as many as `sizes` says; own ones: all."""
    usual = PruningConfig()  # no prompt depends on it, and a larger batch would be refused
    return make_prompts(config if config.prompts else replace(config, sizes=sizes, pruning=usual), reader)


def try_prompts(config: DiscoveryConfig) -> None:
    """Make a few of the prompts with the model's tokenizer if it is on this machine.

    Raises:
        TaskError: what the run would end with, a minute and a gigabyte later.
    """
    reader = reader_of(resolve(config.model))
    if reader is not None:
        sets = make_prompts(config, reader) if config.spans else few_prompts(config, reader)  # few may lack a span
        at_spans(config, sets, reader)


def at_spans(config: DiscoveryConfig, sets: PromptSets, reader: Reader) -> PromptSets:
    """The prompts of a run, each token in its span; as they are where edges act everywhere. Raises TaskError."""
    way = partial(names_by_file, config.spans, reader.tokenizer) if config.spans else config.positions
    return divided(sets, way, config.prompts) if way else sets


def graph_at_spans(config: DiscoveryConfig, graph: Graph, reader: Reader) -> Graph:
    """The graph whose edges a run keeps: at the spans of all its prompts. Raises TaskError."""
    return replace(graph, spans=at_spans(config, make_prompts(config, reader), reader).spans)


def told_spans(sets: PromptSets) -> str:
    """The spans, and how many prompts have no token in one."""
    rows = [{*pair.spans} for pair in (*sets.train, *sets.validation, *sets.test)]
    lacking = ((span.name, sum(at not in row for row in rows)) for at, span in enumerate(sets.spans))
    empty = ", ".join(f"{name} in {count:,}" for name, count in lacking if count)
    said = f"Edges act at {len(sets.spans)} spans: {', '.join(span.name for span in sets.spans)}."
    return f"{said} Of {len(rows):,} prompts some have no token in a span ({empty})." if empty else said


def usable_rows(
    rows: Sequence[PromptPair | str], reference: str | None
) -> tuple[tuple[PromptPair, ...], list[tuple[int, str]]]:
    """The rows of a prompts file that can be used, and what is wrong with each other one (from 1).

    Args:
        reference: the model whose tokenizer looks at them too, if it is on this machine.
    """
    reader = reader_of(resolve(reference)) if reference else None
    return sift(rows) if reader is None else sift(rows, partial(problem, reader))


def scored(reader: Reader, pairs: Sequence[EncodedPair]) -> str:
    """Which tokens are compared, for the first of some prompts: to be seen before a run is spent on them."""
    first, twice = pairs[0], sum(map(_names_twice, pairs))

    def listed(ids: Sequence[int]) -> str:
        texts = ", ".join(f"{token_text(reader.tokenizer, token)!r} (id {token})" for token in ids[:SHOWN])
        return f"{texts} and {len(ids) - SHOWN} more" if len(ids) > SHOWN else texts

    said = (
        f"After {first.pair.clean[-40:]!r}, {listed(first.answer_ids)} is compared with {listed(first.distractor_ids)}."
    )
    return f"{said} In {twice} of {len(pairs)} rows a token is named twice; it counts once." if twice else said


def _names_twice(pair: EncodedPair) -> bool:
    answers = pair.pair.answer_ids or pair.pair.answers
    distractors = pair.pair.distractor_ids or pair.pair.distractors
    return len(answers) > len(pair.answer_ids) or len(distractors) > len(pair.distractor_ids)
