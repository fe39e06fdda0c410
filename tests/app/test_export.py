"""Exports: every file says what the run says, in its own format, with names that cannot break out."""

from __future__ import annotations

import csv
import io
import json
import re
import time
import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import Path

import networkx as nx
import pytest
from streamlit.testing.v1 import AppTest

import hap_engine
from app.export import graphs, snippets, tables
from app.export.handout import handout
from app.export.svg import svg
from app.result.share import file_name
from hap_engine.graph.graph import Graph
from hap_engine.picture import page, scene
from hap_engine.picture.palette import DARK, LIGHT
from hap_engine.picture.standalone import standalone
from hap_engine.runs.examples import example
from hap_engine.runs.record import Run
from hap_engine.runs.run_file import load
from hap_engine.settings import DiscoveryConfig, PruningConfig, run_id
from hap_engine.tasks.task import SplitSizes
from tests.builders.fakes import fake_run

ATTACK = '</title><script>alert(1)</script>"\\ =1+1'
SPACE = {"": "http://www.w3.org/2000/svg"}


@pytest.fixture(scope="module")
def run() -> Run:
    return fake_run(name=ATTACK)


@pytest.fixture(scope="module", params=["hap-mini", "SmolLM2"])
def shipped(request: pytest.FixtureRequest) -> Run:
    return example(request.param)


# --- pictures ------------------------------------------------------------------------------------


@pytest.mark.parametrize("which", ["left", "right", "overlay"])
def test_an_svg_holds_every_drawn_edge_and_kept_node_once(run: Run, which: str) -> None:
    built = scene.build(run)
    tree = ET.fromstring(svg(built, which))  # type: ignore[arg-type]
    lines = tree.findall(".//path", SPACE)
    sides = {"left": ("both", "left"), "right": ("both", "right"), "overlay": ("both", "left", "right")}
    edges = [edge for edge in built.edges if edge.status in sides[which]]
    titles = sorted(line.findtext("title", "", SPACE).split(" · ")[0] for line in lines)
    assert titles == sorted(f"{edge.writer} → {edge.reader}" for edge in edges)
    kept = [n for n in built.nodes if n.status in sides[which]]
    named = [g.findtext("title", "", SPACE) for g in tree.iterfind(".//g", SPACE) if g.find("title", SPACE) is not None]
    assert len(named) == len(kept)


def test_an_svg_draws_faint_what_few_searches_keep() -> None:
    run = fake_run(edges=20)
    built = scene.build(replace(run, stability={"edges": [0.3] + [1.0] * 19}))
    for which, faint in (("left", False), ("right", True), ("overlay", True)):
        assert ("fewer than half of the searches" in svg(built, which)) is faint  # type: ignore[arg-type]
    assert "searches" not in svg(scene.build(run), "right")


def test_an_svg_stays_inside_its_frame_and_draws_upwards(run: Run) -> None:
    tree = ET.fromstring(svg(scene.build(run), "right", size=(640, 760)))
    lines = [line.attrib["points"] for line in tree.iterfind(".//polyline", SPACE)]
    edges = [re.sub("[MC]", " ", line.attrib["d"]) for line in tree.iterfind(".//path", SPACE)]
    assert edges
    for line in [*lines, *edges]:  # a curve stays between its control points
        points = [tuple(map(float, point.split(","))) for point in line.split()]
        assert all(0 <= x <= 640 and 0 <= y <= 760 for x, y in points)
        assert line in lines or points[0][1] > points[-1][1]  # the writer is below its reader


def test_a_picture_of_100_000_edges_is_drawn_in_seconds() -> None:
    built = scene.build(fake_run(Graph(32, 16, 16), edges=100_000))
    start = time.process_time()
    assert svg(built, "right").count("<path") == 100_000
    assert time.process_time() - start < 10  # it takes one; a look at all edges for each of them took minutes


def test_strongest_edges_only_and_both_palettes(run: Run) -> None:
    built = scene.build(run, strongest=5)
    text = svg(built, "left", DARK)
    assert len(re.findall(r"<title>\S+ → \S+ · EAP", text)) == 5
    assert DARK.background in text
    assert LIGHT.right not in text


def test_markup_in_names_stays_text(run: Run) -> None:
    text = svg(scene.build(run), "right")
    assert "<q>" not in text  # a5.h1<q> is a name, not a tag
    assert "script" not in text


