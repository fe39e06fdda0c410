"""What holds for every task: aligned prompts, disjoint splits, equal seeds, plain refusals."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from hap_engine.errors import TaskError, UnknownNameError
from hap_engine.tasks.builtin import MADE, TASKS
from hap_engine.tasks.pair import EncodedPair, PromptPair, encode_pair
from hap_engine.tasks.task import PromptSets, SplitSizes, Task
from hap_engine.tasks.templates import sentiment
from hap_engine.tasks.templates.making import deal, distinct, make_sets
from tests.builders.task_checks import SPLITS, check, make, word_at
from tests.builders.words import WORDS, word_tokenizer


@pytest.fixture(params=MADE, ids=[task.name for task in MADE])
def task(request: pytest.FixtureRequest) -> Task:
    return request.param


@settings(max_examples=5, deadline=None)
@given(seed=st.integers(0, 2**31), data=st.data())
def test_every_prompt_of_every_seed(seed: int, data: st.DataObject) -> None:
    task = data.draw(st.sampled_from(MADE))
    for corruption in task.corruptions:
        check(task, WORDS, make(task, seed, corruption))


def test_each_task_on_word_tokens(task: Task) -> None:
    sets = make(task)
    check(task, WORDS, sets)
    assert sets == make(task)
    assert sets != make(task, seed=1)


def test_each_task_on_the_real_tokenizer(task: Task, smollm2_tokenizer: Tokenizer) -> None:
    check(task, smollm2_tokenizer, make(task, tokenizer=smollm2_tokenizer))


def test_the_default_sizes_can_be_made(task: Task, smollm2_tokenizer: Tokenizer) -> None:
    sets = task.generate(smollm2_tokenizer, SplitSizes(), 3, task.default_corruption)
    assert [len(getattr(sets, split)) for split in SPLITS] == [600, 100, 256]


def test_more_training_prompts_leave_the_others_as_they_are(task: Task) -> None:
    few = task.generate(WORDS, SplitSizes(5, 8, 9), 0, task.default_corruption)
    many = task.generate(WORDS, SplitSizes(20, 8, 9), 0, task.default_corruption)
    assert (few.validation, few.test) == (many.validation, many.test)
    assert many.train[:5] == few.train


def test_a_student_is_told_what_is_known(task: Task) -> None:
    assert 300 < len(task.summary) < 1600
    assert "20" in task.summary, "names a year of publication"
    assert all(text.endswith(".") for text in (task.summary, *task.corruptions.values()))


def test_an_unknown_corruption_is_named(task: Task) -> None:
    with pytest.raises(UnknownNameError, match="no corruption named 'nonsense'"):
        make(task, corruption="nonsense")


def test_a_tokenizer_that_splits_the_words_is_refused(task: Task) -> None:
    with pytest.raises(TaskError, match=r"(least \d+ .*got [02]|does neither).* Choose a"):
        make(task, tokenizer=word_tokenizer(["nothing of use"]))


def items(sets: PromptSets, of: Callable[[EncodedPair], object]) -> list[set[object]]:
    return [{of(pair) for pair in getattr(sets, split)} for split in SPLITS]


@pytest.mark.parametrize(
    ("name", "of"),
    [
        ("greater-than", lambda pair: word_at(pair, "XX") + word_at(pair, "YY")),
        ("pronoun", lambda pair: word_at(pair, "NAME")),
        ("agreement", lambda pair: word_at(pair, "SUBJECT")),
        ("induction", lambda pair: word_at(pair, "S2")),
        ("capital", lambda pair: word_at(pair, "COUNTRY")),
        ("sentiment", lambda pair: frozenset(sentiment_pair(word_at(pair, "FIRST")))),
        ("arithmetic", lambda pair: frozenset((word_at(pair, "A"), word_at(pair, "B")))),
        ("docstring", lambda pair: word_at(pair, "C")),
    ],
)
def test_splits_share_nothing_that_matters(name: str, of: Callable[[EncodedPair], object]) -> None:
    train, validation, test = items(make(TASKS[name]), of)
    assert len(train | validation | test) == len(train) + len(validation) + len(test)


def sentiment_pair(word: str) -> tuple[str, ...]:
    return next(both for both in sentiment.ADJECTIVES if word in both)


# --- The shared making -----------------------------------------------------------------------------


@given(count=st.integers(0, 200), label=st.text(max_size=5))
def test_dealing_is_a_partition(count: int, label: str) -> None:
    dealt = deal(range(count), label)
    assert sorted(item for part in dealt.values() for item in part) == list(range(count))
    assert abs(len(dealt["train"]) - 0.4 * count) <= 1


def test_running_out_of_prompts_is_said() -> None:
    pair = PromptPair("a", "b", " c", " d")
    with pytest.raises(TaskError, match="Expected 2 different prompts in one split, got 1"):
        list(distinct(lambda index: pair, 2))


def test_sets_of_answers_are_encoded_and_kept_apart() -> None:
    tokenizer = word_tokenizer(["a b c d e f"])
    pair = PromptPair("a", "b", " c", " d", {}, (" e",), (" f",))
    encoded = encode_pair(tokenizer, pair)
    assert [tokenizer.id_to_token(i) for i in encoded.answer_ids] == ["c", "e"]
    assert [tokenizer.id_to_token(i) for i in encoded.distractor_ids] == ["d", "f"]
    with pytest.raises(TaskError, match=r"same token 'c'.*Choose a distractor"):
        encode_pair(tokenizer, PromptPair("a", "b", " c", " d", {}, (), (" c",)))
    with pytest.raises(TaskError, match="answer ' e f' must be exactly one token"):
        encode_pair(tokenizer, PromptPair("a", "b", " c", " d", {}, (" e f",)))


@given(
    st.builds(
        PromptPair,
        clean=st.text(),
        corrupt=st.text(),
        answer=st.text(),
        distractor=st.text(),
        marks=st.just({}),
        more_answers=st.lists(st.text()).map(tuple),
        more_distractors=st.lists(st.text()).map(tuple),
    )
)
def test_pairs_survive_the_run_file(pair: PromptPair) -> None:
    assert PromptPair.from_dict(pair.to_dict()) == pair


def test_items_are_drawn_from_their_own_split() -> None:
    tokenizer = word_tokenizer([" ".join(f"w{i} v{i}" for i in range(50)) + " a b to"])

    def draw(rng, mine, index):  # type: ignore[no-untyped-def]
        number = mine[index % len(mine)]
        return PromptPair(f"w{number}", f"v{number}", " a", " b")

    sets = make_sets("toy", tokenizer, SplitSizes(5, 5, 5), 0, range(50), draw)
    chosen = items(sets, lambda pair: pair.pair.clean)
    assert [len(part) for part in chosen] == [5, 5, 5]
    assert not chosen[0] & chosen[2]
