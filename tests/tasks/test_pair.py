"""`encode_pair` accepts aligned pairs only, and says what is wrong with the others."""

from __future__ import annotations

import pytest
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace

from hap_engine.errors import SettingsError, TaskError, UnknownNameError
from hap_engine.tasks.builtin import TASKS
from hap_engine.tasks.custom import get_task
from hap_engine.tasks.pair import PromptPair, encode, encode_pair, single_token
from hap_engine.tasks.task import SplitSizes


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    words = ["[UNK]", "the", "cat", "dog", "sat", "ran", "on", ".", "mat"]
    made = Tokenizer(WordLevel({word: index for index, word in enumerate(words)}, unk_token="[UNK]"))
    made.pre_tokenizer = Whitespace()
    return made


def test_encode_pair_returns_ids_and_role_positions(tokenizer: Tokenizer) -> None:
    pair = PromptPair(
        "the cat sat on", "the dog sat on", " the", " mat", {"subject": (4, 0), "verb": (4, 1), "END": (13, 0)}
    )
    encoded = encode_pair(tokenizer, pair)
    assert encoded.clean_ids == (1, 2, 4, 6)
    assert encoded.corrupt_ids == (1, 3, 4, 6)
    assert (encoded.answer_id, encoded.distractor_id) == (1, 8)
    assert encoded.roles == {"subject": 1, "verb": 2, "END": 3}
    assert encoded.pair is pair


@pytest.mark.parametrize(
    ("pair", "complaint"),
    [
        (PromptPair("", "", " the", " mat"), "empty text"),
        (PromptPair("the cat", "the", " sat", " ran"), "same number of tokens, got 2 and 1"),
        (PromptPair("the cat", "the  cat", " sat", " ran"), "are the same"),
        (PromptPair("the cat", "the dog", " sat on", " ran"), "answer ' sat on' must be exactly one token"),
        (PromptPair("the cat", "the dog", " sat", ""), "distractor '' must be exactly one token"),
        (PromptPair("the cat", "the dog", "s", " ran"), "answer 's' must be exactly one token"),
        (PromptPair("the cat", "the dog", " sat", " ran", {"END": (3, 0)}), "No token covers character 3"),
        (PromptPair("the cat", "the dog", " sat", " ran", {"END": (4, 1)}), "lie outside the 2 tokens"),
        (PromptPair("the cat", "the dog", " sat", " ran", {"END": (0, -1)}), "lie outside the 2 tokens"),
    ],
    ids=[
        "empty",
        "unequal length",
        "identical prompts",
        "answer of two tokens",
        "distractor of no token",
        "answer that changes the last token",
        "mark between tokens",
        "mark after the end",
        "mark before the start",
    ],
)
def test_encode_pair_refuses(tokenizer: Tokenizer, pair: PromptPair, complaint: str) -> None:
    with pytest.raises(TaskError) as caught:
        encode_pair(tokenizer, pair)
    assert complaint in str(caught.value)


def test_single_token_and_encode(tokenizer: Tokenizer) -> None:
    assert encode(tokenizer, "the cat.") == (1, 2, 7)
    assert single_token(tokenizer, "the cat", " sat") == 4
    assert single_token(tokenizer, "the cat", " sat on") is None
    assert single_token(tokenizer, "the ca", "t") is None, "the prefix changed"


@pytest.mark.parametrize("sizes", [{"train": 0}, {"validation": -1}, {"test": 20_001}])
def test_split_sizes_out_of_range(sizes: dict[str, int]) -> None:
    with pytest.raises(SettingsError, match=f"{next(iter(sizes))} prompts, got"):
        SplitSizes(**sizes)


def test_tasks_are_found_by_name() -> None:
    assert all(get_task(name).name == name for name in TASKS)
    with pytest.raises(UnknownNameError, match="Did you mean 'ioi'"):
        get_task("io")
