"""The circuit folded by role, as plain data."""

from __future__ import annotations

from collections import Counter

import pytest

from hap_engine.graph.graph import Graph
from hap_engine.picture import groups, scene
from tests.builders.circuits import SHAPES, record
from tests.builders.fakes import fake_run


@pytest.fixture(scope="module")
def folded() -> groups.Folded:
    """Two heads of one role, one without, one MLP; counted by hand below."""
    graph = Graph(2, 2, 2)
    left = record(graph, ("input", "a0.h0<q>"), ("a0.h0", "a1.h0<q>"), ("a1.h0", "logits"))
    right = record(
        graph,
        ("input", "a0.h0<q>"),
        ("a0.h0", "a1.h0<v>"),
        ("a0.h0", "a1.h1<v>"),
        ("a1.h0", "m1"),
        ("a1.h1", "m1"),
        ("m1", "logits"),
    )
    roles = {head: {"role": "name_mover", "sentence": ""} for head in ("a1.h0", "a1.h1")}
    return groups.fold(scene.compare(graph, ("eap", left), ("hap", right), roles=roles))


def test_heads_of_one_role_become_one_group(folded: groups.Folded) -> None:
    found = {group.id: group for group in folded.groups}
    assert set(found) == {"input", "name-mover", groups.OTHER_HEADS, groups.MLPS, "logits"}
    movers = found["name-mover"]
    assert movers.title == "Name movers"
    assert movers.members == ("a1.h0", "a1.h1")
    assert (movers.kept_left, movers.kept_right) == (("a1.h0",), ("a1.h0", "a1.h1"))


def test_edges_are_summed_per_side(folded: groups.Folded) -> None:
    counts = {(b.source, b.target): (b.left, b.right) for b in folded.bundles}
    assert counts == {
        ("input", groups.OTHER_HEADS): (1, 1),
        (groups.OTHER_HEADS, "name-mover"): (1, 2),
        ("name-mover", groups.MLPS): (0, 2),
        ("name-mover", "logits"): (1, 0),
        (groups.MLPS, "logits"): (0, 1),
    }


@pytest.mark.parametrize("graph", SHAPES[:3], ids=str)
def test_no_edge_is_lost(graph: Graph) -> None:
    drawn = scene.build(fake_run(graph, edges=80))
    folded = groups.fold(drawn)
    for side, inner in (("left", 0), ("right", 1)):
        total = sum(getattr(b, side) for b in folded.bundles)
        total += sum(group.inner[inner] for group in folded.groups)
        fed = {r.name: scene.targets(graph, r) for r in graph.readers}
        home = {n: g.id for g in folded.groups for n in g.members}
        expected = sum(
            len({home[name] for name in fed[edge.reader] if name in home})
            for edge in drawn.edges
            if getattr(edge, f"{side}_place")
        )
        assert total >= expected > 0


@pytest.mark.parametrize("graph", SHAPES[:3], ids=str)
def test_every_group_has_a_place_of_its_own(graph: Graph) -> None:
    folded = groups.fold(scene.build(fake_run(graph, edges=80)))
    places = Counter((group.x, group.y) for group in folded.groups)
    assert set(places.values()) == {1}
    heights = {group.id: group.y for group in folded.groups}
    assert heights["input"] == 0
    assert heights["logits"] == max(heights.values())


def test_members_partition_the_kept_nodes() -> None:
    drawn = scene.build(fake_run(Graph(6, 4, 2), edges=60))
    members = Counter(name for group in groups.fold(drawn).groups for name in group.members)
    assert set(members.values()) == {1}
    assert {n.id for n in drawn.nodes if n.status != "none"} <= set(members)
