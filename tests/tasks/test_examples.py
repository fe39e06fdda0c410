"""Each task by hand: one prompt spelled out, and what is particular to the task."""

from __future__ import annotations

import pytest
from tokenizers import Tokenizer

from hap_engine.errors import TaskError
from hap_engine.tasks.builtin import TASKS
from hap_engine.tasks.templates import (
    agreement,
    arithmetic,
    capital,
    docstring,
    greater_than,
    induction,
    ioi,
    pronoun,
    sentiment,
)
from tests.builders.task_checks import check, make, word_at
from tests.builders.words import BY_DIGIT, NUMBERS, WORDS, all_texts, word_tokenizer

# --- Greater-than ----------------------------------------------------------------------------------


def test_greater_than_by_hand() -> None:
    form, years = greater_than.usable_years(WORDS)
    assert len(form.ends) == 100
    assert len(years) == 7 * 97
    pair = greater_than.make_pair(form, "siege", "17", "97", "98")
    assert pair.clean == "The siege lasted from the year 1797 to the year 17"
    assert pair.corrupt == "The siege lasted from the year 1701 to the year 17"
    assert pair.answers == ("98", "99")
    assert pair.distractors[0] == "97"
    assert sorted(pair.distractors) == NUMBERS[:98]


def test_greater_than_digit_by_digit_asks_for_the_tens() -> None:
    form, years = greater_than.usable_years(BY_DIGIT)
    assert form.ends == tuple("0123456789")
    assert {year[0] for _, year in years} == set("12345678"), "both sides need an end"
    pair = greater_than.make_pair(form, "war", "12", "63", "7")
    assert pair.answers == ("7", "8", "9")
    assert sorted(pair.distractors) == list("012345"), "6 could be either"
    check(TASKS["greater-than"], BY_DIGIT, make(TASKS["greater-than"], tokenizer=BY_DIGIT))


def test_years_in_one_piece_are_refused() -> None:
    whole = word_tokenizer(all_texts() + [f"{year}" for year in range(1000, 1900)], digits=4)
    with pytest.raises(TaskError, match="one or two digits a token"):
        make(TASKS["greater-than"], tokenizer=whole)


# --- Pronouns, agreement, induction ----------------------------------------------------------------


def test_pronoun_by_hand() -> None:
    pair = pronoun.make_pair(pronoun.TEMPLATES[0], "Mary", "Tom", female=True)
    assert pair.clean == "So Mary is a very good friend, isn't"
    assert pair.corrupt == "So Tom is a very good friend, isn't"
    assert (pair.answer, pair.distractor) == (" she", " he")
    women = {*pronoun.FEMALE, *pronoun.MORE_FEMALE}
    assert len(women) == len(pronoun.FEMALE) + len(pronoun.MORE_FEMALE)
    assert not women & set(pronoun.MALE)
    assert len(women) >= len(pronoun.MALE)
    assert {*pronoun.FEMALE, *pronoun.MALE} <= set(ioi.NAMES)


def test_pronouns_are_balanced_and_names_change_gender() -> None:
    train = make(TASKS["pronoun"]).train
    assert sum(pair.pair.answer == " she" for pair in train) == len(train) / 2
    for pair in train:
        corrupt = WORDS.id_to_token(pair.corrupt_ids[pair.roles["NAME"]])
        assert (word_at(pair, "NAME") in pronoun.MALE) != (corrupt in pronoun.MALE)


def test_agreement_by_hand() -> None:
    pair = agreement.make_pair(agreement.TEMPLATES[0], ("dog", "dogs"), "car", plural=True)
    assert pair.clean == "The dogs near the car"
    assert pair.corrupt == "The dog near the car"
    assert pair.answers == (" are", " were", " have")
    assert pair.distractors == (" is", " was", " has")


def test_the_other_noun_agrees_half_of_the_time() -> None:
    others = {plural for _, plural in agreement.OTHERS}
    train = make(TASKS["agreement"]).train
    agree = sum((word_at(p, "END") in others) == (p.pair.answer == " are") for p in train)
    assert agree == len(train) / 2


def test_nouns_with_one_form_are_left_out() -> None:
    tokenizer = word_tokenizer(["the dog dogs cat to"])
    assert agreement.DATA.one_token(tokenizer, agreement.SUBJECTS, "subjects", 1) == (("dog", "dogs"),)
    assert all(one != many for one, many in agreement.SUBJECTS)


