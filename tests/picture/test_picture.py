"""The picture without a browser: palette, layout, scene, figures and what the component sends."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from app.diagram import component
from app.widgets import charts
from hap_engine.graph.graph import Graph
from hap_engine.picture import palette, scene, wire
from hap_engine.picture.layout import arrange, empty_layers
from hap_engine.runs import run_file
from tests.builders.circuits import SHAPES, record
from tests.builders.fakes import fake_run

EVIL = '<b>x</b><img src=x onerror=alert(1)>&"'


@pytest.fixture(scope="module")
def tiny() -> scene.Scene:
    """Two layers, two heads: 1.0 and the edge out of 0.1 differ between the circuits."""
    graph = Graph(2, 2, 2)
    left = record(
        graph,
        ("input", "a0.h1<q>"),
        ("input", "a0.h0<v>"),
        ("a0.h0", "logits"),
        ("a0.h1", "m1"),
        ("m1", "logits"),
        scores=[-2.0, 0.5, 1.0, 0.1, 0.2],
        ranks=[1, 3, 2, 5, 4],
        gates=[np.nan] * 5,
    )
    right = record(
        graph,
        ("input", "a0.h0<v>"),
        ("a0.h0", "a1.h0<q>"),
        ("a0.h0", "logits"),
        ("a1.h0", "logits"),
        scores=[0.5, 0.01, 1.0, 0.02],
        ranks=[3, 9, 2, 8],
        gates=[1.0, 4.0, 3.0, 2.0],
    )
    return scene.compare(
        graph,
        ("eap", left),
        ("hap", right),
        roles={"a1.h0": {"role": "S-inhibition", "sentence": f"It attends to a0.h0<q> {EVIL}"}},
        heads={"a1.h0": {"eap_rank": 8, "eap_edge": ["a1.h0", "logits"]}},
    )


def luminance(colour: str) -> float:
    """WCAG relative luminance of ``#rrggbb``."""
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    """WCAG contrast ratio of two colours, from 1 to 21."""
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


class TestPalette:
    @pytest.mark.parametrize("colours", [palette.LIGHT, palette.DARK])
    def test_every_colour_stands_out(self, colours: palette.Palette) -> None:
        drawn = {k: v for k, v in colours.colours.items() if k not in ("background", "surface")}
        weak = {k: v for k, v in drawn.items() if contrast(v, colours.background) < 3}
        assert weak == {}
        assert contrast(colours.text, colours.surface) > 7

    def test_contrast_is_the_wcag_ratio(self) -> None:
        assert contrast("#ffffff", "#000000") == pytest.approx(21)
        assert contrast("#767676", "#ffffff") == pytest.approx(4.54, abs=0.01)

    @pytest.mark.parametrize("name", ["S-inhibition", "s_inhibition", "S-Inhibition head"])
    def test_role_names_in_any_spelling(self, name: str) -> None:
        assert palette.role(name) == palette.ROLES[palette.S_INHIBITION]

    def test_no_role_and_unknown_role(self) -> None:
        assert palette.role(None) is palette.role("none") is None
        odd = palette.role("copy suppression")
        assert odd is not None
        assert odd.label == "copy suppression"


