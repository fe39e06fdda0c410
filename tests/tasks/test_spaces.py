"""The one rule for spaces before answers: all scripts, all white space, both members of a pair alike."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hap_engine.tasks.pair import PromptPair
from hap_engine.tasks.prompts_file import parse_rows, to_jsonl
from hap_engine.tasks.spaces import calls_for_space, with_spaces
from tests.builders.prompt_files import ANTONYMS, changed, parse_prompts

SPACED = [
    ("The opposite of hot is", "cold"),
    ("Pierre arrive demain", "à"),
    ("Pierre arrive demain", "de"),
    ("Answer:", "Paris"),
    ("Answer:", "5"),
    ("2 plus 3 is", "5"),
    ("He left.", "She"),
    ("f(x)", "is"),
    ("he “said”", "so"),
    ("« oui »", "est"),
    ("100%", "of"),
    ("5 + 3 =", "8"),
    ("France -> Paris\nSpain ->", "Madrid"),
    ("cafe\u0301", "noir"),  # a letter and its accent
    ("سافر إلى", "باريس"),
    ("سافر،", "باريس"),
    ("राम।", "घर"),
    ("나는", "학교"),
]
CLOSE = [
    ("What is the capital of France?\n", "Paris"),
    ("def f(x):\n    ", "return"),
    ("a\t", "b"),
    ("a\u00a0", "b"),  # a space that does not break
    ("日本\u3000", "b"),  # a wide one
    ("from 1732 to 17", "45"),
    ("at 12:", "30"),
    ("l'", "eau"),
    ("l’", "eau"),
    ("well-", "known"),
    ('he said "', "yes"),
    ("he said “", "yes"),
    ("f(", "x"),
    ("snake_", "case"),
    ("2+3=", "5"),
    ("I like cats", ","),
    ("It", "'s"),
    ("日本の首都は", "東京"),
    ("日本の首都は", "Tokyo"),
    ("The capital is", "東京"),
    ("他说：", "好"),
    ("เมืองหลวงคือ", "กรุงเทพ"),
    ("cafe", "\u0301"),
    ("", "a"),
    ("a", ""),
]


@pytest.mark.parametrize(("prompt", "text"), SPACED)
def test_a_space_where_a_text_has_one(prompt: str, text: str) -> None:
    assert calls_for_space(prompt, text)
    spaced = with_spaces(PromptPair(prompt, f"{prompt}!", text, text, more_answers=(text, f" {text}")))
    assert {*spaced.answers, *spaced.distractors} == {f" {text}"}


@pytest.mark.parametrize(("prompt", "text"), CLOSE)
def test_none_where_a_text_has_none(prompt: str, text: str) -> None:
    assert not calls_for_space(prompt, text)


def test_the_space_at_the_end_of_the_prompts_moves_and_the_text_stays() -> None:
    for prompt, text in [*SPACED, *CLOSE]:
        if text and not text[0].isspace():
            moved = with_spaces(PromptPair(f"{prompt} ", f"x{prompt} ", text, f" {text}"))
            assert moved == PromptPair(prompt, f"x{prompt}", f" {text}", f" {text}")
            assert moved.clean + moved.answer == f"{prompt} {text}"
    code = with_spaces(PromptPair("def f():\n    ", "def g():\n    ", "return", "pass"))
    assert code.clean + code.answer == "def f():\n    return", "indented as it was"
    assert with_spaces(PromptPair("is ", "was", "a", "b")) == PromptPair("is", "was", " a", " b"), "a slip"
    lines = PromptPair("is ", "was ", "\n", "a")
    assert with_spaces(lines) == lines


def test_a_row_can_say_exactly_what_is_meant() -> None:
    row = {"clean": "That is unbeliev", "corrupt": "That is believ", "answer": "able", "distractor": "ing"}
    assert parse_prompts(changed(2, **row))[1].answers == (" able",), "no rule can know it"
    (pair,) = parse_prompts(changed(2, **row, spaces="as written"))[1:2]
    assert (pair.answer, pair.distractor) == ("able", "ing")
    (pair,) = parse_prompts(
        changed(2, **{**row, "clean": "2 and 3 is ", "corrupt": "2 and 4 is "}, spaces="as written")
    )[1:2]
    assert pair.clean == "2 and 3 is "
    exact = PromptPair("That is unbeliev ", "That is believ ", "able", "", answer_ids=(5,), distractor_ids=(6, 7))
    assert with_spaces(exact) == exact
    message = parse_rows(changed(2, **row, spaces="no")).rows[1]
    assert message == 'expected "spaces" as "as written" or not at all, got \'no\'.'


def test_how_many_rows_got_a_space_is_known() -> None:
    assert parse_rows(changed(2)).spaced == 0
    assert parse_rows(changed(2, answer="small", distractor="cold")).spaced == 1
    assert parse_rows(changed(2, clean=ANTONYMS[1]["clean"] + " ")).spaced == 1
    assert parse_rows(changed(2, answer="small", spaces="as written")).spaced == 0


TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), min_size=1, max_size=8)
PAIRS = st.builds(
    PromptPair,
    TEXT,
    TEXT,
    TEXT,
    TEXT,
    st.just({}),
    st.lists(TEXT, max_size=2).map(tuple),
    st.lists(TEXT, max_size=2).map(tuple),
    st.lists(st.integers(0, 99), max_size=2).map(tuple),
    st.lists(st.integers(0, 99), max_size=2).map(tuple),
)


@given(st.lists(PAIRS, min_size=10, max_size=12))
def test_a_written_file_says_exactly_these_pairs(pairs: list[PromptPair]) -> None:
    file = parse_rows(to_jsonl(pairs).encode())
    assert list(file.rows) == pairs
    assert file.spaced == 0