@pytest.mark.parametrize(
    ("corruption", "corrupt"), [("fresh", "a p q r s t u v w b c d"), ("next_word", "a b c d h f g h i b c d")]
)
def test_induction_by_hand(corruption: str, corrupt: str) -> None:
    pair = induction.make_pair("a", list("bcdefghi"), 3, 6, list("pqrstuvw"), corruption)
    assert pair.clean == "a b c d e f g h i b c d"
    assert pair.corrupt == corrupt
    assert (pair.answer, pair.distractor) == (" e", " h")
    assert pair.marks == {"S1": (6, 0), "S1+1": (6, 1), "S2": (22, 0), "END": (22, 0)}


def test_induction_copies_what_stood_behind_the_word() -> None:
    for pair in make(TASKS["induction"]).test:
        assert word_at(pair, "S1") == word_at(pair, "S2")
        assert word_at(pair, "S1+1") == pair.pair.answer.strip()
        row = pair.clean_ids[1 : 1 + induction.LENGTH]
        assert len(set(row)) == induction.LENGTH


# --- Capitals, sentiment, arithmetic, docstrings ---------------------------------------------------


def test_capital_by_hand() -> None:
    pair = capital.make_pair(capital.TEMPLATES[0], ("Austria", "Vienna"), ("Peru", "Lima"))
    assert pair.clean == "The president of Austria lives in the capital,"
    assert pair.corrupt == "The president of Peru lives in the capital,"
    assert (pair.answer, pair.distractor) == (" Vienna", " Lima")
    columns = zip(*capital.CAPITALS, strict=True)
    assert all(len(set(column)) == len(capital.CAPITALS) for column in columns)


def test_sentiment_by_hand() -> None:
    text = "The [FIRST] food and the [SECOND] room were very"
    one, two = ("great", "awful"), ("nice", "bad")
    pair = sentiment.make_pair(text, one, two, True, [("good", "kind"), ("poor", "sad")])
    assert pair.clean == "The awful food and the bad room were very"
    assert pair.corrupt == "The great food and the nice room were very"
    assert (pair.answers, pair.distractors) == ((" poor", " sad"), (" good", " kind"))
    words = [word for both in sentiment.ADJECTIVES for word in both]
    assert len(set(words)) == len(words)


def test_arithmetic_by_hand() -> None:
    pair = arithmetic.make_pair([(1, 4), (6, 2)], (3, 4), 5, first=True)
    assert pair.clean == "1+4=5, 6+2=8, 3+4="
    assert pair.corrupt == "1+4=5, 6+2=8, 5+4="
    assert (pair.answer, pair.distractor) == ("7", "9")


@pytest.mark.parametrize(("tokenizer", "top"), [(WORDS, 99), (BY_DIGIT, 9)])
def test_sums_are_right_and_of_one_token(tokenizer: Tokenizer, top: int) -> None:
    assert arithmetic.numbers_of(tokenizer) == list(range(top + 1))
    for pair in make(TASKS["arithmetic"], tokenizer=tokenizer).train:
        solved, asked = pair.pair.clean.rsplit(", ", 1)
        for line in (*solved.split(", "), asked + pair.pair.answer):
            left, result = line.split("=")
            assert sum(map(int, left.split("+"))) == int(result) <= top
        assert eval_sum(pair.pair.corrupt) == int(pair.pair.distractor) != int(pair.pair.answer)


def eval_sum(prompt: str) -> int:
    return sum(map(int, prompt.rsplit(", ", 1)[-1].rstrip("=").split("+")))


@pytest.mark.parametrize("corruption", ["random", "definition"])
def test_docstring_by_hand(corruption: str) -> None:
    others = ["text", "code", "key", "path", "line", "user", "time"]
    pair = docstring.make_pair(
        "walk", ["size", "name", "page", "list", "file"], others, ["a b", "c"], "do it", corruption
    )
    assert pair.clean == (
        'def walk(self, size, name, page, list, file):\n    """do it\n\n'
        "    :param size: a b\n    :param name: c\n    :param"
    )
    assert "def walk(self, text, code, key, path, line)" in pair.corrupt
    assert (":param user: a b" in pair.corrupt) == (corruption == "random")
    assert (":param size: a b" in pair.corrupt) == (corruption == "definition")
    assert pair.answers == (" page",)
    assert set(pair.distractors) == {" size", " name", " list", " file"}
