"""Links: every view survives the URL, and no URL can break a page."""

from __future__ import annotations

from dataclasses import fields

from hypothesis import given
from hypothesis import strategies as st

from app.link import KEYS, MAX_PINS, VIEWS, Link
from tests.builders.fakes import fake_run
from tests.builders.sized_runs import sized_run

names = st.from_regex(r"[a-z0-9.<>_-]{1,20}", fullmatch=True)
links = st.builds(
    Link,
    run=names,
    other=names,
    pins=st.lists(names, unique=True, max_size=MAX_PINS).map(tuple),
    left=names,
    right=names,
    view=st.sampled_from(("", *VIEWS)),
    drawn=st.integers(0, 10**6),
    size=st.integers(0, 10**6),
    fold=st.booleans(),
    prompt=st.integers(0, 1000),
    corruption=names,
    step=st.integers(0, 20),
    present=st.booleans(),
)


@given(links)
def test_a_link_survives_the_url(link: Link) -> None:
    assert Link.from_query(link.query()) == link


@given(st.dictionaries(st.sampled_from(sorted(KEYS.values())), st.lists(st.text(), max_size=3)))
def test_no_url_breaks_a_link(query: dict[str, list[str]]) -> None:
    link = Link.from_query(query)
    assert Link.from_query(link.query()) == link
    assert len(link.pins) <= MAX_PINS


def test_defaults_stay_out_of_the_url() -> None:
    assert Link().query() == {}
    assert Link(run="abc", pins=("a0.h0", "m1")).query() == {"run": ["abc"], "pin": ["a0.h0", "m1"]}


def test_keys_are_one_to_one() -> None:
    assert sorted(KEYS) == sorted(field.name for field in fields(Link))
    assert len(set(KEYS.values())) == len(KEYS)


def test_what_a_run_lacks_is_said_and_left_out() -> None:
    run = fake_run()
    good, bad = (Link(pins=("a0.h0", "logits")), Link(pins=("a0.h0", "a99.h1"), left="nope", prompt=7))
    assert good.problems(run) == []
    said = " ".join(bad.problems(run))
    assert "a99.h1" in said
    assert "'nope'" in said
    assert "test prompt 8" in said
    assert bad.valid(run) == Link(pins=("a0.h0",))
    assert bad.valid(run).problems(run) == []


def test_a_size_that_the_slider_does_not_reach_is_said_and_left_out() -> None:
    run = sized_run()
    grid = run.sizes["grid"]
    assert Link(size=grid[-1]).problems(run) == []
    assert Link(size=grid[0]).valid(run) == Link(size=grid[0])
    (said,) = Link(size=grid[0] + 1).problems(run)
    assert f"goes from {grid[0]:,} to {grid[-1]:,}" in said
    assert Link(size=grid[0] + 1).valid(run) == Link()
    (said,) = Link(size=9).problems(fake_run())
    assert "of one size alone" in said