class TestLayout:
    @pytest.mark.parametrize("graph", SHAPES, ids=str)
    def test_edges_point_upwards(self, graph: Graph) -> None:
        layout = arrange(graph)
        tops = [layout.boxes[w.name].y + layout.boxes[w.name].half_height for w in graph.writers]
        for column, reader in enumerate(graph.readers):
            port = layout.port(reader)[1]
            assert max(tops[: graph.upstream[column]]) < port, reader.name

    @pytest.mark.parametrize("graph", SHAPES, ids=str)
    def test_boxes_do_not_overlap(self, graph: Graph) -> None:
        boxes = np.array([list(vars(box).values()) for box in arrange(graph).boxes.values()])
        x, y, width, height = boxes.T
        apart = (np.abs(x[:, None] - x) >= width[:, None] + width) | (
            np.abs(y[:, None] - y) >= height[:, None] + height
        )
        assert (apart | np.eye(len(x), dtype=bool)).all()

    def test_places_depend_on_the_graph_alone(self) -> None:
        run = fake_run(Graph(6, 4, 2))
        drawn = scene.build(run)
        places = {n.id: (n.x, n.y) for n in drawn.nodes}
        assert places == {name: (box.x, box.y) for name, box in drawn.layout.boxes.items()}
        swapped = scene.build(run, "hap", "eap")
        assert {n.id: (n.x, n.y) for n in swapped.nodes} == places

    def test_an_edge_says_how_many_seeds_keep_it(self) -> None:
        run = fake_run(edges=20)
        shares = [1.0, 0.5] * 10
        drawn = scene.build(replace(run, stability={"edges": shares}))
        found = {(e.writer, e.reader): e.seeds for e in drawn.edges}
        assert [found[names] for names in run.circuits["hap"].circuit.names()] == shares
        assert set(wire.wire(drawn)["edges"]["seeds"]) == {1.0, 0.5, None}
        assert "seeds" not in wire.wire(scene.build(run))["edges"]

    def test_edges_that_few_searches_keep_are_faint_in_their_own_circuit(self) -> None:
        run = fake_run(edges=20)
        doubtful = replace(run, stability={"edges": [1.0, 0.45, 0.5] * 6 + [1.0, 1.0]})
        drawn = scene.build(doubtful)
        assert sum(edge.faint for edge in drawn.edges) == 6
        assert (drawn.judged, scene.build(doubtful, "hap", "eap").judged) == ("right", "left")
        assert scene.build(doubtful, "eap", "eap").judged is None
        assert wire.wire(drawn)["judged"] == "right"

    def test_edges_are_counted_as_networkx_does(self) -> None:
        circuit = fake_run(Graph(6, 4, 2)).circuits["hap"].circuit
        graph, counted = circuit.to_networkx(), scene._degrees(circuit)
        for name, (into, out) in counted.items():
            there = name in graph
            assert into == (graph.in_degree(name) if there else 0)
            readers = {r for _, _, r in graph.out_edges(name, data="reader")} if there else set()
            assert out == len(readers)

    def test_folding_only_hides_empty_layers(self) -> None:
        graph = Graph(6, 2, 2)
        used = ["a0.h1", "m4"]
        assert empty_layers(graph, used) == {1, 2, 3, 5}
        folded, full = arrange(graph, empty_layers(graph, used)), arrange(graph)
        assert [(band.first, band.last) for band in folded.bands] == [(1, 3), (5, 5)]
        assert folded.y_range[1] < full.y_range[1]
        ys = [folded.boxes[n].y for n in ("input", "a0.h1", "m0", "a1.h0", "a4.h0", "m4", "logits")]
        assert ys == sorted(ys)

    def test_ports_are_told_apart(self) -> None:
        graph = Graph(2, 4, 2)
        layout = arrange(graph)
        spots = {layout.port(reader) for reader in graph.readers}
        assert len(spots) == len(graph.readers)

    def test_a_kv_port_lies_under_the_middle_of_its_group(self) -> None:
        graph = Graph(2, 6, 2)
        layout = arrange(graph)
        k, v = (layout.port(next(r for r in graph.readers if r.name == f"a1.h1<{slot}>")) for slot in "kv")
        group = [layout.boxes[f"a1.h{h}"] for h in (3, 4, 5)]
        assert (k[0] + v[0]) / 2 == pytest.approx(np.mean([box.x for box in group]))
        assert k[1] == v[1] < group[0].y - group[0].half_height

    def test_curves_start_and_end_at_their_ports(self) -> None:
        graph = Graph(3, 4, 2)
        layout = arrange(graph)
        w, r = graph.edge("a0.h1", "a2.h1<k>")
        x, y = layout.controls(np.array([w]), np.array([r]))
        assert x.shape == y.shape == (1, 4)
        assert (x[0, -1], y[0, -1]) == pytest.approx(layout.port(graph.readers[r]))
        assert x[0, 0] == pytest.approx(1)
        assert (np.diff(y[0]) > 0).all()


