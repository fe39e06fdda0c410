"""Multiple choice from public data of the MIB benchmark (Mueller et al. 2025): mcqa, arc-easy, arc-challenge.

A row has a prompt that ends in ``Answer:``, the letters of its choices, which of them is right, and counterfactuals:
the same with one thing changed (facts of the format, from the code that evaluates it). As there, the answer is the
token that the right letter is by itself, the distractor that of the counterfactual's answer, and the splits are those
of the data set. Rows that do not fit a tokenizer are left out and counted.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from functools import partial
from random import Random
from typing import Any

from tokenizers import Tokenizer

from hap_engine.errors import TaskError
from hap_engine.files import parse_json
from hap_engine.tasks.pair import EncodedPair, PromptPair, encode, encode_pair
from hap_engine.tasks.task import SPLITS, HubData, PromptSets, SplitSizes, Task
from hap_engine.tasks.templates.making import check_corruption
from hap_engine.words import beside, say

REASON = 240  # characters of the first reason: some hold whole prompts
TEXTS = tomllib.loads(beside(__file__, "choices.toml"))


def _generate(
    name: str, data: HubData, tokenizer: Tokenizer, sizes: SplitSizes, seed: int, corruption: str
) -> PromptSets:
    """At most so many rows of each split, in an order that the seed shuffles.

    Raises:
        UnknownNameError: for a corruption that the task does not have.
        TaskError: if the files are not here or damaged, or no row of a split fits the tokenizer.
    """
    title = TEXTS[name]["title"]
    check_corruption(corruption, TEXTS["corruptions"])
    if not data.here:
        raise TaskError(say("choices.absent", title=title, data=data, name=name))
    chosen, rows, fit, reason = {}, 0, 0, ""
    for split in SPLITS:
        found = list(_rows(title, data, split, corruption))
        fitting: list[EncodedPair] = []
        for pair in found:
            try:
                fitting.append(encode_pair(tokenizer, _with_ids(tokenizer, pair)))
            except TaskError as error:
                reason = reason or str(error)[:REASON]
        if not fitting:
            raise TaskError(say("choices.none", title=title, rows=len(found), split=split, reason=reason))
        rows, fit = rows + len(found), fit + len(fitting)
        Random(f"{name} {split} {seed}").shuffle(fitting)
        chosen[split] = tuple(fitting[: getattr(sizes, split)])
    note = say("choices.fitting", title=title, rows=rows, fit=fit, reason=reason) if fit < rows else ""
    return PromptSets.of(chosen, note)


def _rows(title: str, data: HubData, split: str, corruption: str) -> Iterator[PromptPair | str]:
    """A split's rows with one of their counterfactuals; a text says why one has none.

    Raises:
        TaskError: naming the line that is no row.
    """
    column = TEXTS["columns"][corruption]
    for path in data.files(split):
        for line, text in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            try:
                row = parse_json(text)
                yield _pair(row, row[column]) if row.get(column) else say("choices.no_column", column=column)
            except (ValueError, TypeError, LookupError, AttributeError) as error:
                reason = repr(error)[:80]
                raise TaskError(
                    say("choices.damaged", title=title, path=path, line=line, data=data, reason=reason)
                ) from None


def _pair(row: Mapping[str, Any], other: Mapping[str, Any]) -> PromptPair:
    right, wrong = (str(side["choices"]["label"][int(side["answerKey"])]) for side in (row, other))
    return PromptPair(str(row["prompt"]), str(other["prompt"]), right, wrong)


def _with_ids(tokenizer: Tokenizer, pair: PromptPair | str) -> PromptPair:
    """The pair with the tokens that are scored. Raises TaskError for letters of several tokens, and for a text."""
    if isinstance(pair, str):
        raise TaskError(pair)
    ids = [encode(tokenizer, label) for label in (pair.answer, pair.distractor)]
    for label, tokens in zip((pair.answer, pair.distractor), ids, strict=True):
        if len(tokens) != 1:
            raise TaskError(say("choices.split_label", label=label, count=len(tokens)))
    return PromptPair(pair.clean, pair.corrupt, pair.answer, pair.distractor, answer_ids=ids[0], distractor_ids=ids[1])


def _task(name: str) -> Task:
    told = TEXTS[name]
    data = HubData(**told["data"])
    return Task(
        name=name,
        title=told["title"],
        summary=" ".join(f"{told['summary']} {TEXTS['all']['summary']}".split()),
        role_names=(),
        corruptions=TEXTS["corruptions"],
        generate=partial(_generate, name, data),
        data=data,
    )


CHOICES = tuple(map(_task, ("mcqa", "arc-easy", "arc-challenge")))
