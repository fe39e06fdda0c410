"""Prompts divided into spans: every token in one, the same ones in all prompts, by four ways."""

from __future__ import annotations

from dataclasses import replace

import pytest

from hap_engine.errors import TaskError, UnknownNameError
from hap_engine.graph.graph import MAX_SPANS
from hap_engine.tasks.builtin import MADE
from hap_engine.tasks.pair import EncodedPair, PromptPair
from hap_engine.tasks.spans import WAYS, divided
from hap_engine.tasks.task import PromptSets, Task
from hap_engine.tasks.templates.ioi import IOI
from hap_engine.workflows.run_prompts import told_spans
from tests.builders.task_checks import make

PLAIN = PromptPair("", "", "", "")


def sets_of(*pairs: EncodedPair) -> PromptSets:
    return PromptSets(pairs, (), ())


def pair(clean: str, corrupt: str) -> EncodedPair:
    """A token a letter."""
    ids = tuple(map(ord, clean)), tuple(map(ord, corrupt))
    return EncodedPair(PLAIN, *ids, 1, 2, {})


def names(sets: PromptSets, row: int = 0) -> list[str]:
    return [sets.spans[at].name for at in sets.train[row].spans]


@pytest.fixture(params=MADE, ids=[task.name for task in MADE])
def task(request: pytest.FixtureRequest) -> Task:
    return request.param


@pytest.mark.parametrize("way", [way for way in WAYS if way != "tokens"])
def test_every_token_of_every_task_is_in_a_span(task: Task, way: str) -> None:
    sets = divided(make(task), way)
    assert sets.spans[-1].name == "END"
    assert len({span.name for span in sets.spans}) == len(sets.spans)
    for one in (*sets.train, *sets.validation, *sets.test):
        assert len(one.spans) == len(one.clean_ids)
        assert one.spans[-1] == len(sets.spans) - 1
        assert one.spans.count(one.spans[-1]) == 1, "END is the scored token alone"
        for at, (clean, corrupt) in enumerate(zip(one.clean_ids, one.corrupt_ids, strict=True)):
            assert clean == corrupt or sets.spans[one.spans[at]].differs
            assert {*one.spans[: at + 1]} <= {*sets.spans[one.spans[at]].sees}
    assert sets.note == make(task).note


def test_ioi_has_the_spans_of_its_names() -> None:
    sets = divided(make(IOI), "roles")
    found = {span.name: span for span in sets.spans}
    assert {"IO", "S1", "S1+1", "S2", "END"} < found.keys()
    assert found.keys() - {"before", "between", "after"} == {"IO", "S1", "S1+1", "S2", "END"}
    for name in ("IO", "S1", "S2"):
        assert found[name].differs
    assert not found["END"].differs
    index = {span.name: at for at, span in enumerate(sets.spans)}
    assert index["S1"] in found["IO"].sees, "either name may come first"
    assert index["IO"] in found["S1"].sees
    assert index["S2"] not in found["S1"].sees
    for one in sets.test:
        for role, place in one.roles.items():
            assert sets.spans[one.spans[place]].name == role


def test_by_changes() -> None:
    sets = divided(sets_of(pair("abcdefg", "aXXdYfg"), pair("bcde", "XcXe")), "changes")
    assert names(sets) == ["before", "change 1", "change 1", "between", "change 2", "after", "END"]
    assert names(sets, 1) == ["change 1", "between", "change 2", "END"], "some spans may be missing"
    assert [span.name for span in sets.spans] == ["before", "change 1", "between", "change 2", "after", "END"]
    assert [span.differs for span in sets.spans] == [False, True, False, True, False, False]
    assert sets.spans[2].sees == (0, 1, 2)


def test_coarse_and_tokens() -> None:
    sets = divided(sets_of(pair("abcdefg", "aXXdYfg")), "coarse")
    assert names(sets) == ["before", *["changed"] * 4, "after", "END"]
    sets = divided(sets_of(pair("abc", "Xbc"), pair("dea", "dXa")), "tokens")
    assert [span.name for span in sets.spans] == ["token 1", "token 2", "END"]


def test_a_changed_last_token() -> None:
    sets = divided(sets_of(pair("abc", "abX")), "coarse")
    assert names(sets)[-1] == "END"
    assert sets.spans[-1].differs


def test_what_cannot_be_divided_is_refused_by_its_row() -> None:
    with pytest.raises(
        TaskError, match="Row 2: it differs from its corrupted prompt in 1 places and the first row in 2"
    ):
        divided(sets_of(pair("abcd", "XbXd"), pair("abcd", "Xbcd")), "changes")
    with pytest.raises(TaskError, match="Row 2: it has 4 tokens and the first row 3"):
        divided(sets_of(pair("abc", "Xbc"), pair("abcd", "Xbcd")), "tokens")
    long = "a" * (MAX_SPANS + 1)
    with pytest.raises(TaskError, match=f"at most {MAX_SPANS}"):
        divided(sets_of(pair(long, f"X{long[1:]}")), "tokens")
    with pytest.raises(UnknownNameError, match="halves"):
        divided(sets_of(pair("ab", "Xb")), "halves")


def marked(names: str, row: EncodedPair) -> EncodedPair:
    """A letter a token names its span; a dot: none."""
    return replace(
        row, names=tuple("" if name == "." else f"part {name}" if name.isdigit() else name for name in names)
    )


def test_marks_are_the_roles_of_own_prompts() -> None:
    rows = marked(".AB.B.", pair("abcdef", "abXdef")), marked("BA.", pair("abc", "Xbc"))
    sets = divided(sets_of(*rows), "roles")
    assert names(sets) == ["before", "A", "B", "between", "B", "END"]
    assert names(sets, 1) == ["B", "A", "END"]
    assert told_spans(sets).endswith("Of 2 prompts some have no token in a span (before in 1, between in 1).")


def test_marks_that_do_not_go_together_are_refused_by_the_rows_of_the_file() -> None:
    first, second = (PromptPair(clean, "Xbcd", "", "") for clean in ("abcd", "ebcd"))
    rows = [replace(pair(one.clean, one.corrupt), pair=one) for one in (first, second)]
    with pytest.raises(TaskError, match="Row 2: it marks no span, and other rows do"):
        divided(sets_of(rows[1], marked("A...", rows[0])), "roles", [first, second])
    with pytest.raises(TaskError, match="Row 1: it marks no span, and other rows do"):
        divided(sets_of(rows[1], marked("A...", rows[0])), "roles")
    uneven = marked("1...", rows[0]), marked("1.2.", rows[1])
    with pytest.raises(TaskError, match=r"Row 2: it marks 2 spans without a name, and the first row 1.*\{S1:Mary\}"):
        divided(sets_of(*reversed(uneven)), "roles", [first, second])