class TestScene:
    def test_statuses_by_hand(self, tiny: scene.Scene) -> None:
        edges = {(e.writer, e.reader): e.status for e in tiny.edges}
        assert edges == {
            ("input", "a0.h0<v>"): "both",
            ("input", "a0.h1<q>"): "left",
            ("a0.h0", "a1.h0<q>"): "right",
            ("a0.h0", "logits"): "both",
            ("a0.h1", "m1"): "left",
            ("a1.h0", "logits"): "right",
            ("m1", "logits"): "left",
        }
        assert {n.id: n.status for n in tiny.nodes if n.status != "none"} == {
            "input": "both",
            "a0.h0": "both",
            "a0.h1": "left",
            "a1.h0": "right",
            "m1": "left",
            "logits": "both",
        }

    @pytest.mark.parametrize("graph", SHAPES[:3], ids=str)
    def test_statuses_partition_the_union(self, graph: Graph) -> None:
        run = fake_run(graph, edges=80)
        drawn = scene.build(run)
        left, right = (set(run.circuits[name].circuit.names()) for name in ("eap", "hap"))
        split = {"both": left & right, "left": left - right, "right": right - left}
        for status, expected in split.items():
            assert {(e.writer, e.reader) for e in drawn.edges if e.status == status} == expected
        assert len(drawn.edges) == len(left | right)

    def test_two_empty_circuits_are_a_scene_too(self) -> None:
        graph = Graph(2, 2, 2)
        drawn = scene.compare(graph, ("eap", record(graph)), ("hap", record(graph)), fold=True)
        assert drawn.edges == ()
        assert {node.status for node in drawn.nodes} == {"none"}
        assert json.loads(wire.payload(drawn))["edges"]["writer"] == []

    def test_a_stored_curve_comes_along(self) -> None:
        curve = {"shares": [0.01, 0.1, 1.0], "faithfulness": [0.2, None, 1.0]}
        run = fake_run(edges=40, statistics={"curves": {"eap": curve}})
        drawn = scene.build(run)
        edges = run.graph.n_edges
        whole = [(len(run.circuits[name].circuit), run.metrics[name]["faithfulness"]) for name in ("eap", "hap")]
        assert drawn.left.curve == (whole[0], (int(0.01 * edges), 0.2), (edges, 1.0))
        assert drawn.right.curve == (whole[1],)

    def test_each_panel_orders_by_its_own_measure(self, tiny: scene.Scene) -> None:
        edge = next(e for e in tiny.edges if e.writer == "input" and e.reader == "a0.h0<v>")
        assert (edge.score, edge.rank, edge.gate) == (0.5, 3, 1.0)
        assert (edge.left_place, edge.right_place) == (3, 4)
        assert "EAP rank" in tiny.left.measure
        assert "gate" in tiny.right.measure

    def test_kept_heads_are_those_of_the_circuit(self) -> None:
        run = fake_run(Graph(8, 6, 2), edges=60)
        drawn = scene.build(run)
        for side, name in (("left", "eap"), ("right", "hap")):
            kept = {n.id for n in drawn.nodes if getattr(n, f"kept_{side}") and n.kind == "head"}
            assert kept == run.circuits[name].circuit.heads

    def test_a_kv_edge_counts_once(self) -> None:
        graph = Graph(2, 4, 1)
        both = record(graph, ("input", "a0.h0<v>"), ("a0.h2", "a1.h0<k>"), ("a1.h3", "logits"))
        drawn = scene.compare(graph, ("eap", both), ("hap", both))
        assert len(drawn.edges) == drawn.left.edges == 3
        node = next(n for n in drawn.nodes if n.id == "a0.h2")
        assert "kept, 1 in, 1 out" in " ".join(node.lines)

    def test_tooltip_says_role_evidence_and_rank(self, tiny: scene.Scene) -> None:
        node = next(n for n in tiny.nodes if n.id == "a1.h0")
        text = "\n".join(node.lines)
        assert "Head 1.0, S-inhibition" in text
        assert "EAP: not kept" in text
        assert "HAP: kept, 1 in, 1 out" in text
        assert f"rank 8 of {tiny.graph.n_edges}" in text

    def test_strongest_hides_edges_but_not_counts(self) -> None:
        drawn = scene.build(fake_run(edges=40), strongest=10)
        assert (drawn.right.edges, drawn.right.shown) == (40, 10)
        assert len(drawn.edges) == len(scene.build(fake_run(edges=40)).edges)

    @pytest.mark.parametrize(
        ("query", "node"), [("1.0", "a1.h0"), ("a1.h0", "a1.h0"), ("s-inhibition", "a1.h0"), ("mlp 1", "m1")]
    )
    def test_search_words(self, tiny: scene.Scene, query: str, node: str) -> None:
        found = [n.id for n in tiny.nodes if f" {query} " in f" {scene.search_text(n)} "]
        assert found == [node]

    def test_the_fake_run_is_a_valid_run(self) -> None:
        run = fake_run(Graph(4, 4, 2))
        assert run_file.loads(run_file.dumps(run)).circuits["hap"].circuit == run.circuits["hap"].circuit


