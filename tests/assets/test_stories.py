"""The texts that hap-mini learns from hold nothing that is held out, and no word that it does not know."""

from __future__ import annotations

import re
from itertools import combinations, pairwise
from random import Random

import pytest

from assets.models import stories
from assets.models.exam import held_out_prompts
from assets.models.people import ANSWER, FORBIDDEN
from assets.models.stories import held_out, story
from hap_engine.tasks.pair import encode
from hap_engine.tasks.templates import greater_than as greater
from hap_engine.tasks.templates import induction, ioi, pronoun
from tests.builders.words import word_tokenizer

TOKENIZER = word_tokenizer([*stories.ALL_WORDS, *(f"{n:02d}" for n in range(100))])


def many(kind: object, count: int = 400) -> list[str]:
    rng = Random(1)
    return [kind(rng).replace(ANSWER, "") for _ in range(count)]  # type: ignore[operator]


@pytest.mark.parametrize("kind", stories.STORIES, ids=lambda kind: kind.__name__)
def test_stories_hold_no_pair_of_names_that_is_held_out(kind: object) -> None:
    for text in many(kind):
        names = {word for word in re.findall(r"\w+", text) if word in ioi.NAMES}
        assert not any(frozenset(pair) in FORBIDDEN for pair in combinations(names, 2)), text


def test_stories_hold_no_start_year_that_is_held_out() -> None:
    for text in many(stories.span):
        century, year, _, end = re.findall(r"\d\d", text)
        assert not held_out(century, year) or year == "01"
        assert year < end


def test_stories_hold_no_name_in_a_sentence_that_is_held_out() -> None:
    for text in many(stories.tag):
        (name,) = (word for word in re.findall(r"\w+", text) if word in ioi.NAMES)
        template = next(t for t in pronoun.TEMPLATES if text.startswith(t.replace("[NAME]", name)))
        assert not held_out(template, name)
        assert text.endswith("she?") == (name in pronoun.FEMALE)


def test_rows_hold_no_two_words_that_are_held_out() -> None:
    for text in many(stories.row):
        opening, *words = text.split()
        half = len(words) // 2
        assert words[:half] == words[half:]
        assert len({opening, *words}) == half + 1
        row = [opening, *words[:half]]
        assert not any(held_out(*pair) for pair in pairwise(row))


def test_every_word_is_known_and_every_story_fits() -> None:
    rng = Random(2)
    unknown = TOKENIZER.token_to_id("[UNK]")
    for _ in range(2000):
        ids = encode(TOKENIZER, story(rng).replace(ANSWER, ""))
        assert unknown not in ids
        assert len(ids) < 64


def test_the_mark_is_no_word() -> None:
    assert ANSWER not in stories.ALL_WORDS
    assert len(stories.ROW_WORDS) >= 2 * induction.MIN_WORDS


def test_test_prompts_are_of_held_out_combinations_only() -> None:
    made = held_out_prompts(TOKENIZER, 40)
    assert all(len(pairs) == 40 for pairs in made.values())
    for pair in made["greater-than"]:
        century, year = re.findall(r"\d\d", pair.pair.clean)[:2]
        assert held_out(century, year)
        assert century in greater.CENTURIES
    for pair in made["ioi"]:
        assert frozenset((pair.pair.answer.strip(), pair.pair.distractor.strip())) in FORBIDDEN
    for pair in made["induction"]:
        assert held_out(pair.pair.clean.split()[-1], pair.pair.answer.strip())
