"""The picture at the spans, as the browser gets it."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import Any

import pytest

from app.export.handout import handout
from hap_engine.graph.graph import Graph
from hap_engine.picture import scene, wire
from hap_engine.picture.layout import arrange
from hap_engine.report.missed_heads import acts_at
from hap_engine.runs.record import Run
from hap_engine.runs.run_file import dumps, loads
from tests.builders.fakes import fake_run
from tests.builders.span_runs import PLACES, SPANS, WORDS, span_run


@pytest.fixture(scope="module")
def run() -> Run:
    return span_run()


@pytest.fixture(scope="module")
def sent(run: Run) -> dict[str, Any]:
    return json.loads(wire.payload(scene.build(run)))


def test_each_edge_says_at_which_span_it_acts(run: Run, sent: dict[str, Any]) -> None:
    edges, readers, names = sent["edges"], sent["readers"], sent["spans"]["names"]
    assert names == [span.name for span in SPANS]
    assert sent["spans"]["sees"] == [list(span.sees) for span in SPANS]
    for side, method in (("left", "eap"), ("right", "hap")):
        found = {
            (sent["nodes"][writer]["id"], readers[reader]["name"])
            for writer, reader, place in zip(edges["writer"], edges["reader"], edges[side], strict=True)
            if place
        }
        assert found == {*run.circuits[method].circuit.names()}
    for reader in readers:
        assert reader["name"].endswith(f"@{names[reader['span']]}") or reader["name"] == "logits"
    assert readers[-1]["span"] == len(names) - 1


def test_spans_carry_the_words_of_the_prompts_and_the_attention_between_them(run: Run, sent: dict[str, Any]) -> None:
    prompts = sent["sentence"]["prompts"]
    assert [prompt["spans"] for prompt in prompts] == [PLACES] * 2
    assert prompts[0]["tokens"] == WORDS
    assert prompts[0]["answer"] == "John"
    assert not prompts[0]["looks"]
    assert sent["spans"]["between"].keys() == {*run.graph.heads}
    assert sent["spans"]["between"]["a0.h0"][1] == [0.5, 0.5, 0, 0, 0, 0]
    first = {sent["nodes"][i]["id"] for i in sent["sentence"]["first"]}
    assert first == {*run.roles["heads"]} & (run.circuits["eap"].circuit.heads | run.circuits["hap"].circuit.heads)


def test_words_are_missing_where_the_run_stores_none(run: Run) -> None:
    for other in (replace(run, attention=[]), replace(run, prompts={"train": [], "test": []})):
        (prompt,) = wire.wire(scene.build(other))["sentence"]["prompts"]
        assert not prompt["tokens"]
        assert not prompt["spans"]
    odd = {**run.prompts["test"][0], "spans": PLACES[:-1]}
    (prompt,) = wire.wire(scene.build(replace(run, prompts={"train": [], "test": [odd]})))["sentence"]["prompts"]
    assert not prompt["spans"]


def test_a_run_without_spans_is_sent_as_before() -> None:
    sent = wire.wire(scene.build(fake_run()))
    assert sent["spans"] is None
    assert not any("span" in reader for reader in sent["readers"])


def test_layers_are_laid_out_as_without_spans() -> None:
    one, two = (arrange(Graph(4, 4, 2, spans=spans)) for spans in (SPANS, Graph(4, 4, 2).spans))
    assert one.boxes == two.boxes
    for reader in one.graph.readers:
        assert one.port(reader) == two.port(two.graph.readers[two.graph.reader_index[reader.place]])


def test_it_survives_the_disk_and_opens_in_a_notebook_at_the_spans(run: Run) -> None:
    again = loads(dumps(run))
    assert wire.wire(scene.build(again)) == wire.wire(scene.build(run))
    written = again.show().page
    assert '"view": "sentence"' in written
    for text in (written, handout(again, "eap", "hap")):
        for head in run.roles["heads"]:
            places = ", ".join(acts_at(run.circuits["hap"].circuit, head)) or "–"
            assert re.search(rf"<td>{head}</td>.*?<td>{re.escape(places)}</td></tr>", text), head
    assert '"view": "pair"' in fake_run().show().page
