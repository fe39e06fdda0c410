"""What every generated task must fulfil."""

from __future__ import annotations

from tokenizers import Tokenizer

from hap_engine.tasks.pair import EncodedPair, encode_pair
from hap_engine.tasks.task import PromptSets, SplitSizes, Task
from hap_engine.tasks.templates.making import SHARES
from tests.builders.words import WORDS

SPLITS = tuple(split for split, _ in SHARES)


SIZES = SplitSizes(train=40, validation=20, test=40)


def make(task: Task, seed: int = 0, corruption: str = "", tokenizer: Tokenizer = WORDS) -> PromptSets:
    return task.generate(tokenizer, SIZES, seed, corruption or task.default_corruption)


def check(task: Task, tokenizer: Tokenizer, sets: PromptSets) -> None:
    """Sizes, alignment, one-token answers, roles, no unknown word, no prompt twice."""
    unknown = tokenizer.token_to_id("[UNK]")
    everything: list[EncodedPair] = []
    for split in SPLITS:
        pairs = getattr(sets, split)
        assert len(pairs) == getattr(SIZES, split)
        everything += pairs
    for pair in everything:
        assert encode_pair(tokenizer, pair.pair) == pair
        assert len(pair.clean_ids) == len(pair.corrupt_ids)
        assert pair.clean_ids != pair.corrupt_ids
        assert not set(pair.answer_ids) & set(pair.distractor_ids)
        assert unknown not in (*pair.clean_ids, *pair.corrupt_ids, *pair.answer_ids)
        assert set(pair.roles) == set(task.role_names)
        assert pair.roles["END"] == len(pair.clean_ids) - 1
    prompts = [{pair.pair.clean for pair in getattr(sets, split)} for split in SPLITS]
    assert not prompts[0] & prompts[1] | prompts[0] & prompts[2] | prompts[1] & prompts[2]
    twins = [(pair.pair.clean, pair.pair.corrupt) for pair in everything]
    assert len(set(twins)) == len(twins)


def word_at(pair: EncodedPair, role: str) -> str:
    return WORDS.id_to_token(pair.clean_ids[pair.roles[role]])