class TestFigures:
    def test_live_curves(self) -> None:
        figure = charts.curve_figure(fake_run().history)
        assert [t.name for t in figure.data] == ["KL", "budget", "open gates"]
        assert figure.layout.yaxis2.type == "log"
        assert charts.curve_figure([]).data[0].x == ()

    def test_markup_keeps_names(self) -> None:
        assert charts.markup("a5.h1<q> & <b>") == "a5.h1&lt;q&gt; &amp; &lt;b&gt;"


class TestWire:
    @pytest.mark.parametrize("graph", SHAPES[:3], ids=str)
    def test_it_describes_every_edge_once(self, graph: Graph) -> None:
        drawn = scene.build(fake_run(graph, edges=80))
        data = wire.wire(drawn)
        columns = data["edges"]
        assert {len(column) for column in columns.values()} == {len(drawn.edges)}
        for i, edge in enumerate(drawn.edges):
            assert data["nodes"][columns["writer"][i]]["id"] == edge.writer
            reader = data["readers"][columns["reader"][i]]
            assert reader["name"] == edge.reader
            assert wire.STATUSES[columns["status"][i]] == edge.status
            assert (columns["left"][i], columns["right"][i]) == (edge.left_place or 0, edge.right_place or 0)
            assert columns["y1"][i] == reader["port"][1]
            assert columns["y0"][i] < columns["y1"][i]

    def test_curves_follow_their_control_points(self) -> None:
        """The browser makes control points from `ends`; those of Python are the same curve."""
        graph = Graph(6, 4, 2)
        layout = arrange(graph)
        writers, readers = (index[:50] for index in np.nonzero(graph.edge_mask))
        x, y = layout.controls(writers, readers)
        x0, y0, x1, y1, bow = layout.ends(writers, readers).T
        assert np.allclose([x[:, 0], y[:, 0], x[:, 3], y[:, 3]], [x0, y0, x1, y1])
        assert np.allclose(x @ [1 / 8, 3 / 8, 3 / 8, 1 / 8], (x0 + x1) / 2 + 0.75 * bow)  # t = 1/2

    def test_readers_name_the_nodes_that_they_feed(self) -> None:
        graph = Graph(2, 4, 1)
        one = record(graph, ("input", "a0.h0<v>"), ("a0.h2", "a1.h0<k>"), ("a1.h3", "logits"))
        data = wire.wire(scene.compare(graph, ("eap", one), ("hap", one)))
        reader = next(r for r in data["readers"] if r["name"] == "a1.h0<k>")
        assert [data["nodes"][n]["id"] for n in reader["nodes"]] == [f"a1.h{h}" for h in range(4)]
        assert len(reader["bracket"]) == 4

    def test_the_replay_ends_in_the_circuit(self) -> None:
        run = fake_run(Graph(6, 4, 2), edges=40)
        kept = run.circuits["hap"].circuit.names()
        others = [e for e in run.circuits["eap"].circuit.names() if e not in set(kept)]
        pairs = [list(pair) for pair in (*kept, *others)]
        last = [9] * len(kept) + [1 + i % 8 for i in range(len(others))]
        run = replace(run, replay={"edges": pairs, "last_open": last})
        drawn = scene.build(run)
        played = wire.replay(run, drawn)
        assert played is not None
        assert played["steps"][-1] == 9
        open_at_the_end = [e for e, at in zip(played["edge"], played["last"], strict=True) if at == 9]
        right = [i for i, edge in enumerate(drawn.edges) if edge.right_place]
        assert sorted(open_at_the_end) == right
        data = wire.wire(drawn)
        for i, edge in enumerate(played["edge"]):
            assert played["writer"][i] == data["edges"]["writer"][edge]
            assert played["x1"][i] == pytest.approx(data["edges"]["x1"][edge], abs=0.01)

    def test_no_replay_without_a_record(self) -> None:
        run = fake_run()
        assert not wire.replayable(run)
        assert wire.replay(run, scene.build(run)) is None

    def test_it_is_small_plain_json(self) -> None:
        drawn = scene.build(fake_run(Graph(30, 9, 3), edges=700))
        text = wire.payload(drawn)
        assert json.loads(text) == json.loads(json.dumps(wire.wire(drawn)))
        assert len(text) < 300_000
        assert wire.payload(drawn) is text


class TestComponent:
    def test_pins_are_validated(self, tiny: scene.Scene) -> None:
        pins = component.valid_pins(tiny, ["a0.h0", "nope", "a0.h0", 3, "m1"])
        assert pins == ["a0.h0", "m1"]
        assert component.valid_pins(tiny, "a0.h0") == []
        assert component.valid_pins(tiny, None) == []
