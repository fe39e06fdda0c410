"""Marks in a prompt: what they mark, which tokens that is, and what is refused."""

from __future__ import annotations

import time
from random import Random

import pytest

from hap_engine.errors import TaskError
from hap_engine.tasks.marking.braces import Part, covered, misread, read_marks, token_names, with_marks

WORDS = "When Mary and John left"
OFFSETS = [(0, 4), (4, 9), (9, 13), (13, 18), (18, 23)]  # as GPT-2 has them: a token begins with its space


def test_marks_are_read() -> None:
    assert read_marks("When {S1:Mary} and {John} left") == (WORDS, (Part("S1", 5, 9), Part("part 1", 14, 18)))
    assert read_marks("at {:12:30}") == ("at 12:30", (Part("part 1", 3, 8),))
    assert read_marks(r"\{x\} is {a b:y\}}") == ("{x} is y}", (Part("a b", 7, 9),))
    assert read_marks(r"C:\n is \\{x}") == (r"C:\n is" + " \\x", (Part("part 1", 9, 10),))


def test_what_is_written_is_read_again() -> None:
    rng = Random(0)
    for _ in range(2000):
        text = "".join(rng.choices(r"ab{}\: ", k=rng.randint(1, 9)))
        a, b, c, d = sorted(rng.randint(0, len(text)) for _ in range(4))
        parts = (Part("N", a, b), Part("part 1", c, d))
        assert read_marks(with_marks(text, parts)) == (text, parts)


@pytest.mark.parametrize(
    ("marked", "complaint"),
    [
        ("When {Mary and", "nothing closes"),
        ("When Mary} and", "closes no mark"),
        ("When {Mary {and} John}", "within another"),
        ("When {<b>:Mary} and", "names a span '<b>'"),
        ("When Mary and John left", "marks nothing in clean"),
        ("When {Mary} and Joan left", "Write the same text"),
    ],
)
def test_marks_that_cannot_be_used_are_told_with_a_remedy(marked: str, complaint: str) -> None:
    assert complaint in misread("clean", WORDS, marked)


def test_a_space_at_the_end_may_have_moved_to_the_answers() -> None:
    assert not misread("clean", "When Mary", "When {Mary} ")


def test_parts_are_tokens_but_for_their_spaces() -> None:
    assert token_names("When {S1:Mary} and{ John} left", OFFSETS) == ("", "S1", "", "part 1", "")
    assert token_names("{N:When Mary} and {N:John} left", OFFSETS) == ("N", "N", "", "N", "")
    assert token_names("When Mary and John {END:left}", OFFSETS)[-1] == "END"
    emoji = "a 🙂 b"
    assert token_names("a {🙂} b", [(0, 1), (1, 3), (2, 3), (3, 5)]) == ("", "part 1", "part 1", "")
    assert covered(emoji, [(0, 0), (0, 1), (1, 3)], Part("", 0, 1)) == [0, 1], "a token may hold no character"


@pytest.mark.parametrize(
    ("marked", "complaint"),
    [
        ("When {Ma}ry and John left", r"'Ma' cuts the token ' Mary' \(number 2\).*Mark whole words"),
        ("When{ }Mary and John left", "part 1 holds no token"),
        ("When Mary and John {V:left}", r"the last token \(' left'\) is the span END"),
        ("When {END:Mary} and John left", "name none END"),
    ],
)
def test_parts_that_are_no_tokens_are_refused(marked: str, complaint: str) -> None:
    with pytest.raises(TaskError, match=complaint):
        token_names(marked, OFFSETS)


def test_many_backslashes_take_no_time() -> None:
    text, started = "\\" * 200_000, time.perf_counter()
    assert read_marks(text) == (text, ())
    assert with_marks(text, ()) == text
    assert time.perf_counter() - started < 2