def test_a_layer_that_is_folded_is_a_band() -> None:
    small = fake_run(Graph(8, 4, 4), edges=4)
    built = scene.build(small, fold=True)
    assert built.layout.bands
    assert "in neither circuit" in svg(built, "right")


# --- tables --------------------------------------------------------------------------------------


def read(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def test_the_edge_table_is_the_circuits(shipped: Run) -> None:
    rows = read(tables.edges_csv(shipped))
    for name, record in shipped.circuits.items():
        kept = [(row["writer"], row["reader"]) for row in rows if row[f"in_{name}"] == "1"]
        assert kept == record.circuit.names()
    ranks = {(row["writer"], row["reader"]): row["eap_rank"] for row in rows}
    record = shipped.circuits["eap"]
    for names, rank in zip(record.circuit.names(), record.values["ranks"], strict=True):
        assert ranks[names] == str(int(rank))


def test_the_head_table_has_every_head(shipped: Run) -> None:
    rows = read(tables.heads_csv(shipped))
    assert [row["head"] for row in rows] == list(shipped.graph.heads)
    kept = {row["head"] for row in rows if row["in_hap"] == "1"}
    assert kept == shipped.circuits["hap"].circuit.heads


@pytest.mark.parametrize("cell", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1"])
def test_no_text_becomes_a_formula(cell: str) -> None:
    assert tables.guarded(cell) == "'" + cell.strip()
    text = tables.table(["=evil"], [{"=evil": cell}])
    assert all(not tables.RISKY.search(value) for row in csv.reader(io.StringIO(text)) for value in row)


def test_no_part_of_a_text_becomes_a_formula_where_semicolons_separate() -> None:
    text = tables.table(["a;=1+1"], [{"a;=1+1": "b; @SUM(A1);+2"}])
    cells = [cell.strip() for row in csv.reader(io.StringIO(text), delimiter=";") for cell in row]
    assert cells == ["a", "'=1+1", "b", "'@SUM(A1)", "'+2"]


def test_numbers_stay_numbers() -> None:
    assert tables.guarded(-0.5) == -0.5
    assert tables.guarded(float("nan")) == ""
    assert tables.guarded(None) == ""


# --- graphs --------------------------------------------------------------------------------------


def test_graphml_reads_back_as_the_same_graph(shipped: Run) -> None:
    record = shipped.circuits["hap"]
    back = nx.parse_graphml(graphs.graphml(shipped, "hap"), force_multigraph=True)
    want = record.circuit.to_networkx()
    assert set(back.nodes) == set(want.nodes)
    assert sorted((a, b) for a, b in back.edges()) == sorted((a, b) for a, b in want.edges())
    readers = {(w, data["reader"]) for w, _, data in back.edges(data=True)}
    assert readers == set(record.circuit.names())
    roles = shipped.roles["heads"]
    assert all(back.nodes[h]["role"] == roles[h]["role"] for h in back.nodes if h in roles)


def test_dot_names_every_node_and_edge(run: Run) -> None:
    text = graphs.dot(run, "hap")
    want = run.circuits["hap"].circuit.to_networkx()
    assert len(re.findall(r'^  "[^"]+" -> "[^"]+"', text, re.M)) == want.number_of_edges()
    assert text.count("{") == text.count("}")
    assert '\\"' in text  # the quote in the run's name is escaped


def test_every_line_of_the_dot_text_follows_its_grammar(run: Run) -> None:
    """Checked line by line, so that it needs no Graphviz."""
    word = r'"(?:[^"\\\n]|\\.)*"'
    options = rf"(?: \[\w+={word}(?:, \w+={word})*\])?"
    line = re.compile(
        rf"digraph {word} {{|  (?:graph|node|edge) \[.*\];|  {word}(?: -> {word})?{options};"
        rf"|  {{ rank=same; {word}(?:; {word})* }}|}}"
    )
    wrong = [text for text in graphs.dot(run, "hap").splitlines() if not line.fullmatch(text)]
    assert wrong == []


# --- code ----------------------------------------------------------------------------------------


def test_the_python_snippet_makes_a_run_of_the_same_id(shipped: Run) -> None:
    config = eval(f"hap.DiscoveryConfig({snippets.arguments(shipped)})", {"hap": hap_engine})
    told = {key: value for key, value in config.to_dict().items() if value is not None}
    assert told.items() <= shipped.settings.items()
    assert run_id(config, shipped.model["sha256"]) == shipped.id


def test_the_python_snippet_makes_the_run_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = DiscoveryConfig(
        method="eap", sizes=SplitSizes(train=8, validation=2, test=4), pruning=PruningConfig(steps=3)
    )
    run = fake_run(
        settings=settings.to_dict(), model={"name": "hap-mini", "reference": "hap-mini", "source": "bundled"}
    )
    monkeypatch.chdir(tmp_path)
    exec(snippets.python(run), {})
    (file,) = tmp_path.glob("*.json")
    assert load(file).settings["sizes"]["train"] == 8


def test_every_setting_survives_the_snippet() -> None:
    wanted = DiscoveryConfig(
        model="o'path \\ x",
        sparsity=0.9,
        method="ep",
        keep=0.3,
        seed=7,
        dtype="bfloat16",
        pruning=PruningConfig(steps=9, budget="lagrangian"),
        sizes=SplitSizes(train=10, validation=5, test=7),
    )
    settings = {**wanted.to_dict(), "kept_share": 1.0}
    run = fake_run(settings=settings, seed=7, model={"name": "x", "reference": wanted.model, "source": "gguf"})
    config = eval(f"hap.DiscoveryConfig({snippets.arguments(run)})", {"hap": hap_engine})
    assert config.to_dict() == wanted.to_dict()


def test_the_snippet_is_python_whatever_the_run_is_called(run: Run) -> None:
    compile(snippets.python(run), "snippet", "exec")
    assert snippets.python(run).count('"""') == 2


# --- pages ---------------------------------------------------------------------------------------


def test_the_handout_says_what_the_run_says(shipped: Run) -> None:
    text = handout(shipped, "eap", "hap")
    assert f"{shipped.metrics['hap']['kl']:.2f}" in text
    assert text.count("<svg") == 2
    assert "<script" not in text
    assert not re.findall(r'(?:src|href)="?http', text)


def test_the_handout_escapes_everything(run: Run) -> None:
    prompt = {"clean": ATTACK, "corrupt": ATTACK, "answer": ATTACK, "distractor": ATTACK}
    changed = fake_run(name=ATTACK, prompts={"train": [], "test": [prompt]})
    text = handout(changed, "eap", "hap")
    assert "<script" not in text
    made = page.table(["<b>"], [["<i>"]])
    assert made.count("&lt;b&gt;") == 2  # the region is called as its first column
    assert made.count("&lt;i&gt;") == 1
    assert not {"<b>", "<i>"} & {*re.findall(r"<\w+>", made)}


def test_the_interactive_page_is_one_file_that_asks_for_nothing(run: Run) -> None:
    text = standalone(run, "eap", "hap", ["a0.h0"])
    assert "default-src 'none'" in text
    assert not re.findall(r"<(?:script|link|img)[^>]+(?:src|href)=", text)
    assert "Licensed under the MIT license" in text
    assert "Permission is hereby granted" in text
    assert text.count("<script") == text.count("</script>") == 4
    assert "<script>alert" not in text
    data = re.search(r'id="hap-data">(.*?)</script>', text, re.S)
    assert data is not None
    assert json.loads(data[1])["command"]["pinned"] == ["a0.h0"]


def test_file_names_suit_every_disk(run: Run) -> None:
    name = file_name(fake_run(model={"name": "a/b:c*?", "source": "hub"}), "édges")
    assert re.fullmatch(r"[A-Za-z0-9_.-]+", name)
    assert Path(name).name == name


# --- the panel -----------------------------------------------------------------------------------


def test_the_panel_offers_every_format_and_a_link() -> None:
    script = """
from app.result import share
from tests.builders.fakes import fake_run
share.show(fake_run(), "eap", "hap")
"""
    app = AppTest.from_string(script, default_timeout=60)
    app.query_params["pin"] = "a0.h0"
    app.run()
    assert not app.exception
    labels = [button.label for button in app.get("download_button")]
    assert labels == [
        "Run file (JSON)",
        "Edges (CSV)",
        "Heads (CSV)",
        "GraphML",
        "DOT",
        "Interactive page",
        "Handout to print",
    ]
    codes = " ".join(code.value for code in app.code)
    assert "pin=a0.h0&run=synthetic-0" in codes
    assert "hap.discover(" in codes
    assert len(app.get("bidi_component")) == 1
