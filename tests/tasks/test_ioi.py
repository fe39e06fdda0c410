"""The IOI task: aligned prompts, roles that point at the right words, splits that share no pair."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from hap_engine.errors import TaskError, UnknownNameError
from hap_engine.tasks.task import PromptSets, SplitSizes
from hap_engine.tasks.templates import ioi as task
from hap_engine.tasks.templates.ioi import IOI
from hap_engine.tasks.templates.making import fill
from tests.builders.tiny_models import word_tokenizer

SIZES = SplitSizes(train=60, validation=30, test=90)
SPLITS = ("train", "validation", "test")
MINI = Path(__file__).parents[2] / "assets" / "models" / "hap-mini" / "tokenizer.json"


TOKENIZER = word_tokenizer()


def make(seed: int = 0, corruption: str = "abc", sizes: SplitSizes = SIZES) -> PromptSets:
    return IOI.generate(TOKENIZER, sizes, seed, corruption)


def everything(sets: PromptSets) -> list:
    return [pair for split in SPLITS for pair in getattr(sets, split)]


def name_words(text: str) -> list[str]:
    return [word for word in re.findall(r"\w+", text) if word in task.NAMES]


def test_templates_have_the_published_structure() -> None:
    assert len(set(task.TEMPLATES)) == 15
    for template in task.TEMPLATES:
        assert re.findall(r"\[[12S]\]", template) == ["[1]", "[2]", "[S]"]
        assert len(re.findall(r" \[[12S]\]", template)) == 3, "every name follows a space"
        assert template.endswith(" to")


def test_pools_are_large_and_share_no_word_with_the_templates() -> None:
    assert len(task.NAMES) >= 100
    assert len(task.PLACES) >= 8
    assert len(task.OBJECTS) >= 8
    words = [*task.NAMES, *task.PLACES, *task.OBJECTS]
    frame = {word for template in task.TEMPLATES for word in re.findall(r"\w+", template)}
    assert len(set(words)) == len(words)
    assert frame.isdisjoint(words)


def test_a_prompt_by_hand() -> None:
    pair = task.make_pair(task.TEMPLATES[0], "Mary", "John", ("Tom", "Kate", "Paul"), "park", "ring", False, "abc")
    assert pair.clean == "Later, John and Mary walked to the park. John handed a ring to"
    assert pair.corrupt == "Later, Tom and Kate walked to the park. Paul handed a ring to"
    assert (pair.answer, pair.distractor) == (" Mary", " John")
    assert pair.marks == {"IO": (16, 0), "S1": (7, 0), "S1+1": (7, 1), "S2": (41, 0), "END": (61, 0)}


def test_sizes_and_seeds() -> None:
    sets = make(seed=3)
    assert [len(getattr(sets, split)) for split in SPLITS] == [60, 30, 90]
    assert sets == make(seed=3)
    assert sets != make(seed=4)


def test_more_training_prompts_leave_the_others_as_they_are() -> None:
    few, many = make(sizes=SplitSizes(10, 30, 90)), make(sizes=SplitSizes(90, 30, 90))
    assert (few.validation, few.test) == (many.validation, many.test)
    assert many.train[:10] == few.train


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**63), corruption=st.sampled_from(list(IOI.corruptions)))
def test_every_prompt_of_every_seed(seed: int, corruption: str) -> None:
    sets = make(seed, corruption)
    pairs_of = {
        split: {frozenset((e.pair.answer, e.pair.distractor)) for e in getattr(sets, split)} for split in SPLITS
    }
    for split in SPLITS:
        encoded = getattr(sets, split)
        others = set().union(*(pairs_of[other] for other in SPLITS if other != split))
        assert pairs_of[split].isdisjoint(others)
        assert len({e.pair.clean for e in encoded}) == len(encoded), "prompts are distinct"
    for e in everything(sets):
        io, s = e.pair.answer.strip(), e.pair.distractor.strip()
        assert e.answer_id == TOKENIZER.token_to_id(io)
        assert e.distractor_id == TOKENIZER.token_to_id(s)
        assert len(e.clean_ids) == len(e.corrupt_ids) <= 22
        assert TOKENIZER.token_to_id("[UNK]") not in e.clean_ids + e.corrupt_ids
        assert set(e.roles) == set(IOI.role_names)
        words = {role: TOKENIZER.id_to_token(e.clean_ids[at]) for role, at in e.roles.items()}
        assert (words["IO"], words["S1"], words["S2"], words["END"]) == (io, s, s, "to")
        assert max(e.roles["IO"], e.roles["S1"]) < e.roles["S2"] < e.roles["END"]
        assert e.roles["S1+1"] == e.roles["S1"] + 1
        assert e.roles["END"] == len(e.clean_ids) - 1
        assert sorted(name_words(e.pair.clean)) == sorted((io, s, s))
        changed = [at for at, (a, b) in enumerate(zip(e.clean_ids, e.corrupt_ids, strict=True)) if a != b]
        expected = ("IO", "S1", "S2") if corruption == "abc" else ("S2",)
        assert changed == sorted(e.roles[role] for role in expected)


@pytest.mark.parametrize("seed", [0, 1])
def test_corruptions_do_what_they_say(seed: int) -> None:
    abc, s2, flip = (everything(make(seed, kind)) for kind in ("abc", "s2", "s2_io"))
    assert [e.pair.clean for e in abc] == [e.pair.clean for e in s2] == [e.pair.clean for e in flip]
    for a, b, c in zip(abc, s2, flip, strict=True):
        io, s = a.pair.answer.strip(), a.pair.distractor.strip()
        assert len({*name_words(a.pair.corrupt), io, s}) == 5, "three fresh names, all different"
        third = set(name_words(b.pair.corrupt)) - {io, s}
        assert len(third) == 1
        assert third < set(name_words(a.pair.corrupt)), "both corruptions agree on S2"
        assert name_words(c.pair.corrupt).count(io) == 2


def test_orders_and_templates_are_balanced() -> None:
    train = make().train
    assert sum(e.roles["IO"] < e.roles["S1"] for e in train) == len(train) / 2
    content = re.compile(rf"\b({'|'.join((*task.NAMES, *task.PLACES, *task.OBJECTS))})\b")
    forms = Counter((content.sub("_", e.pair.clean), e.roles["IO"] < e.roles["S1"]) for e in train)
    assert len(forms) == 30
    assert set(forms.values()) == {2}


def test_words_that_are_not_one_token_are_left_out() -> None:
    tokenizer = word_tokenizer(names=task.NAMES[:12])
    assert task.words_for(tokenizer)["names"] == task.NAMES[:12]
    used = {name for e in everything(IOI.generate(tokenizer, SIZES, 0, "abc")) for name in name_words(e.pair.corrupt)}
    assert used <= set(task.NAMES[:12])


@pytest.mark.parametrize(
    ("tokenizer", "complaint"),
    [
        (word_tokenizer(names=task.NAMES[:9]), "at least 10 names that are one token for the model, got 9"),
        (word_tokenizer(places=task.PLACES[:3]), "at least 4 places that are one token for the model, got 3"),
        (word_tokenizer(objects=()), "at least 4 objects that are one token for the model, got 0"),
    ],
)
def test_too_small_a_vocabulary_is_refused(tokenizer: Tokenizer, complaint: str) -> None:
    with pytest.raises(TaskError, match=complaint) as caught:
        IOI.generate(tokenizer, SIZES, 0, "abc")
    assert "Choose a model" in str(caught.value)


def test_too_many_prompts_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(task, "MAX_DRAWS", 50)
    tokenizer = word_tokenizer(names=task.NAMES[:10])
    with pytest.raises(TaskError, match="Ask for fewer prompts"):
        IOI.generate(tokenizer, SplitSizes(1, 20_000, 1), 0, "abc")


def test_an_unknown_corruption_is_named() -> None:
    with pytest.raises(UnknownNameError, match="Did you mean 's2_io'"):
        make(corruption="s2-io")


@given(count=st.integers(2, 40), seed=st.integers())
def test_split_pairs_is_a_partition(count: int, seed: int) -> None:
    names = [f"n{index}" for index in range(count)]
    dealt = task.split_pairs(names, seed)
    pairs = [pair for split in SPLITS for pair in dealt[split]]
    assert len(pairs) == len(set(pairs)) == count * (count - 1) // 2
    assert all(len(set(pair)) == 2 for pair in pairs)
    assert dealt == task.split_pairs(names, seed)


@given(st.data())
def test_fill_reports_where_each_name_starts(data: st.DataObject) -> None:
    template = data.draw(st.sampled_from(task.TEMPLATES))
    names = Random(data.draw(st.integers())).sample(task.NAMES, 3)
    words = {**dict(zip("12S", names, strict=True)), "PLACE": "park", "OBJECT": "ring"}
    text, starts = fill(template, words)
    assert all(text[start:].startswith(words[slot]) for slot, start in starts.items())
    assert {*"12S"} <= set(starts)
    assert "[" not in text


def test_hap_mini_knows_every_word() -> None:
    tokenizer = Tokenizer.from_file(str(MINI))
    assert task.words_for(tokenizer) == {"names": task.NAMES, "places": task.PLACES, "objects": task.OBJECTS}
    unknown = tokenizer.token_to_id("[UNK]")
    assert all(unknown not in e.clean_ids for e in IOI.generate(tokenizer, SIZES, 0, "abc").test)
