"""Your own prompts as a task: how they are split, and the task itself.

The rows come from `hap_engine.tasks.prompts_file`. They are split by a hash of their clean prompts and the
seed: rows that share a prompt, be it clean or corrupted, stay together; the order of the rows does not matter. So
a run can be repeated from the prompts that its file holds. Only a baseline ("The capital of something is"), with which
many rows are corrupted and which is nowhere a clean prompt, joins none: it shows nothing of what is asked.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from tokenizers import Tokenizer

from hap_engine.errors import TaskError, UnknownNameError
from hap_engine.files import short_hash
from hap_engine.tasks.builtin import TASKS
from hap_engine.tasks.pair import EncodedPair, PromptPair
from hap_engine.tasks.reader import MAX_TOKENS, Reader, encode_rows
from hap_engine.tasks.rows import check_count, refuse, sift
from hap_engine.tasks.task import PromptSets, SplitSizes, Task
from hap_engine.tasks.templates.making import check_corruption
from hap_engine.words import say

NAME = "custom"
SHARES = (("train", 0.5), ("validation", 0.1), ("test", 0.4))
BASELINE = 0.2  # of the rows and more than two of them: then it is no example
CORRUPTIONS = {"given": "The corrupted prompts are those of the prompts file."}


def get_task(name: str, prompts: Sequence[PromptPair] = ()) -> Task:
    """The task of that name; ``custom`` is made of `prompts`.

    Raises:
        UnknownNameError: with the nearest known name.
    """
    if name == NAME:
        return custom_task(prompts)
    if name not in TASKS:
        raise UnknownNameError("task", name, [*TASKS, NAME])
    return TASKS[name]


def split_rows(pairs: Sequence[PromptPair], seed: int) -> dict[str, tuple[PromptPair, ...]]:
    """The pairs by split, about in `SHARES`; nothing that is learned from is tested on.

    Raises:
        TaskError: with fewer than three groups of rows that can be apart.
    """
    groups = _groups(pairs, _joining(pairs))
    if len(groups) < len(SHARES):
        raise TaskError(say("tasks.groups", rows=len(pairs), groups=len(groups), s="s" if len(groups) > 1 else ""))

    def order(clean: str) -> tuple[bool, str]:  # a group that only the largest split can hold comes first
        return 2 * len(groups[clean]) <= len(pairs), hashlib.sha256(f"{seed} {clean}".encode()).hexdigest()

    left = sorted(groups, key=order)
    dealt: dict[str, tuple[PromptPair, ...]] = {}
    for after, (split, share) in zip((2, 1, 0), SHARES, strict=True):
        mine: list[PromptPair] = []
        while left and (not mine or not after or len(mine) < share * len(pairs)) and len(left) > after:
            mine += groups[left.pop(0)]
        dealt[split] = tuple(mine)
    return dealt


def _groups(pairs: Sequence[PromptPair], joined: Iterable[PromptPair]) -> dict[str, list[PromptPair]]:
    """Rows of one clean prompt, or of prompts that a chain of `joined` rows connects, by the first clean prompt."""
    leads_to: dict[str, str] = {}  # another prompt of the group

    def root(prompt: str) -> str:
        while (further := leads_to.get(prompt, prompt)) != prompt:
            prompt = further
        return prompt

    for pair in joined:
        leads_to[root(pair.clean)] = root(pair.corrupt)
    rows: dict[str, list[PromptPair]] = {}
    for pair in sorted(pairs, key=lambda pair: (pair.clean, pair.corrupt)):
        rows.setdefault(root(pair.clean), []).append(pair)
    return {group[0].clean: group for group in rows.values()}


def _joining(pairs: Sequence[PromptPair]) -> list[PromptPair]:
    """The rows whose corrupted prompt is no baseline."""
    cleans, rows = {pair.clean for pair in pairs}, Counter(pair.corrupt for pair in pairs)
    most = max(2, BASELINE * len(pairs))
    return [pair for pair in pairs if pair.corrupt in cleans or rows[pair.corrupt] <= most]


def shares_corruptions(pairs: Sequence[PromptPair]) -> bool:
    """Whether rows stay together that once did not: all but those of one clean prompt or of two that are each
    other's corruption. Such runs have another id than they had."""
    there = {(pair.clean, pair.corrupt) for pair in pairs}
    mirrored = [pair for pair in pairs if (pair.corrupt, pair.clean) in there]
    return len(_groups(pairs, _joining(pairs))) < len(_groups(pairs, mirrored))


def prompts_hash(pairs: Sequence[PromptPair]) -> str:
    """Identifies a set of prompts, in whatever order."""
    return short_hash(sorted(json.dumps(_identity(pair), sort_keys=True) for pair in pairs))


def _identity(pair: PromptPair) -> dict[str, Any]:
    """What is scored: no text beside an id, no answer twice."""
    plain = pair.to_dict()
    for kind in ("answer", "distractor"):
        more = f"more_{kind}s"
        if f"{kind}_ids" in plain:
            plain = {key: value for key, value in plain.items() if key not in (kind, more)}
        elif more in plain:
            plain[more] = [text for text in dict.fromkeys(plain[more]) if text != plain[kind]]
    return plain


def _check_spellings(rows: Sequence[EncodedPair]) -> None:
    """Raises TaskError for two texts that the tokenizer reads as the same prompt (é in one sign or two, capitals): one
    could be learned from and the other tested on."""
    texts: dict[tuple[int, ...], str] = {}
    wrong = []
    for number, row in enumerate(rows, 1):
        for text, ids in ((row.pair.clean, row.clean_ids), (row.pair.corrupt, row.corrupt_ids)):
            if (other := texts.setdefault(ids, text)) != text:
                wrong.append((number, say("tasks.two_spellings", text=text, other=other)))
    refuse(wrong, len(rows))


def custom_task(pairs: Sequence[PromptPair]) -> Task:
    """The task that these pairs are; equal pairs make equal prompts."""

    def generate(tokenizer: Tokenizer, sizes: SplitSizes, seed: int, corruption: str) -> PromptSets:
        """All pairs, split by the seed (the sizes are those of the file)."""
        check_corruption(corruption, CORRUPTIONS)
        refuse(sift(pairs)[1], len(pairs))
        check_count(len(pairs))
        rows = encode_rows(Reader(tokenizer), pairs, MAX_TOKENS)
        _check_spellings(rows)
        encoded = {(pair.clean, pair.corrupt): row for pair, row in zip(pairs, rows, strict=True)}
        dealt = split_rows(pairs, seed)
        return PromptSets.of({name: tuple(encoded[p.clean, p.corrupt] for p in mine) for name, mine in dealt.items()})

    return Task(NAME, "Your own prompts", say("tasks.own_prompts"), (), CORRUPTIONS, generate)
