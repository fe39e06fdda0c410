"""Aligning two prompts and proposing a corruption: what an editor of prompts relies on."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer

from hap_engine.tasks.builtin import TASKS, word_pools
from hap_engine.tasks.editing import align, propose
from hap_engine.tasks.pair import encode
from tests.builders.words import WORDS

LEFT = "Later, Mary and John left. John thanked"


def test_aligned_prompts_show_what_changed() -> None:
    found = align(WORDS, "the old dogs near", "the old cats near")
    assert found.aligned
    assert found.changed == (2,)
    assert found.clean == ("the", "old", "dogs", "near")
    assert found.mismatch is None


def test_the_first_mismatch_is_marked_and_mended(smollm2_tokenizer: Tokenizer) -> None:
    found = align(smollm2_tokenizer, "So Mary went home", "So Wilhelmina went home")
    assert found.mismatch == 1
    assert "has 1 token ('Mary') where the corrupted one has 4 tokens ('Wilhelmina')" in found.message
    assert found.fix is not None
    assert found.message.endswith(f"Try: {found.fix}")
    assert align(smollm2_tokenizer, "So Mary went home", found.fix).aligned
    name = found.fix.removeprefix("So ").removesuffix(" went home")
    assert name in TASKS["ioi"].pools["names"], "a name is mended by a name"


@pytest.mark.parametrize(
    ("clean", "corrupt", "complaint", "mismatch"),
    [
        ("the old dog", "the dog", "where the corrupted one has nothing, at token 2", 1),
        ("the dog", "the dog near", "has nothing where the corrupted one has 1 token", 2),
        ("the dog", "the dog", "Both prompts are the same", None),
        ("", "the dog", "The clean prompt is empty", 0),
        ("the dog", "", "The corrupted prompt is empty", 0),
    ],
)
def test_what_cannot_be_mended_is_explained(clean: str, corrupt: str, complaint: str, mismatch: int | None) -> None:
    found = align(WORDS, clean, corrupt)
    assert not found.aligned
    assert complaint in found.message
    assert (found.mismatch, found.fix) == (mismatch, None)


@given(
    st.lists(st.sampled_from(["a", "e", "dog", "dogs", "car", "near", "the"]), max_size=6),
    st.lists(st.sampled_from(["a", "e", "dog", "dogs", "car", "near", "the"]), max_size=6),
)
def test_alignment_of_any_two_prompts(clean: list[str], corrupt: list[str]) -> None:
    found = align(WORDS, " ".join(clean), " ".join(corrupt))
    assert found.aligned == (len(clean) == len(corrupt) > 0 and clean != corrupt)
    if found.aligned:
        assert found.changed == tuple(i for i, (a, b) in enumerate(zip(clean, corrupt, strict=True)) if a != b)
    else:
        assert found.message
    if found.fix:
        assert align(WORDS, " ".join(clean), found.fix).aligned


def test_names_are_exchanged_and_swapped() -> None:
    start = LEFT.index("John thanked")
    found = propose(WORDS, LEFT, start, len(LEFT))
    assert len(found) == 5
    assert "Later, Mary and John left. Mary thanked" in [p.corrupt for p in found]
    assert all(p.corrupt.endswith(" thanked") for p in found), "of the marked words, names are meant"
    assert all(p.reason.startswith("John → ") and p.reason.endswith(" (names)") for p in found)


def test_two_marked_names_change_places() -> None:
    found = propose(WORDS, LEFT, LEFT.index("Mary"), LEFT.index(" left"))
    assert "Later, John and Mary left. John thanked" in [p.corrupt for p in found]
    fresh = found[0].corrupt.split()
    assert fresh[1] != fresh[3]


def test_a_noun_changes_its_number_first() -> None:
    assert propose(WORDS, "the dogs near", 4, 8)[0].corrupt == "the dog near"


def test_numbers_keep_their_digits() -> None:
    prompt = "the year 1732 to"
    for proposal in propose(WORDS, prompt, 11, 13):
        assert proposal.corrupt.startswith("the year 17")
        assert proposal.corrupt.endswith(" to")
        assert len(proposal.corrupt) == len(prompt)


def test_nothing_fits_and_nothing_is_proposed() -> None:
    assert propose(WORDS, "the dog", 3, 4) == ()
    assert propose(WORDS, "the dog", 4, 7, pools={"singular nouns": ("dog",)}) == ()


@given(st.sampled_from(LEFT.split()), st.integers(0, 99))
def test_proposals_keep_the_rest_and_the_length(word: str, seed: int) -> None:
    start = LEFT.index(word)
    end = start + len(word)
    found = propose(WORDS, LEFT, start, end, seed=seed)
    assert found == propose(WORDS, LEFT, start, end, seed=seed)
    for proposal in found:
        assert proposal.corrupt != LEFT
        assert proposal.corrupt.startswith(LEFT[:start])
        assert proposal.corrupt.endswith(LEFT[end:])
        assert len(encode(WORDS, proposal.corrupt)) == len(encode(WORDS, LEFT))


def test_twin_pools_correspond() -> None:
    pools = word_pools()
    assert len(pools["singular nouns"]) == len(pools["plural nouns"])
