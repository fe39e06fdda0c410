"""Both circuits at every size, as the browser gets them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from hap_engine.graph.graph import Graph
from hap_engine.picture import at_sizes, page, scene, wire
from hap_engine.picture.standalone import standalone
from hap_engine.report.every_size import circuit_at, size_verdict
from hap_engine.runs.record import Run
from tests.builders.fakes import fake_run
from tests.builders.sized_runs import sized_run


@pytest.fixture(scope="module")
def run() -> Run:
    return sized_run(graph=Graph(6, 6, 2), edges=90)


def test_the_browser_can_draw_the_circuit_of_every_size(run: Run) -> None:
    drawn = scene.build(run)
    data = wire.wire(drawn)
    edges, sizes = data["edges"], data["sizes"]
    names = [
        (data["nodes"][w]["id"], data["readers"][r]["name"])
        for w, r in zip(edges["writer"], edges["reader"], strict=True)
    ]
    assert names[: len(drawn.edges)] == [(edge.writer, edge.reader) for edge in drawn.edges]
    assert len(set(names)) == len(names)
    assert {len(column) for column in edges.values()} == {len(names)}
    for side, method in (("left", "eap"), ("right", "hap")):
        for size in (sizes["grid"][0], 100, sizes["own"], 17, 3):
            shown = {name for name, enters in zip(names, sizes[side]["enters"], strict=True) if 0 < enters <= size}
            assert shown == set(circuit_at(run, method, size).names())
            kept = {
                node["id"] for node, least in zip(data["nodes"], sizes[side]["nodes"], strict=True) if 0 < least <= size
            }
            assert {name for name in kept if name.startswith("a")} == circuit_at(run, method, size).heads
            first, last = (np.array(ends) for ends in sizes[side]["runs"])
            there = np.concatenate([np.arange(a, b + 1) for a, b in zip(first, last, strict=True)])
            assert there[there <= size].max() == len(circuit_at(run, method, size))
        (curve,) = [one for one in sizes["curves"] if one["side"] == side]
        assert curve["kl"] == run.sizes["metrics"][method]["kl"]
    assert [one["look"] for one in sizes["curves"]] == ["line", "line", "control"]
    assert len(sizes["lives"]) == len(run.roles["heads"])


def test_of_a_large_circuit_the_browser_knows_the_first_edges(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(at_sizes, "LARGEST", 50)
    drawn = scene.build(run)
    assert drawn.at_sizes is not None
    assert drawn.at_sizes.grid == tuple(run.sizes["grid"])
    assert drawn.at_sizes.drawn == 90
    assert drawn.at_sizes.shown(0).sum() == 90
    assert np.max(drawn.at_sizes.enters(0)) == len(circuit_at(run, "eap", run.sizes["grid"][0]))


def test_a_method_that_ends_inside_its_own_circuit_is_drawn_from_there_on(run: Run) -> None:
    cells = {"hap": run.sizes["orders"]["hap"][:90]}
    row = {**run.sizes["metrics"]["hap"], "n_live": [90, 90, 45, 22, 3]}
    metrics = {**run.sizes["metrics"], "hap": row}
    part = replace(run, sizes={**run.sizes, "orders": {**run.sizes["orders"], **cells}, "metrics": metrics})
    (curve,) = [one for one in wire.wire(scene.build(part))["sizes"]["curves"] if one["side"] == "right"]
    assert curve["sizes"] == run.sizes["grid"][1:]
    assert len(curve["kl"]) == 4


def test_a_layer_is_folded_that_is_empty_at_every_size(run: Run) -> None:
    small = sized_run(graph=Graph(12, 4, 2), edges=12)
    one_size = replace(small, sizes={})
    assert any(node["hidden"] for node in wire.wire(scene.build(one_size, fold=True))["nodes"])
    data = wire.wire(scene.build(small, fold=True))
    held = {data["edges"]["writer"][place] for place in np.flatnonzero(data["sizes"]["right"]["enters"])}
    assert not any(data["nodes"][writer]["hidden"] for writer in held)


def test_each_measured_size_has_its_own_shares(run: Run) -> None:
    grid = run.sizes["grid"]
    at = [
        {"size": size, "edges": [round(1 / (2 + place), 2)] * len(circuit_at(run, "hap", size))}
        for place, size in enumerate(grid)
    ]
    sampled = replace(run, stability={"edges": at[grid.index(90)]["edges"], "at": at})
    data = wire.wire(scene.build(sampled))
    for place, size in enumerate(data["sizes"]["grid"]):
        row = next(row for row in at if row["size"] == size)
        known = [share for share in data["sizes"]["seeds"][place] if share is not None]
        assert known == row["edges"]
    damaged = replace(sampled, stability={"edges": [], "at": [{**row, "edges": [0.5]} for row in at]})
    assert {*data["sizes"]["seeds"][0]} != {None} == {*wire.wire(scene.build(damaged))["sizes"]["seeds"][0]}
    assert "seeds" not in wire.wire(scene.build(run))["sizes"]


def test_without_orders_there_is_no_slider(run: Run) -> None:
    assert wire.wire(scene.build(fake_run()))["sizes"] is None
    mine = replace(run, circuits={**run.circuits, "mine": run.circuits["hap"]})
    assert wire.wire(scene.build(mine, "eap", "mine"))["sizes"] is None


def test_a_saved_page_has_the_slider(run: Run) -> None:
    assert '\\"sizes\\":{\\"own\\":90' in standalone(run, "eap", "hap")


def test_two_runs_share_a_slider_over_the_sizes_of_both(run: Run) -> None:
    other = sized_run(graph=Graph(6, 6, 2), edges=60)
    found = at_sizes.of_two(run, other, ("seed 0", "seed 1"))
    assert found is not None
    assert found.grid == tuple(sorted({*run.sizes["grid"], *other.sizes["grid"]}, reverse=True))
    assert [(curve.title, curve.side) for curve in found.curves] == [
        ("EAP, seed 0", ""), ("EAP, seed 1", ""), ("seed 0", "left"), ("seed 1", "right")
    ]  # fmt: skip
    assert found.orders == (run.orders["hap"], other.orders["hap"])
    assert at_sizes.of_two(run, fake_run(graph=Graph(6, 6, 2)), ("a", "b")) is None


def test_paper_has_the_sizes_as_a_table(run: Run) -> None:
    assert page.sizes_table(run).count("<tr>") == 1 + len(run.sizes["metrics"])
    assert page.sizes_table(fake_run()) == ""
    assert page.sentence(run, "eap", "hap").startswith(size_verdict(run))
