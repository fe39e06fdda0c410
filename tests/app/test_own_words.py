"""What a reader writes on a run: bounded, of its own heads, in the file and in the link."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from app.link import Link
from app.result import own_words
from hap_engine.errors import RunFileError
from hap_engine.runs.run_file import dumps, loads
from tests.builders.fakes import fake_run


def test_a_link_counts_more_than_the_file_and_heads_that_the_run_lacks_are_left_out() -> None:
    run = replace(fake_run(), notes={"version": 1, "heads": {"a0.h0": "first", "a0.h1": "kept"}, "groups": {}})
    link = Link(
        notes=("a0.h0:then: now", "a99.h9:lost"),
        groups=("one:a0.h0,a0.h1", "two:a0.h1,a1.h0", "three:a1.h0,a1.h1,a9.h9"),
    )
    assert own_words.of(run, link) == {
        "heads": {"a0.h0": "then: now", "a0.h1": "kept"},
        "groups": {"one": ["a0.h0", "a0.h1"], "three": ["a1.h0", "a1.h1"]},
    }
    assert json.loads(own_words.as_text(run, Link()))["heads"] == run.notes["heads"]
    assert Link.from_query(link.query()) == link


def test_words_survive_the_run_file_and_only_of_heads_that_it_has() -> None:
    words = {"version": 1, "heads": {"a0.h0": "mine"}, "groups": {"both": ["a0.h0", "a0.h1"]}}
    assert loads(dumps(replace(fake_run(), notes=words))).notes == words
    with pytest.raises(RunFileError, match="heads that its graph lacks"):
        loads(dumps(replace(fake_run(), notes=words | {"groups": {"both": ["a0.h0", "a77.h1"]}})))


def test_what_is_written_is_one_line_of_bounded_length() -> None:
    told = {"heads": {"a0.h0": "x\n" * 500, "a0.h1": "   "}, "groups": {"a:b" * 40: ["a0.h0", "a0.h1"]}}
    said = own_words._clean(fake_run(), told)
    assert list(said["heads"]) == ["a0.h0"]
    assert len(said["heads"]["a0.h0"]) <= own_words.NOTE
    assert [len(name) <= own_words.NAME and ":" not in name for name in said["groups"]] == [True]
