"""Multiple choice from made files of the benchmark's columns: what is read, what does not fit, what is damaged."""

from __future__ import annotations

from typing import Any

import pytest

from hap_engine.errors import TaskError, UnknownNameError
from hap_engine.tasks.builtin import MADE, TASKS, ready
from hap_engine.tasks.pair import encode
from hap_engine.tasks.task import SPLITS, PromptSets, SplitSizes, Task
from tests.builders.choices import files, lines, row, side, tokenizer
from tests.builders.words import word_tokenizer

SIZES = SplitSizes(12, 4, 8)
TASK = TASKS["mcqa"]


def put(task: Task = TASK, **content: str) -> Task:
    """The task with its files on this machine, or with others of them."""
    assert task.data is not None
    for name, data in files().items():
        path = task.data.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    for split, text in content.items():
        (task.data.folder / f"4_answer_choices/{split}.jsonl").write_text(text)
    return task


def make(seed: int = 0, corruption: str = "symbol", sizes: SplitSizes = SIZES, **content: str) -> PromptSets:
    return put(**content).generate(tokenizer(), sizes, seed, corruption)


def texts(sets: PromptSets) -> list[list[str]]:
    return [[pair.pair.clean for pair in getattr(sets, split)] for split in SPLITS]


def test_the_splits_are_those_of_the_data_set() -> None:
    sets = make()
    every = make(sizes=SplitSizes())
    assert [len(split) for split in texts(sets)] == [12, 4, 8]
    assert [len(split) for split in texts(every)] == [16, 4, 12], "at most as many as there are"
    written = {pair["prompt"] for pair in map(row, range(16))}
    assert set(texts(every)[0]) == written
    assert make() == sets
    assert texts(make(seed=1)) != texts(sets)
    assert set(texts(make(seed=1, sizes=SplitSizes()))[2]) == set(texts(every)[2])
    assert sets.note == ""


def test_the_answer_is_the_letter_by_itself_as_the_benchmark_scores_it() -> None:
    (pair, *_) = make(sizes=SplitSizes()).test
    assert (pair.answer_id,) == encode(tokenizer(), pair.pair.answer)
    assert (pair.distractor_id,) == encode(tokenizer(), pair.pair.distractor)
    assert (pair.pair.answer in "ABCD", pair.pair.distractor in "PQRS") == (True, True)
    assert pair.pair.corrupt.replace("P.", "A.").replace("Q.", "B.").replace("R.", "C.").replace("S.", "D.") == (
        pair.pair.clean
    )
    (moved, *_) = make(corruption="position", sizes=SplitSizes()).test
    assert moved.pair.distractor == "BCDA"["ABCD".index(moved.pair.answer)]
    assert moved.roles == {}


def test_numbers_are_read_as_symbols() -> None:
    one = row(0, symbol_counterfactual={**side("box", "PQRS", 0, "red"), "choices": {"label": [1, 2, 3, 4]}})
    numbers = word_tokenizer([one["prompt"], "P Q R S", "1 2 3 4"])
    sets = put(train=lines(one), validation=lines(one), test=lines(one)).generate(numbers, SIZES, 0, "symbol")
    assert sets.test[0].pair.distractor == "1"


def test_rows_that_do_not_fit_are_left_out_and_counted() -> None:
    short = side("box", "PQRS", 0, "red") | {"prompt": "The box"}
    wrong: list[dict[str, Any]] = [
        row(0, symbol_counterfactual=short),
        row(1, symbol_counterfactual=side("box", "PQRS", 0, "red") | {"choices": {"label": ["P Q"] * 4}}),
        row(2, symbol_counterfactual=None),
    ]
    sets = make(train=lines(*wrong, *map(row, range(5))))
    assert len(sets.train) == 5
    assert sets.note.startswith("Multiple choice: which colour?: of 24 rows 21 fit this tokenizer; in the others")
    assert "same number of tokens" in sets.note
    with pytest.raises(TaskError, match=r"none of 1 test rows .*there is no symbol_counterfactual.*Choose another"):
        make(test=lines(wrong[2]))
    with pytest.raises(TaskError, match="'P Q' is 2 tokens and must be one"):
        make(validation=lines(wrong[1]))


def test_what_is_not_here_says_how_to_get_it() -> None:
    with pytest.raises(TaskError, match=r"copycolors_mcqa on the Hugging Face Hub, 1 MB.*hap tasks --task mcqa"):
        TASK.generate(tokenizer(), SIZES, 0, "symbol")
    assert ready() == list(MADE)
    put()
    assert ready() == [*MADE, TASK]


@pytest.mark.parametrize("bad", ["{", "[]", '{"prompt": 1}', '{"symbol_counterfactual": {"prompt": "x"}}'])
def test_a_damaged_file_is_named(bad: str) -> None:
    if bad == '{"prompt": 1}':
        with pytest.raises(TaskError, match="none of 1 train rows"):
            make(train=bad)
        return
    with pytest.raises(TaskError, match=r"train\.jsonl cannot be read .*line 2 .*Delete the file"):
        make(train=lines(row(0)) + bad)


def test_another_corruption_is_named() -> None:
    with pytest.raises(UnknownNameError, match="no corruption named 'abc'"):
        make(corruption="abc")


@pytest.mark.parametrize("name", ["mcqa", "arc-easy", "arc-challenge"])
def test_a_student_is_told_what_is_known(name: str) -> None:
    assert 300 < len(TASKS[name].summary) < 1600
    assert all(text.endswith(".") for text in (TASKS[name].summary, *TASKS[name].corruptions.values()))
